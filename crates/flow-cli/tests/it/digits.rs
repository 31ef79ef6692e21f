//! Every command on images, with the digits that are built in.

use std::fs;

use crate::common::{Place, png_size};
use ndarray::Array2;

#[test]
fn a_model_of_images_from_training_to_pictures() {
    let place = Place::new();
    place.train("realnvp", "digits", "run");
    let eval = place.json("eval run --draws 2 --json --threads 1");
    assert_eq!((&eval["unit"], &eval["draws"], &eval["count"]), (&"unit cube".into(), &2.into(), &250.into()));
    // bits/dim = log2 17 - nats / (64 ln 2)
    let nats = eval["nats"]["mean"].as_f64().unwrap();
    let bits = eval["bits_per_dim"]["mean"].as_f64().unwrap();
    assert!((bits - (17f64.log2() - nats / (64.0 * std::f64::consts::LN_2))).abs() < 1e-9);

    place.flow("sample run -n 16 --temperature 0.75 --out sheet.png");
    place.flow("trace run --direction forward -n 3 --out forward.png");
    place.flow("trace run --direction inverse -n 3 --out inverse.png");
    for picture in ["sheet.png", "forward.png", "inverse.png"] {
        let (width, height) = png_size(&place.path(picture));
        assert!(width >= 200 && height >= 100, "{picture} is {width} x {height}");
    }
    place.flow("animate run --out film.gif");
    let film = fs::read(place.path("film.gif")).unwrap();
    assert!(film.starts_with(b"GIF89a") && film.len() < 1_500_000);
    assert!(place.fails("density run --out d.png", 1).contains("two columns"));
}

#[test]
fn rows_of_images_are_told_apart_by_type() {
    let place = Place::new();
    place.train("nice", "digits", "run");
    let levels = Array2::from_shape_fn((4, 64), |(i, j)| ((i + j) % 17) as u8);
    ndarray_npy::write_npy(place.path("levels.npy"), &levels).unwrap();
    ndarray_npy::write_npy(place.path("cube.npy"), &levels.mapv(|k| (f32::from(k) + 0.5) / 17.0)).unwrap();
    ndarray_npy::write_npy(place.path("raw.npy"), &levels.mapv(f32::from)).unwrap();
    ndarray_npy::write_npy(place.path("high.npy"), &levels.mapv(|k| k + 1)).unwrap();

    let unit = |file: &str| place.json(&format!("log-prob run --input {file} --out lp.npy --json"))["unit"].clone();
    assert_eq!(unit("cube.npy"), "unit cube");
    assert!(unit("levels.npy").as_str().unwrap().starts_with("levels 0 to 16"));
    // What `flow sample` writes, [n, 1, 8, 8], can be read back.
    place.flow("sample run -n 3 --out s.npy");
    assert_eq!(unit("s.npy"), "unit cube");
    assert!(place.fails("log-prob run --input raw.npy --out x.npy", 1).contains("outside the unit cube"));
    assert!(place.fails("log-prob run --input high.npy --out x.npy", 1).contains("level 17"));
    assert!(!place.path("x.npy").exists());
}
