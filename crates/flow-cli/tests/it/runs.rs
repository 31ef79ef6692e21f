//! `flow runs`: every run in a folder with how it stands, and nothing that is none.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::common::{Place, SMALL};

fn line<'a>(table: &'a str, name: &str) -> &'a str {
    let found = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    found.unwrap_or_else(|| panic!("{name} is not listed:\n{table}"))
}

#[test]
fn every_state_is_told() {
    let place = Place::new();
    place.train("nice", "moons", "runs/done");
    place.train("realnvp", "digits", "runs/images");
    for name in ["damaged", "unmodelled"] {
        fs::create_dir(place.path("runs").join(name)).unwrap();
        for file in ["state.safetensors", "model.safetensors", "metrics.jsonl"] {
            fs::copy(place.path("runs/done").join(file), place.path("runs").join(name).join(file)).unwrap();
        }
    }
    let state = place.path("runs/damaged/state.safetensors");
    let whole = fs::read(&state).unwrap();
    fs::write(&state, &whole[..whole.len() - 1]).unwrap();
    fs::remove_file(place.path("runs/unmodelled/model.safetensors")).unwrap();
    // No runs.
    fs::create_dir(place.path("runs/empty")).unwrap();
    place.write("runs/notes.txt", "a file");
    fs::create_dir(place.path("runs/model")).unwrap();
    fs::copy(place.path("runs/done/model.safetensors"), place.path("runs/model/model.safetensors")).unwrap();

    let long = SMALL.replace("--steps 6", "--steps 100000000");
    let mut child = place
        .command(&format!("train nice --data moons --out runs/going {long} --set train.save_every=2"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while fs::metadata(place.path("runs/going/metrics.jsonl")).map_or(0, |m| m.len()) < 1_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let table = place.flow("runs");
    assert!(line(&table, "going").ends_with("running"), "{table}");
    child.kill().unwrap();
    child.wait().unwrap();

    let table = place.flow("runs");
    assert_eq!(table.lines().count(), 6, "{table}");
    assert!(line(&table, "going").ends_with("interrupted"), "{table}");
    let done: Vec<&str> = line(&table, "done").split_whitespace().collect();
    assert_eq!((done[1..4].to_vec(), done[5], done[6]), (vec!["nice", "moons", "6/6"], "-", "done"), "{table}");
    let damaged = line(&table, "damaged");
    assert!(damaged.contains("damaged: ") && damaged.contains("state.safetensors") && damaged.contains("bytes long"));
    assert_eq!(line(&table, "unmodelled").split_whitespace().last(), Some("done"));

    let report = place.json("runs --json");
    let runs = report["runs"].as_array().unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["damaged", "done", "going", "images", "unmodelled"]);
    let run = |name: &str| runs.iter().find(|run| run["name"] == name).unwrap();
    assert_eq!(run("damaged")["state"], "damaged");
    assert_eq!((&run("going")["state"], &run("going")["steps"]), (&"interrupted".into(), &100_000_000.into()));
    // log2 17 - nats / (64 ln 2), and what training itself said.
    let images = run("images");
    let (nats, bits) = (images["best_nats"].as_f64().unwrap(), images["best_bits_per_dim"].as_f64().unwrap());
    assert!((bits - (17f64.log2() - nats / (64.0 * std::f64::consts::LN_2))).abs() < 1e-9);
    let info = place.json("info runs/images --json");
    assert_eq!(info["card"]["reached"]["validation_nats"], images["best_nats"]);
    // One run by its own folder.
    assert_eq!(place.json("runs runs/done --json")["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn a_diverged_run_says_where() {
    let place = Place::new();
    let text = place.fails(
        &format!(
            "train realnvp --data moons --out runs/far {SMALL} --set train.learning_rate=1e20 --set train.warmup=0"
        ),
        1,
    );
    let report = place.json("runs --json");
    let run: &Value = &report["runs"][0];
    assert_eq!((&run["state"], &run["step"]), (&"diverged".into(), &0.into()), "{run}");
    let (step, layer) = (run["divergence"]["step"].as_u64().unwrap(), run["divergence"]["layer"].as_str().unwrap());
    assert!(text.contains(&format!("step {step}")) && text.contains(layer), "{text}");
    let table = place.flow("runs");
    assert!(line(&table, "far").ends_with(&format!("diverged at step {step}, in {layer}")), "{table}");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let place = Place::new();
    assert!(place.fails("runs", 1).contains("runs"));
    assert!(place.fails("runs nowhere", 1).contains("nowhere"));
    fs::create_dir(place.path("runs")).unwrap();
    assert_eq!(place.flow("runs"), "");
    assert_eq!(place.json("runs --json")["runs"].as_array().unwrap().len(), 0);
}
