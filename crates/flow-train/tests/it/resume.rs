//! A run that was stopped, or killed, anywhere and taken up again ends to the bit as an unbroken one.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use flow_data::Spec;
use flow_train::folder::{metrics_file, model_file, state_file};
use flow_train::{Event, Outcome, RunConfig, Trainer};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::images::small;
use crate::{break_at, tiny, watch};

/// Tensors to the bit, and the text beside them.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// Everything a run leaves, but for wall times and the lengths of texts that hold them.
#[derive(Debug, PartialEq)]
struct Left {
    state: (Tensors, Value),
    model: (Tensors, Value),
    metrics: Vec<Value>,
}

impl Left {
    fn by(dir: &Path) -> Self {
        let text = fs::read_to_string(metrics_file(dir)).unwrap();
        let state = read(&state_file(dir));
        assert_eq!(raw_header(&state_file(dir))["progress"]["metrics_bytes"], text.len(), "metrics go with the state");
        let metrics = text.lines().map(|line| without_times(serde_json::from_str(line).unwrap())).collect();
        Left { state, model: read(&model_file(dir)), metrics }
    }
}

fn raw_header(path: &Path) -> Value {
    let (_, header) = flow_models::file::read_tensors(path).unwrap();
    serde_json::from_str(&header).unwrap()
}

fn read(path: &Path) -> (Tensors, Value) {
    let file = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let tensors = tensors.tensors().into_iter().map(|(name, t)| (name, (t.shape().to_vec(), t.data().to_vec())));
    (tensors.collect(), without_times(raw_header(path)))
}

fn without_times(mut value: Value) -> Value {
    if let Value::Object(object) = &mut value {
        object.retain(|key, _| !["seconds", "train_seconds", "metrics_bytes"].contains(&key.as_str()));
        object.values_mut().for_each(|inner| *inner = without_times(inner.take()));
    }
    value
}

fn start(config: &RunConfig, dir: &Path) -> Trainer {
    let mut trainer = Trainer::new(config.clone(), config.data.load().unwrap()).unwrap();
    trainer.keep_in(dir).unwrap();
    trainer
}

/// Files alone, as they lie on disk at this moment: what a process killed now would leave.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Runs `config` unbroken; stopped after each of `stops`; and killed after each of `kills`. All must end alike.
fn check(config: &RunConfig, outcome: Outcome, stops: &[u64], kills: &[u64]) {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let killed = |step: u64| root.path().join(format!("killed_{step}"));
    let mut kill = |event: &Event| {
        if let Event::Step { step, .. } = event
            && kills.contains(step)
        {
            copy_folder(&whole, &killed(*step));
        }
        ControlFlow::Continue(())
    };
    assert_eq!(start(config, &whole).run(&mut kill).unwrap(), outcome);
    let expected = Left::by(&whole);

    let broken = root.path().join("broken");
    let mut trainer = start(config, &broken);
    for &stop in stops {
        assert_eq!(trainer.run(&mut break_at(stop)).unwrap(), Outcome::Interrupted);
        assert_eq!(trainer.progress().step, stop);
        drop(trainer);
        trainer = Trainer::resume(&broken).unwrap();
        assert_eq!(trainer.progress().step, stop);
    }
    assert_eq!(trainer.run(&mut watch).unwrap(), outcome);
    drop(trainer);
    assert_eq!(Left::by(&broken), expected, "stopped after {stops:?}");

    for &step in kills {
        let mut trainer = Trainer::resume(&killed(step)).unwrap();
        assert!(trainer.progress().step < step, "work since the last save is lost, and only that");
        assert_eq!(trainer.run(&mut watch).unwrap(), outcome);
        drop(trainer);
        assert_eq!(Left::by(&killed(step)), expected, "killed after {step}");
    }
}

#[test]
fn with_everything_random_switched_on() {
    // 1,297 rows in batches of 500: a new epoch at nearly every other step, and in the midst of one.
    let fields = [
        "train.steps=30",
        "train.batch=500",
        "train.ema=0.9",
        "train.clip=5",
        "train.weight_decay=0.1",
        "train.validate_every=6",
        "train.save_every=7",
        "train.log_every=4",
        "train.rates={\"coupling_0\":2}",
        "model.conditioner.dropout=0.2",
        "model.actnorm=true",
        "model.order=random",
    ];
    let (config, _) = tiny("realnvp", Spec::Digits, &fields);
    check(&config, Outcome::Finished, &[1, 7, 18, 29], &[3, 13, 24]);
}

#[test]
fn until_patience_runs_out() {
    let fields = [
        "data.fixed=100",
        "train.steps=400",
        "train.batch=64",
        "train.learning_rate=0.05",
        "train.rates={}",
        "train.ema=0",
        "train.schedule=constant",
        "train.validate_every=2",
        "train.patience=5",
        "train.save_every=5",
        "train.log_every=3",
    ];
    let (config, _) = tiny("nice", Spec::Moons, &fields);
    check(&config, Outcome::EarlyStop, &[4, 9], &[4, 8]);
}

