//! A likelihood that stops being finite ends the run by an error that says when and where, and keeps the last good save.

use flow_data::{Spec, Split, Values};
use flow_train::batches::DeviceRows;
use flow_train::folder::model_file;
use flow_train::{Error, Outcome, Trainer};
use ndarray::Array2;
use tch::Device;

use crate::{break_at, tiny, watch};

#[test]
fn a_learning_rate_far_too_high() {
    let dir = tempfile::tempdir().unwrap();
    let fields = ["train.learning_rate=1e20", "train.warmup=0", "train.batch=20", "train.steps=50"];
    let (config, data) = tiny("realnvp", Spec::Moons, &fields);
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.keep_in(dir.path()).unwrap();
    let error = trainer.run(&mut watch).unwrap_err();
    let Error::NotFinite { step, origin, .. } = &error else { panic!("{error}") };
    assert!((2..5).contains(step) && origin.contains("coupling_"), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("step {step}")) && text.contains("train.learning_rate"), "{text}");
    drop(trainer);

    // What was kept is the start.
    assert_eq!(Trainer::resume(dir.path()).unwrap().progress().step, 0);
    let (model, _) = flow_models::file::load(&model_file(dir.path()), Device::Cpu).unwrap();
    assert!(model.flow().sample(5, 1.0, 0, None).isfinite().all().int64_value(&[]) == 1);
}

#[test]
fn a_poisoned_weight_is_traced_to_its_layer() {
    let dir = tempfile::tempdir().unwrap();
    let fields = ["train.batch=20", "train.steps=50", "train.save_every=4", "model.conditioner.dropout=0.1"];
    let (config, data) = tiny("realnvp", Spec::Digits, &fields);
    let digits = data.validation.clone();
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.keep_in(dir.path()).unwrap();
    assert_eq!(trainer.run(&mut break_at(6)).unwrap(), Outcome::Interrupted);
    let bias = trainer.model().variables()["coupling_1.out.bias"].shallow_clone();
    tch::no_grad(|| {
        let _ = bias.shallow_clone().fill_(f64::NAN);
    });
    let error = trainer.run(&mut watch).unwrap_err();
    let Error::NotFinite { step: 7, what, origin } = &error else { panic!("{error}") };
    assert!(what.contains("NaN") && origin.contains("\"coupling_1\""), "{error}");
    // The model is handed back as it was at its best, ready to use: nothing is dropped out.
    let best = trainer.into_best();
    let x = DeviceRows::new(&digits, Device::Cpu).dequantized(0, 10, 0).x;
    assert_eq!(best.flow().log_prob(&x, None), best.flow().log_prob(&x, None));

    let mut resumed = Trainer::resume(dir.path()).unwrap();
    assert_eq!(resumed.progress().step, 6);
    assert_eq!(resumed.run(&mut break_at(8)).unwrap(), Outcome::Interrupted);
}

#[test]
fn a_gradient_that_overflows() {
    // The last layer starts at 0 and hides how enormous the one before it is: log p is finite, its gradient is not.
    let fields = [
        "train.batch=20",
        "train.steps=5",
        "model.conditioner.zero_last=true",
        "model.conditioner.layers=1",
        "model.conditioner.hidden=1024",
        "model.conditioner.init={\"uniform\":3e37}",
    ];
    let (mut config, data) = tiny("realnvp", Spec::Moons, &fields);
    let error = Trainer::new(config.clone(), data.clone()).unwrap().run(&mut watch).unwrap_err();
    let Error::NotFinite { step: 1, origin, .. } = &error else { panic!("{error}") };
    assert!(origin.contains("\"coupling_0.out.weight\""), "{error}");

    // A bound on the norm needs all gradients before the first step.
    config.set("train.clip=1").unwrap();
    let error = Trainer::new(config, data).unwrap().run(&mut watch).unwrap_err();
    let Error::NotFinite { step: 1, what, .. } = &error else { panic!("{error}") };
    assert!(what.contains("norm of the gradient"), "{error}");
}

#[test]
fn data_that_are_not_finite_are_named() {
    let (config, mut data) = tiny("nice", Spec::Moons, &["train.batch=20", "train.steps=5", "data.fixed=20"]);
    let mut rows = Array2::zeros((20, 2));
    rows[[7, 1]] = f32::NAN;
    data.train = flow_data::Source::Fixed(Split::new(Values::Reals(rows), vec![2], None).unwrap());
    let error = Trainer::new(config, data).unwrap().run(&mut watch).unwrap_err();
    let Error::NotFinite { step: 1, origin, .. } = &error else { panic!("{error}") };
    assert!(origin.contains("batch itself"), "{error}");
}

#[test]
fn a_validation_row_that_overflows() {
    let (config, mut data) = tiny("nice", Spec::Iris, &["train.batch=20", "train.steps=9", "train.validate_every=4"]);
    let mut rows = data.validation.to_reals();
    rows[[3, 1]] = f32::MAX;
    data.validation = Split::new(Values::Reals(rows), vec![4], None).unwrap();
    let error = Trainer::new(config, data).unwrap().run(&mut watch).unwrap_err();
    let Error::NotFinite { step: 4, what, .. } = &error else { panic!("{error}") };
    assert!(what.contains("1 of 15 validation rows"), "{error}");
}
