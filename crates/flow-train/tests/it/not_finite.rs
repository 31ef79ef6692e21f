//! A likelihood that stops being finite ends the run by an error that says when and where, and keeps the last good save.

use flow_data::{Spec, Split, Values};
use flow_train::batches::DeviceRows;
use flow_train::folder::model_file;
use flow_train::{Divergence, Error, OnDivergence, Origin, Outcome, Trainer};
use ndarray::Array2;
use tch::Device;

use crate::{break_at, device, tiny, watch};

fn divergence(error: &Error) -> &Divergence {
    match error {
        Error::NotFinite(divergence) => divergence,
        other => panic!("{other}"),
    }
}

#[test]
fn a_learning_rate_far_too_high() {
    let dir = tempfile::tempdir().unwrap();
    let fields = ["train.learning_rate=1e20", "train.warmup=0", "train.batch=20", "train.steps=50"];
    let (config, data) = tiny("realnvp", Spec::Moons, &fields);
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.keep_in(dir.path()).unwrap();
    let error = trainer.run(&mut watch).unwrap_err();
    let Divergence { step, place, .. } = divergence(&error);
    assert!((2..5).contains(step) && place.layer.as_ref().unwrap().starts_with("coupling_"), "{error}");
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
    let Divergence { step, what, place } = divergence(&error);
    assert!(*step == 7 && what.contains("NaN"), "{error}");
    assert_eq!((place.origin, place.layer.as_deref()), (Origin::Output, Some("coupling_1")), "{error}");
    // The digits after the logit and one coupling: some hundreds of numbers, none out of the usual.
    let input = place.input.unwrap();
    assert_eq!((input.not_finite, input.count), (0, 20 * 64));
    assert!(input.min.unwrap() < -1.0 && input.max.unwrap() > 1.0 && input.max.unwrap() < 100.0, "{error}");
    // The model is handed back as it was at its best, ready to use: nothing is dropped out.
    let best = trainer.into_best();
    let x = DeviceRows::new(&digits, device()).dequantized(0, 10, 0).x;
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
    let Divergence { step, what, place } = divergence(&error);
    // On the processor each weight takes its step as soon as its gradient is there.
    let expected = if device().is_cuda() { "norm of the gradient" } else { "gradient of coupling_" };
    assert!(*step == 1 && what.contains(expected) && place.origin == Origin::Gradient, "{error}");
    assert!(place.layer.as_ref().unwrap().starts_with("coupling_") && place.input.is_some(), "{error}");
    assert!(place.variables.iter().any(|name| name.ends_with("weight")), "{error}");

    // A bound on the norm needs all gradients before the first step.
    config.set("train.clip=1").unwrap();
    let error = Trainer::new(config, data).unwrap().run(&mut watch).unwrap_err();
    let Divergence { step, what, place } = divergence(&error);
    assert!(*step == 1 && what.contains("norm of the gradient"), "{error}");
    assert_eq!(place.origin, Origin::Gradient);
    assert!(place.layer.as_ref().unwrap().starts_with("coupling_"), "{error}");
    assert!(place.variables.iter().any(|name| name.ends_with("weight")), "{error}");
}

#[test]
fn data_that_are_not_finite_are_named() {
    let (config, mut data) = tiny("nice", Spec::Moons, &["train.batch=20", "train.steps=5", "data.fixed=20"]);
    let mut rows = Array2::zeros((20, 2));
    rows[[7, 1]] = f32::NAN;
    data.train = flow_data::Source::Fixed(Split::new(Values::Reals(rows), vec![2], None).unwrap());
    let error = Trainer::new(config, data).unwrap().run(&mut watch).unwrap_err();
    let Divergence { step, place, .. } = divergence(&error);
    assert!(*step == 1 && place.origin == Origin::Batch && error.to_string().contains("batch itself"), "{error}");
}

#[test]
fn a_validation_row_that_overflows() {
    let (config, mut data) = tiny("nice", Spec::Iris, &["train.batch=20", "train.steps=9", "train.validate_every=4"]);
    let mut rows = data.validation.to_reals();
    rows[[3, 1]] = f32::MAX;
    data.validation = Split::new(Values::Reals(rows), vec![4], None).unwrap();
    let error = Trainer::new(config, data).unwrap().run(&mut watch).unwrap_err();
    let Divergence { step, what, .. } = divergence(&error);
    assert!(*step == 4 && what.contains("1 of 15 validation rows, counted from 0: 3"), "{error}");
}

