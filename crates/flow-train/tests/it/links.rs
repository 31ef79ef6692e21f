//! A run's folder that somebody else packed leads nowhere out of itself.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;

use flow_data::Spec;
use flow_train::Trainer;
use flow_train::folder::{metrics_file, model_file, require_inside, state_file};

use crate::{break_at, tiny};

#[test]
fn a_link_in_place_of_a_file_is_refused_and_what_it_leads_to_kept() {
    let place = tempfile::tempdir().unwrap();
    let (dir, outside) = (place.path().join("run"), place.path().join("outside"));
    let (config, data) = tiny("nice", Spec::Iris, &["train.steps=9", "train.batch=20"]);
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.keep_in(&dir).unwrap();
    trainer.run(&mut break_at(2)).unwrap();
    drop(trainer);

    for path in [metrics_file(&dir), model_file(&dir), state_file(&dir), dir.join("lock"), dir.join("config.toml")] {
        let whole = fs::read(&path).unwrap();
        fs::write(&outside, &whole).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&outside, &path).unwrap();
        for error in [Trainer::resume(&dir).map(drop), flow_train::runs::run(&dir).map(drop)] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(&*path.to_string_lossy()) && error.contains("never links"), "{error}");
        }
        assert_eq!(fs::read(&outside).unwrap(), whole, "{}", path.display());
        fs::remove_file(&path).unwrap();
        fs::write(&path, whole).unwrap();
    }
    drop(Trainer::resume(&dir).unwrap());
}

/// Whoever opened it would wait for ever.
#[test]
fn a_pipe_in_place_of_a_file_is_not_opened() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let (config, data) = tiny("nice", Spec::Iris, &["train.steps=9", "train.batch=20"]);
    Trainer::new(config, data).unwrap().keep_in(&dir).unwrap();
    for path in [dir.join("lock"), metrics_file(&dir)] {
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = flow_train::runs::run(&dir).unwrap_err().to_string();
        assert!(error.contains(&*path.to_string_lossy()), "{error}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
    }
    flow_train::runs::run(&dir).unwrap();
}

#[test]
fn a_new_run_does_not_begin_in_a_folder_of_links() {
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().join("outside");
    fs::write(&outside, "kept").unwrap();
    let dir = place.path().join("run");
    fs::create_dir(&dir).unwrap();
    symlink(&outside, metrics_file(&dir)).unwrap();
    let (config, data) = tiny("nice", Spec::Iris, &["train.steps=9", "train.batch=20"]);
    let error = Trainer::new(config, data).unwrap().keep_in(&dir).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl"), "{error}");
    assert_eq!(fs::read(&outside).unwrap(), b"kept");
}

#[test]
fn inside_is_where_a_file_really_is() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    fs::create_dir(&dir).unwrap();
    for path in [dir.join("best"), place.path().join("outside")] {
        fs::write(path, "").unwrap();
    }
    symlink("best", dir.join("near")).unwrap();
    symlink("../outside", dir.join("far")).unwrap();
    require_inside(&dir, &dir.join("best")).unwrap();
    require_inside(&dir, &dir.join("near")).unwrap();
    let error = require_inside(&dir, &dir.join("far")).unwrap_err().to_string();
    assert!(error.contains("leads out of"), "{error}");
    require_inside(&dir, &dir.join("none")).unwrap_err();
}
