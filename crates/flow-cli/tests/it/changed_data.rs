//! A model is evaluated on the data that it was trained on, or not at all: of other rows some were trained on.

use std::fs;

use crate::common::Place;

#[test]
fn a_table_that_has_changed_is_refused() {
    let place = Place::new();
    let rows = |number: usize| (0..number).map(|i| format!("{i},{}\n", (i * 7) % 11)).collect::<String>();
    place.write("t.csv", &rows(60));
    place.train("nice", "csv:t.csv", "run");
    fs::copy(place.path("run/model.safetensors"), place.path("alone")).unwrap();
    let lines = ["eval run", "eval alone", "check run -n 5"];
    lines.iter().for_each(|line| drop(place.flow(line)));

    place.write("t.csv", &rows(70));
    for line in lines {
        let said = place.fails(line, 1);
        assert!(said.contains("t.csv has changed since the model was trained: column 1"), "{said}");
    }
    // Where no data are read nothing depends on them.
    place.flow("sample run -n 5 --out s.csv");
    place.write("t.csv", &rows(60));
    place.flow("eval run");
}

/// What a file of images has is known to the state beside the model alone.
#[test]
fn other_numbers_of_images_are_refused() {
    let place = Place::new();
    let images = |number: u32| {
        let dims = [number, 4, 4].map(u32::to_be_bytes).concat();
        let pixels: Vec<u8> = (0..number * 16).map(|i| (i * 37 % 256) as u8).collect();
        fs::write(place.path("images"), [&[0, 0, 8, 3], &dims[..], &pixels].concat()).unwrap();
    };
    images(40);
    place.train("nice", "idx:images", "run");
    place.flow("eval run");
    images(50);
    let said = place.fails("eval run", 1);
    assert!(said.contains("40, 5 and 5 rows for training, validation and test, then 32, 4 and 4"), "{said}");
    fs::remove_file(place.path("run/state.safetensors")).unwrap();
    place.flow("eval run");
}