#[test]
fn with_fresh_draws_and_no_average() {
    let fields = [
        "train.steps=20",
        "train.batch=50",
        "train.ema=0",
        "train.validate_every=9",
        "train.save_every=6",
        "train.log_every=7",
    ];
    let (config, _) = tiny("realnvp", Spec::TwoMoons, &fields);
    check(&config, Outcome::Finished, &[5, 12], &[19]);
}

#[test]
fn with_a_table_whose_batch_is_larger_than_it() {
    let fields = ["train.steps=9", "train.batch=300", "train.validate_every=4", "train.save_every=4"];
    let (config, _) = tiny("nice", Spec::Iris, &fields);
    check(&config, Outcome::Finished, &[2], &[7]);
}

/// Threads that share out the rows of a step add up their gradients in the same order, stopped or not.
#[test]
fn with_rows_shared_out_among_threads() {
    for (model, classes) in [("glow", "model.classes=10"), ("realnvp-image", "model.classes=0")] {
        let fields = [
            "threads=2",
            "device=cpu",
            classes,
            "train.steps=12",
            "train.batch=33",
            "train.ema=0.9",
            "train.clip=5",
            "train.validate_every=5",
            "train.save_every=4",
            "train.log_every=3",
        ];
        let (config, _) = small(model, &fields);
        check(&config, Outcome::Finished, &[1, 7], &[6]);
    }
}

#[test]
fn a_finished_run_is_left_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let (config, _) = tiny("nice", Spec::Moons, &["train.steps=3", "train.batch=20"]);
    start(&config, root.path()).run(&mut watch).unwrap();
    let files = || [state_file, model_file, metrics_file].map(|file| fs::read(file(root.path())).unwrap());
    let before = files();

    let mut trainer = Trainer::resume(root.path()).unwrap();
    assert!(trainer.progress().finished);
    let mut steps = 0;
    let outcome = trainer.run(&mut |event: &Event| {
        steps += u64::from(matches!(event, Event::Step { .. } | Event::Validated { .. }));
        ControlFlow::Continue(())
    });
    assert_eq!((outcome.unwrap(), steps), (Outcome::Finished, 0));
    assert_eq!(files(), before);
}

#[test]
fn the_same_seed_trains_the_same_and_another_differs() {
    let end = |fields: &[&str]| {
        let (config, data) = tiny("realnvp", Spec::Iris, fields);
        let mut trainer = Trainer::new(config, data).unwrap();
        trainer.run(&mut watch).unwrap();
        trainer.progress().best_nats.unwrap()
    };
    let fields = ["train.steps=5", "train.ema=0"];
    assert_eq!(end(&fields), end(&fields));
    assert_ne!(end(&fields), end(&[&fields[..], &["seed=1"]].concat()));
}

/// A folder with a run of `spec` that was stopped after two steps.
fn stopped(spec: Spec, dir: &Path) {
    let (config, _) = tiny("nice", spec, &["train.steps=9", "train.batch=20"]);
    assert_eq!(start(&config, dir).run(&mut break_at(2)).unwrap(), Outcome::Interrupted);
}

#[test]
fn a_table_that_was_changed_is_not_trained_on() {
    let place = tempfile::tempdir().unwrap();
    let (table, dir) = (place.path().join("table.csv"), place.path().join("run"));
    let rows = |scale: f64, count: u32| -> String {
        (0..count).map(|i| format!("{},{}\n", scale * f64::from(i % 7), f64::from(i % 5))).collect()
    };
    fs::write(&table, rows(1.0, 60)).unwrap();
    stopped(Spec::Csv(table.clone()), &dir);
    for (changed, why) in [(rows(1.0, 70), "56, 7 and 7 rows"), (rows(1.5, 60), "another scale")] {
        fs::write(&table, changed).unwrap();
        let error = Trainer::resume(&dir).unwrap_err().to_string();
        assert!(error.contains("has changed") && error.contains(why), "{error}");
    }
    fs::write(&table, rows(1.0, 60)).unwrap();
    drop(Trainer::resume(&dir).unwrap());
}

#[test]
fn a_configuration_that_was_changed_is_not_overlooked() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    stopped(Spec::Moons, &dir);
    let path = dir.join("config.toml");
    let whole = fs::read_to_string(&path).unwrap();
    for (from, to, field) in
        [("steps = 9", "steps = 90", "train.steps"), ("couplings = 2", "couplings = 3", "model.couplings")]
    {
        assert!(whole.contains(from));
        fs::write(&path, whole.replace(from, to)).unwrap();
        let error = Trainer::resume(&dir).unwrap_err().to_string();
        assert!(error.contains("config.toml") && error.contains(field), "{error}");
    }
    fs::write(&path, "steps =").unwrap();
    assert!(Trainer::resume(&dir).unwrap_err().to_string().contains("config.toml"));
    // What is done about divergence may be chosen anew; without the file nothing is said.
    fs::write(&path, whole.replace("\"stop\"", "\"rewind\"")).unwrap();
    drop(Trainer::resume(&dir).unwrap());
    fs::remove_file(&path).unwrap();
    drop(Trainer::resume(&dir).unwrap());
}