/// A likelihood that is finite, and a gradient that is not: 0 · ∞ on the way back through a scale that underflowed.
#[test]
fn a_gradient_is_traced_to_its_layer_and_variables() {
    let fields = ["train.batch=20", "train.steps=50", "model.couplings=4", "model.scaling=one", "train.rates={}"];
    let (config, data) = tiny("nice", Spec::Moons, &fields);
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.run(&mut break_at(2)).unwrap();
    // Of the two layers of coupling_2 the last is 0 and hides that the first is enormous, until its gradient is taken.
    let variables = trainer.model().variables();
    tch::no_grad(|| {
        let _ = variables["coupling_2.out.weight"].shallow_clone().fill_(0.0);
        let _ = variables["coupling_2.layer_0.weight"].shallow_clone().fill_(1e30);
        if let Some(skip) = variables.get("coupling_2.skip.weight") {
            let _ = skip.shallow_clone().fill_(0.0);
        }
    });
    let error = trainer.run(&mut watch).unwrap_err();
    let place = &divergence(&error).place;
    assert_eq!((place.origin, place.layer.as_deref()), (Origin::Gradient, Some("coupling_2")), "{error}");
    assert!(place.variables.iter().all(|name| name.starts_with("coupling_2.")), "{error}");
}

/// Running moments are moved by the forward pass that went wrong; neither the replay nor what is kept may see that.
#[test]
fn running_moments_are_put_back() {
    let fields =
        ["device=cpu", "threads=1", "train.batch=20", "train.steps=50", "model.net.width=4", "model.net.norm=batch"];
    let data = flow_data::load(&Spec::Digits, &flow_data::LoadOptions::default()).unwrap();
    let mut config =
        flow_train::RunConfig::preset("realnvp-image", flow_models::Preset::Cpu, Spec::Digits, &data).unwrap();
    fields.iter().for_each(|field| config.set(field).unwrap());
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.run(&mut break_at(3)).unwrap();
    let variables = trainer.model().variables();
    let moments = || -> Vec<tch::Tensor> {
        let own = variables.iter().filter(|(name, _)| name.ends_with(".variance") || name.ends_with(".mean"));
        own.map(|(_, moment)| moment.copy()).collect()
    };
    let before = moments();
    assert!(before.len() > 4);
    let (poisoned, bias) = variables.iter().find(|(name, _)| name.ends_with("coupling.out.bias")).unwrap();
    let _ = tch::no_grad(|| bias.shallow_clone().fill_(f64::INFINITY));
    let error = trainer.run(&mut watch).unwrap_err();
    let place = &divergence(&error).place;
    assert_eq!(place.layer.as_deref(), poisoned.strip_suffix(".out.bias"), "{error}");
    assert_eq!(moments(), before);
}

/// Weights that are finite, and so large that the next batch has no likelihood, are not saved: there would be no way back.
#[test]
fn a_save_is_worth_going_back_to() {
    let dir = tempfile::tempdir().unwrap();
    let fields = ["train.batch=20", "train.steps=50", "train.save_every=4"];
    let (config, data) = tiny("realnvp", Spec::Moons, &fields);
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.keep_in(dir.path()).unwrap();
    let weight = trainer.model().variables()["coupling_0.out.bias"].shallow_clone();
    // As if the eighth step had been far too long: what is broken off there is saved, or not.
    let error = trainer
        .run(&mut |event: &flow_train::Event| match event {
            flow_train::Event::Step { step: 8, .. } => {
                let _ = tch::no_grad(|| weight.shallow_clone().fill_(1e30));
                std::ops::ControlFlow::Break(())
            }
            _ => std::ops::ControlFlow::Continue(()),
        })
        .unwrap_err();
    assert_eq!(divergence(&error).step, 8, "{error}");
    drop(trainer);
    assert_eq!(Trainer::resume(dir.path()).unwrap().progress().step, 4);
}

/// Without a folder, too, a training can go back: to what it was at the last save that would have been.
#[test]
fn going_back_in_memory_is_going_back_on_disk() {
    let end = |keep: bool| {
        let dir = tempfile::tempdir().unwrap();
        let fields = [
            "train.learning_rate=1e4",
            "train.warmup=0",
            "train.schedule=constant",
            "train.batch=20",
            "train.steps=20",
            "train.save_every=3",
            "train.rewinds=100",
            "model.conditioner.dropout=0.1",
        ];
        let (mut config, data) = tiny("realnvp", Spec::Moons, &fields);
        config.train.on_divergence = OnDivergence::Rewind;
        let mut trainer = Trainer::new(config, data).unwrap();
        if keep {
            trainer.keep_in(dir.path()).unwrap();
        }
        let mut heard = Vec::new();
        let outcome = trainer.run(&mut |event: &flow_train::Event| {
            if let flow_train::Event::Rewound { step, rewinds, .. } = event {
                heard.push((*step, *rewinds));
            }
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(outcome.unwrap(), Outcome::Finished);
        assert_eq!(trainer.progress().rewinds as usize, heard.len());
        let best = trainer.progress().best_nats.map(f64::to_bits);
        (heard, best, trainer.into_best().variables())
    };
    let (memory, disk) = (end(false), end(true));
    assert!(!memory.0.is_empty());
    assert!(memory == disk, "{:?}, {:?}", memory.0, disk.0);
}
