//! The moving average of the weights follows its recursion, and is what is validated and kept.

use std::ops::ControlFlow;
use std::path::Path;

use flow_core::rng::derive_seed;
use flow_data::Spec;
use flow_models::Model;
use flow_models::file::read_tensors;
use flow_train::batches::DeviceRows;
use flow_train::evaluate::{Mean, log_probs};
use flow_train::folder::{model_file, state_file};
use flow_train::{Event, Trainer};
use tch::Tensor;

use crate::{break_at, device, tiny, watch};

fn saved(dir: &Path, name: &str) -> Tensor {
    read_tensors(&state_file(dir)).unwrap().0.remove(name).unwrap()
}

/// The average after 24 steps as saved, and by its recursion over the weights saved every 8 steps.
fn averages(ema: f64) -> (Tensor, Tensor) {
    let dir = tempfile::tempdir().unwrap();
    let every = ["train.steps=24", "train.save_every=8", "train.batch=20", "train.validate_every=24"];
    let (mut config, data) = tiny("nice", Spec::Iris, &every);
    config.train.ema = ema;
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.keep_in(dir.path()).unwrap();
    let mut expected = saved(dir.path(), "average");
    let mut saves = 0;
    let outcome = trainer.run(&mut |event: &Event| {
        if let Event::Saved { step } = event {
            let step = *step as f64;
            let decay = ema.powi(8).min((1.0 + step) / (10.0 + step));
            expected = &expected * decay + saved(dir.path(), "parameters") * (1.0 - decay);
            saves += 1;
        }
        ControlFlow::Continue(())
    });
    outcome.unwrap();
    assert_eq!(saves, 3);
    (saved(dir.path(), "average"), expected)
}

#[test]
fn it_decays_as_often_as_there_are_steps_and_warms_up() {
    for ema in [0.9, 0.999] {
        let (average, expected) = averages(ema);
        let off = (average - expected).abs().max().double_value(&[]);
        assert!(off < 1e-6, "{ema}: {off}");
    }
}

#[test]
fn the_model_file_holds_the_average_of_the_best_validation() {
    let dir = tempfile::tempdir().unwrap();
    let fields = ["train.steps=48", "train.batch=40", "train.ema=0.9", "train.validate_every=12"];
    let (config, data) = tiny("realnvp", Spec::Digits, &fields);
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.keep_in(dir.path()).unwrap();
    let mut validated = Vec::new();
    let outcome = trainer.run(&mut |event: &Event| {
        if let Event::Validated { step, nats, best, .. } = event {
            validated.push((*step, *nats, *best));
        }
        ControlFlow::Continue(())
    });
    outcome.unwrap();
    assert_eq!(validated.iter().map(|v| v.0).collect::<Vec<_>>(), [12, 24, 36, 48]);
    let mut highest = f64::NEG_INFINITY;
    for (_, nats, best) in &validated {
        assert_eq!(*best, *nats > highest);
        highest = highest.max(*nats);
    }
    assert_eq!(trainer.progress().best_nats, Some(highest));

    let (model, card) = flow_models::file::load(&model_file(dir.path()), device()).unwrap();
    assert_eq!(card.reached["validation_nats"], highest);
    let rows = DeviceRows::new(&trainer.data().validation, device());
    let values = log_probs(model.flow(), &rows, 1, derive_seed(0, "validation", 0));
    assert!((Mean::of(&values).mean - highest).abs() < 1e-9 * highest.abs());

    let in_memory = trainer.into_best();
    for (name, variable) in in_memory.variables() {
        assert_eq!(variable, model.variables()[&name], "{name}");
    }
}

/// Who breaks off before the first validation has trained all the same.
#[test]
fn before_the_first_validation_the_model_file_holds_the_average_as_it_is() {
    for ema in ["train.ema=0.9", "train.ema=0"] {
        let dir = tempfile::tempdir().unwrap();
        let fields = ["train.steps=48", "train.batch=40", "train.validate_every=48", ema];
        let (config, data) = tiny("realnvp", Spec::Moons, &fields);
        let mut trainer = Trainer::new(config, data).unwrap();
        trainer.keep_in(dir.path()).unwrap();
        let load = || flow_models::file::load(&model_file(dir.path()), device()).unwrap().0;
        let start = load();
        trainer.run(&mut break_at(17)).unwrap();

        let (kept, trained) = (load(), trainer.model().variables());
        assert_ne!(kept.variables(), start.variables());
        assert_eq!(kept.variables() == trained, ema == "train.ema=0", "{ema}");
        assert_eq!(trainer.into_best().variables(), kept.variables(), "{ema}");
    }
}

#[test]
fn without_it_the_weights_themselves_are_kept() {
    let weights = |model: &Model| model.variables().values().map(|v| v.detach().copy()).collect::<Vec<Tensor>>();
    // The second rate is one by which what comes last is not what is best.
    for (rate, at_the_end) in [("train.learning_rate=1e-3", true), ("train.learning_rate=1", false)] {
        let run = |steps: u64| {
            let steps = format!("train.steps={steps}");
            let fields = [&steps, rate, "train.batch=40", "train.ema=0", "train.validate_every=1"];
            let schedule = ["train.schedule=constant", "train.warmup=0"];
            let (config, data) = tiny("nice", Spec::Moons, &[&fields[..], &schedule].concat());
            let mut trainer = Trainer::new(config, data).unwrap();
            trainer.run(&mut watch).unwrap();
            trainer
        };
        let all = run(6);
        let best = all.progress().best_step;
        assert_eq!(best == 6, at_the_end, "{rate}: {best}");
        let some = run(best);
        let then = weights(some.model());
        assert_eq!(weights(&all.into_best()), then, "{rate}");
    }
}
