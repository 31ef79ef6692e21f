//! Convolutional models in training: classes as context, rebuilt activations, and going on to the bit with both.

use flow_data::{DataSet, LoadOptions, Part, Spec};
use flow_models::{Model, Preset};
use flow_train::batches::DeviceRows;
use flow_train::classify::{ByClass, accuracy};
use flow_train::evaluate::evaluate;
use flow_train::{Error, Event, RunConfig, Trainer};
use tch::{Device, Kind, Tensor};

use crate::{asked_device, device, watch};

/// A net of some thousand parameters on one thread.
pub fn small(model: &str, fields: &[&str]) -> (RunConfig, DataSet) {
    let data = flow_data::load(&Spec::Digits, &LoadOptions::default()).unwrap();
    let mut config = RunConfig::preset(model, Preset::Cpu, Spec::Digits, &data).unwrap();
    config.device = asked_device();
    let common = ["threads=1", "model.net.width=8", "train.batch=32", "train.steps=30", "train.warmup=3"];
    for field in common.iter().chain(fields) {
        config.set(field).unwrap();
    }
    if model == "glow" {
        config.set("model.depth=2").unwrap();
    }
    (config, data)
}

fn train(config: RunConfig, data: &DataSet) -> (Model, Vec<f64>) {
    let mut trainer = Trainer::new(config, data.clone()).unwrap();
    let mut nats = Vec::new();
    trainer
        .run(&mut |event: &Event| {
            if let Event::Step { nats: own, .. } = event {
                nats.push(*own);
            }
            watch(event)
        })
        .unwrap();
    (trainer.into_best(), nats)
}

/// Whether the last ten steps are better than the first ten.
fn learns(nats: &[f64]) -> bool {
    let sum = |part: &[f64]| part.iter().sum::<f64>();
    sum(&nats[nats.len() - 10..]) > sum(&nats[..10])
}

#[test]
fn rebuilt_activations_give_the_same_training() {
    for model in ["glow", "realnvp-image"] {
        let (config, data) = small(model, &[]);
        let (_, kept) = train(config, &data);
        let (config, data) = small(model, &["train.rebuild=true"]);
        let (_, rebuilt) = train(config, &data);
        assert!(learns(&kept), "{model} learns nothing: {kept:?}");
        // On a GPU sums are in another order for another way, and the steps at this rate are wild.
        let bound = if device().is_cuda() { 3e-3 } else { 1e-3 };
        for (a, b) in kept.iter().zip(&rebuilt) {
            assert!((a - b).abs() < bound * a.abs().max(1.0), "{model}: {kept:?} and {rebuilt:?}");
        }
    }
}

#[test]
fn what_cannot_be_rebuilt_is_refused() {
    for (model, field) in [("realnvp-image", "model.net.norm=batch"), ("nice", "model.conditioner.dropout=0.1")] {
        let data = flow_data::load(&Spec::Digits, &LoadOptions::default()).unwrap();
        let mut config = RunConfig::preset(model, Preset::Cpu, Spec::Digits, &data).unwrap();
        config.set("train.rebuild=true").unwrap();
        config.set(field).unwrap();
        let error = Trainer::new(config, data).unwrap_err().to_string();
        assert!(error.contains("train.rebuild"), "{error}");
    }
}

#[test]
fn recorded_or_not_a_step_is_the_same_to_the_bit() {
    for (model, field) in [
        ("glow", "model.classes=10"),
        ("glow", "model.mixing=plain"),
        ("realnvp-image", "model.net.norm=batch"),
        ("realnvp-image", "train.precision=bf16"),
    ] {
        let last = |on: bool| {
            let (config, data) = small(model, &[field, &format!("train.graphs={on}"), "train.steps=10"]);
            train(config, &data).1
        };
        assert_eq!(last(true), last(false), "{model}, {field}");
    }
}

