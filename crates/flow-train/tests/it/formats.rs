//! A state of every format that there was goes on: `tests/files/state-N` holds a run of format N that was stopped half way,
//! written by `examples/state_fixture.rs` in the program of its time, and in `end.json` how it ends.

use std::fs;
use std::path::{Path, PathBuf};

use flow_data::Spec;
use flow_models::file;
use flow_train::folder::{model_file, state_file};
use flow_train::{Outcome, Trainer};
use serde_json::Value;
use tch::Device;

use crate::{break_at, tiny, watch};

fn folders() -> Vec<PathBuf> {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let mut folders: Vec<PathBuf> = fs::read_dir(files).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// As they lie in the repository they are never written to.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

#[test]
fn there_is_one_of_each() {
    let formats: Vec<Value> = folders()
        .iter()
        .map(|folder| json(&file::read_metadata(&state_file(folder)).unwrap())["format"].clone())
        .collect();
    assert_eq!(formats, [1, 2, 3, 4]);
    let names: Vec<_> = folders().iter().map(|folder| folder.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["state-1", "state-2", "state-3", "state-4"]);
}

#[test]
fn each_goes_on_to_where_its_own_program_came() {
    for folder in folders() {
        let run = copy(&folder);
        let (model, card) = file::load(&model_file(run.path()), Device::Cpu).unwrap();
        assert_eq!(card.reached["steps"], 6);
        assert!(model.flow().sample(4, 1.0, 0, None).isfinite().all().int64_value(&[]) == 1);
        let mut trainer = Trainer::resume(run.path()).unwrap();
        assert_eq!(trainer.progress().step, 6, "{}", folder.display());
        assert_eq!(trainer.run(&mut watch).unwrap(), Outcome::Finished);
        let end = json(&fs::read_to_string(folder.join("end.json")).unwrap());
        let progress = trainer.progress();
        assert_eq!((&end["step"], &end["best_step"]), (&progress.step.into(), &progress.best_step.into()));
        // Another processor may round otherwise.
        let (best, expected) = (progress.best_nats.unwrap(), end["best_nats"].as_f64().unwrap());
        assert!((best - expected).abs() < 1e-4 * expected.abs(), "{}: {best}, not {expected}", folder.display());
        // What goes on is written in the format of today.
        let written = json(&file::read_metadata(&state_file(run.path())).unwrap());
        assert_eq!(written["format"], 4);
    }
}

/// Formats up to 3 held an `average` where none was taken.
#[test]
fn an_average_that_is_not_taken_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = tiny("nice", Spec::Iris, &["train.steps=9", "train.batch=20", "train.ema=0"]);
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.keep_in(dir.path()).unwrap();
    trainer.run(&mut break_at(5)).unwrap();
    drop(trainer);
    let older = copy(dir.path());
    let (mut tensors, header) = file::read_tensors(&state_file(older.path())).unwrap();
    let mut header = json(&header);
    header["format"] = 3.into();
    tensors.insert("average".to_owned(), &tensors["parameters"] + 1.0);
    file::write_tensors(&state_file(older.path()), &tensors, &header.to_string()).unwrap();
    let [as_it_is, with_an_average] = [&dir, &older].map(|run| {
        let mut trainer = Trainer::resume(run.path()).unwrap();
        assert_eq!(trainer.run(&mut watch).unwrap(), Outcome::Finished);
        file::read_tensors(&state_file(run.path())).unwrap().0
    });
    assert!(!as_it_is.contains_key("average") && as_it_is == with_an_average);
}
