//! A run's folder belongs to one run and one process, and what cannot be written is said.

use std::fs;
use std::path::Path;

use flow_data::Spec;
use flow_train::folder::{metrics_file, state_file};
use flow_train::{Error, Trainer};

use crate::{tiny, watch};

fn trainer() -> Trainer {
    let (config, data) = tiny("nice", Spec::Iris, &["train.steps=4", "train.batch=20", "train.log_every=1"]);
    Trainer::new(config, data).unwrap()
}

fn keep(dir: &Path) -> Result<Trainer, Error> {
    let mut trainer = trainer();
    trainer.keep_in(dir)?;
    Ok(trainer)
}

#[test]
fn a_new_run_makes_its_folder_and_can_be_taken_up_before_its_first_step() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("runs/first");
    drop(keep(&dir).unwrap());
    let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.toml", "lock", "metrics.jsonl", "model.safetensors", "state.safetensors"]);
    let mut trainer = Trainer::resume(&dir).unwrap();
    assert_eq!(trainer.progress().step, 0);
    trainer.run(&mut watch).unwrap();
}

#[test]
fn a_run_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    drop(keep(dir.path()).unwrap());
    let before = fs::read(state_file(dir.path())).unwrap();
    let error = keep(dir.path()).unwrap_err().to_string();
    assert!(error.contains("--resume"), "{error}");
    assert_eq!(fs::read(state_file(dir.path())).unwrap(), before);
    drop(Trainer::resume(dir.path()).unwrap());
}

/// A project's own `config.toml`, or the metrics that are left of a run whose state was deleted.
#[test]
fn files_that_are_of_no_run_are_kept() {
    for name in ["config.toml", "metrics.jsonl"] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        fs::write(&file, "somebody's").unwrap();
        // The second time, too, with whatever the first one left.
        for _ in 0..2 {
            let error = keep(dir.path()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("--out"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "somebody's");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lock"), "somebody's").unwrap();
    drop(keep(dir.path()).unwrap());
    assert_eq!(fs::read_to_string(dir.path().join("lock")).unwrap(), "somebody's");
}

/// Killed before its first save, a start leaves a lock, a configuration and metrics without a line; no run is lost by
/// starting again.
#[test]
fn a_start_that_was_killed_can_be_made_again() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["lock", "config.toml", "metrics.jsonl"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    drop(keep(dir.path()).unwrap());
    drop(Trainer::resume(dir.path()).unwrap());
}

#[test]
fn one_process_trains_in_a_folder_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = keep(dir.path()).unwrap();
    for error in [Trainer::resume(dir.path()).unwrap_err(), keep(dir.path()).unwrap_err()] {
        assert!(error.to_string().contains("another process"), "{error}");
    }
    drop(first);
    let second = Trainer::resume(dir.path()).unwrap();
    assert!(Trainer::resume(dir.path()).is_err());
    drop(second);
}

#[test]
fn a_folder_without_a_run_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("not/there")] {
        let error = Trainer::resume(&path).unwrap_err().to_string();
        assert!(error.contains("no run to go on with"), "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn metrics_that_lost_lines_are_refused_and_later_ones_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = keep(dir.path()).unwrap();
    trainer.run(&mut watch).unwrap();
    drop(trainer);
    let metrics = metrics_file(dir.path());
    let whole = fs::read(&metrics).unwrap();

    fs::write(&metrics, [&whole[..], b"{\"step\": 5"].concat()).unwrap();
    drop(Trainer::resume(dir.path()).unwrap());
    assert_eq!(fs::read(&metrics).unwrap(), whole);

    fs::write(&metrics, &whole[..whole.len() - 1]).unwrap();
    let error = Trainer::resume(dir.path()).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl") && error.contains("at the last save"), "{error}");
}

#[test]
fn half_written_files_of_a_killed_process_are_removed_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    drop(keep(dir.path()).unwrap());
    let leftovers = ["state.safetensors.77.part", "model.safetensors.77.3.part"];
    let others = ["notes.part", "state.safetensors.bak"];
    for name in leftovers.iter().chain(&others) {
        fs::write(dir.path().join(name), b"x").unwrap();
    }
    drop(Trainer::resume(dir.path()).unwrap());
    assert!(leftovers.iter().all(|name| !dir.path().join(name).exists()));
    assert!(others.iter().all(|name| dir.path().join(name).exists()));
}

#[test]
fn what_cannot_be_written_is_an_error_with_its_path() {
    let root = tempfile::tempdir().unwrap();
    // A file where the folder should be.
    let file = root.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = keep(&file.join("run")).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("file"), "{error}");

    // A folder where a file should be, from the start and in the midst of a run.
    let blocked = root.path().join("blocked");
    fs::create_dir_all(metrics_file(&blocked)).unwrap();
    let error = keep(&blocked).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl"), "{error}");

    let dir = root.path().join("run");
    let mut trainer = keep(&dir).unwrap();
    fs::remove_file(state_file(&dir)).unwrap();
    fs::create_dir(state_file(&dir)).unwrap();
    let error = trainer.run(&mut watch).unwrap_err().to_string();
    assert!(error.contains("state.safetensors"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_only_for_reading_is_an_error() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    // The superuser may write anywhere.
    let allowed = fs::write(dir.path().join("probe"), b"").is_ok();
    let kept = keep(dir.path());
    mode(0o755);
    assert_eq!(kept.is_ok(), allowed);
    assert!(kept.is_ok() || matches!(kept, Err(Error::Io { .. })));
}