#[test]
fn batch_normalisation_trains_and_evaluates() {
    let (config, data) = small("realnvp-image", &["model.net.norm=batch"]);
    let (model, nats) = train(config, &data);
    assert!(learns(&nats), "{nats:?}");
    let reached = evaluate(model.flow(), 0, &data.validation, Part::Validation, None, 1, 0).unwrap();
    assert!(reached.nats.mean.is_finite());
}

#[test]
fn classes_are_learned_from() {
    let (config, data) = small("glow", &["model.classes=10", "train.steps=60", "model.net.width=16"]);
    let (model, _) = train(config, &data);
    let rows = DeviceRows::with_classes(&data.test, 10, device()).unwrap();
    let by_class = ByClass::of(model.flow(), 10, &rows, 0);
    let labels = rows.labels().unwrap().to_device(Device::Cpu);
    let reached = accuracy(&by_class.confusion(&labels));
    assert!(reached > 0.3, "accuracy {reached}, a tenth by guessing");

    // The class summed out, in this test's own words, from what `evaluate` says of the true class.
    let sums = by_class.posterior().sum_dim_intlist(1i64, false, Kind::Double);
    assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-12);
    let first: Vec<f64> = Vec::try_from(by_class.log_prob.get(0)).unwrap();
    let by_hand = (first.iter().map(|log_prob| (log_prob - first[0]).exp()).sum::<f64>() / 10.0).ln() + first[0];
    assert!((by_class.marginal()[0] - by_hand).abs() < 1e-9);
    let given = by_class.log_prob.gather(1, &labels.unsqueeze(1), false).mean(Kind::Double).double_value(&[]);
    let reached = evaluate(model.flow(), 10, &data.test, Part::Test, None, 1, 0).unwrap();
    assert!(reached.given_class && (reached.nats.mean - given).abs() < 1e-6, "{} and {given}", reached.nats.mean);
}

#[test]
fn a_confusion_is_counted_by_class() {
    // Three rows of two classes; the second is taken for the other.
    let by_class = ByClass { log_prob: Tensor::from_slice(&[0.0, -1.0, 0.0, -2.0, -3.0, -1.0]).reshape([3, 2]) };
    let confusion = by_class.confusion(&Tensor::from_slice(&[0i64, 1, 1]));
    assert_eq!(confusion, [[1, 0], [1, 1]]);
    assert!((accuracy(&confusion) - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn classes_that_the_data_has_not_are_refused() {
    let (mut config, data) = small("glow", &["model.classes=9"]);
    let error = Trainer::new(config.clone(), data.clone()).unwrap_err();
    assert!(matches!(&error, Error::Config(why) if why.contains("label 9")), "{error}");

    config.set("model.classes=10").unwrap();
    let mut unlabelled = data;
    unlabelled.validation.labels = None;
    let error = Trainer::new(config, unlabelled).unwrap_err();
    assert!(matches!(&error, Error::Config(why) if why.contains("no labels")), "{error}");

    let moons = flow_data::load(&Spec::Moons, &LoadOptions::default()).unwrap();
    let mut config = RunConfig::preset("glow", Preset::Cpu, Spec::Moons, &moons).unwrap();
    config.set("model.classes=2").unwrap();
    let error = Trainer::new(config, moons).unwrap_err();
    assert!(matches!(&error, Error::Config(why) if why.contains("fresh draws")), "{error}");
}

#[test]
fn convolutions_in_bf16_train_as_well() {
    for model in ["glow", "realnvp-image"] {
        let last = |precision: &str| {
            let (config, data) = small(model, &[precision]);
            let (_, nats) = train(config, &data);
            nats[nats.len() - 10..].iter().sum::<f64>() / 10.0
        };
        let (exact, rounded) = (last("train.precision=f32"), last("train.precision=bf16"));
        assert_ne!(exact, rounded, "{model}: nothing was rounded");
        assert!((rounded / exact - 1.0).abs() < 5e-3, "{model}: {rounded} nats in bf16, {exact} in f32");
    }
}
