//! Model files made by somebody else: what they say of their data is checked before anything is done with it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::Place;

/// The model file at `path` after `change` has been at its card; without the digest, which anybody can leave out.
fn forge(path: &Path, change: impl FnOnce(&mut Value)) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut card: Value = serde_json::from_str(header["__metadata__"]["flow"].as_str().unwrap()).unwrap();
    change(&mut card);
    header["__metadata__"] = json!({ "flow": card.to_string() });
    let header = header.to_string();
    let forged = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat();
    fs::write(path, forged).unwrap();
}

#[test]
fn what_a_card_says_of_its_data_is_checked() {
    let place = Place::new();
    place.train("nice", "moons", "plane");
    place.train("nice", "digits", "images");
    let refused = |dir: &str, command: &str, change: &dyn Fn(&mut Value)| {
        let model = place.path(dir).join("model.safetensors");
        let whole = fs::read(&model).unwrap();
        forge(&model, change);
        let error = place.fails(&format!("{command} {dir}"), 1);
        fs::write(model, whole).unwrap();
        error
    };
    let at = |pointer: &'static str, value: Value| {
        move |card: &mut Value| *card.pointer_mut(pointer).expect("a field of the card") = value.clone()
    };
    // Points, or pixels, that no memory holds.
    let fixed = refused("plane", "eval", &at("/data/fixed", json!(u64::MAX)));
    assert!(fixed.contains("data.fixed"), "{fixed}");
    for field in ["/data/preprocessing/height", "/data/preprocessing/levels", "/data/preprocessing/channels"] {
        for value in [json!(0), json!(1_000_000_007)] {
            let error = refused("images", "info", &at(field, value));
            assert!(error.contains("model.safetensors") && error.contains("is no preprocessing"), "{error}");
        }
    }
    let error = refused("plane", "sample --out s.csv", &at("/data/preprocessing/std", json!([1.0])));
    assert!(error.contains("is no preprocessing"), "{error}");
    #[cfg(unix)]
    {
        let error = refused("plane", "eval", &at("/data/name", json!("csv:/dev/zero")));
        assert!(error.contains("/dev/zero") && error.contains("not a plain file"), "{error}");
    }
    place.flow("eval plane");
    place.flow("info images");
    assert!(!place.path("s.csv").exists());
}

/// A model file needs nothing else to be looked at or drawn from: where its data would be is not even asked.
#[test]
fn drawing_reads_no_other_file() {
    let place = Place::new();
    place.train("nice", "moons", "run");
    forge(&place.path("run/model.safetensors"), |card| card["data"]["name"] = json!("csv:/not/there.csv"));
    place.flow("sample run -n 5 --out s.npy");
    place.flow("log-prob run --input s.npy --out lp.npy");
    place.flow("info run");
    assert!(place.fails("eval run", 1).contains("/not/there.csv"));
}

#[cfg(unix)]
#[test]
fn a_run_folder_leads_nowhere_out_of_itself() {
    let place = Place::new();
    place.train("nice", "moons", "run");
    fs::rename(place.path("run/model.safetensors"), place.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", place.path("run/model.safetensors")).unwrap();
    assert!(place.fails("info run", 1).contains("leads out of the run's folder"));
    assert!(place.fails("train --resume run", 1).contains("never links"));
    place.flow("info elsewhere");

    fs::rename(place.path("elsewhere"), place.path("aside")).unwrap();
    fs::remove_file(place.path("run/model.safetensors")).unwrap();
    fs::rename(place.path("aside"), place.path("run/model.safetensors")).unwrap();
    fs::remove_file(place.path("run/metrics.jsonl")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place.path("run/metrics.jsonl")).unwrap();
    assert!(place.fails("curve run --out c.png", 1).contains("metrics.jsonl: not a plain file"));

    // Whoever opened a pipe would wait for ever.
    fs::remove_file(place.path("run/metrics.jsonl")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(place.path("run/metrics.jsonl")).status().unwrap().success());
    for line in ["info run", "eval run", "curve run --out c.png"] {
        assert!(place.fails(line, 1).contains("metrics.jsonl: not a plain file"), "{line}");
    }

    // Nor has a device an end; of this one nothing but its kind is wrong.
    std::os::unix::fs::symlink("/dev/null", place.path("null.npy")).unwrap();
    let said = place.fails("log-prob run/model.safetensors --input null.npy --out lp.csv", 1);
    assert!(said.contains("null.npy") && said.contains("not a plain file"), "{said}");
}
