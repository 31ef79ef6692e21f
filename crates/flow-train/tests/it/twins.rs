//! Steps whose rows are shared out among threads are those of one thread, and of autograd's tape.

use flow_data::{DataSet, Spec};
use flow_train::{Event, RunConfig, Trainer};
use tch::{Kind, Tensor};

use crate::images::small;
use crate::{tiny, watch};

/// What a training left.
struct Trained {
    /// All that the model holds.
    numbers: Tensor,
    /// The likelihood of every batch, the norms of gradients, and the likelihoods in validation.
    told: Vec<f64>,
}

fn trained(config: RunConfig, data: DataSet) -> Trained {
    let mut trainer = Trainer::new(config, data).unwrap();
    let mut told = Vec::new();
    trainer
        .run(&mut |event: &Event| {
            match event {
                Event::Step { nats, gradient_norm, .. } => told.extend([*nats, *gradient_norm]),
                Event::Validated { nats, .. } => told.push(*nats),
                _ => {}
            }
            watch(event)
        })
        .unwrap();
    let numbers: Vec<Tensor> = trainer
        .model()
        .variables()
        .into_values()
        .map(|variable| variable.detach().to_kind(Kind::Float).flatten(0, -1))
        .collect();
    Trained { numbers: Tensor::cat(&numbers, 0), told }
}

/// A gradient that should be 0 is to stay that in Adam's step, rather than become a whole one of what was rounded.
const STILL: &str = "train.epsilon=1e-3";

/// One by which no hidden unit comes within rounding of its kink: on which side of it such a unit is depends on the processor, and its
/// weights with it.
const SEED: &str = "seed=1";

/// Four steps of an image model on digits.
fn of_images(model: &str, fields: &[&str]) -> Trained {
    let common = ["device=cpu", SEED, "train.steps=4", "train.ema=0.5", "train.validate_every=2", STILL];
    let (config, data) = small(model, &[&common, fields].concat());
    trained(config, data)
}

/// Whether sums in another order explain what is different.
fn assert_alike(what: &str, a: &Trained, b: &Trained) {
    assert_eq!(a.told.len(), b.told.len(), "{what}");
    for (a, b) in a.told.iter().zip(&b.told) {
        assert!((a - b).abs() <= 2e-4 * b.abs().max(1.0), "{what}: {a} and {b}");
    }
    let off = (&a.numbers - &b.numbers).abs();
    let (mean, most) = (off.mean(None).double_value(&[]), off.max().double_value(&[]));
    assert!(mean < 2e-6 && most < 2e-4, "{what}: {most:e}, in the mean {mean:e}");
}

fn assert_trained(what: &str, trained: &Trained, start: &Trained) {
    let moved = (&trained.numbers - &start.numbers).abs().max().double_value(&[]);
    assert!(moved > 1e-3, "{what}: nothing was trained, {moved:e}");
}

/// Of two threads' shares, three threads' and the tape, against one thread's steps.
fn check(model: &str, fields: &[&str]) {
    let with = |more: &[&str]| of_images(model, &[fields, more].concat());
    let (one, start) = (with(&["threads=1"]), with(&["threads=1", "train.steps=0"]));
    let what = format!("{model}, {fields:?}");
    assert_trained(&what, &one, &start);
    for other in [&["threads=2"][..], &["threads=3"], &["threads=2", "train.taped=true"]] {
        assert_alike(&format!("{what}, {other:?}"), &with(other), &one);
    }
}

#[test]
fn of_image_models() {
    check("glow", &[]);
    check("realnvp-image", &[]);
}

#[test]
fn with_gradients_that_are_shortened() {
    check("glow", &["train.clip=0.5"]);
    check("realnvp-image", &["train.clip=0.5", "train.weight_decay=0.1"]);
}

#[test]
fn of_batches_that_cannot_be_shared_out_evenly() {
    check("glow", &["train.batch=33"]);
    check("realnvp-image", &["train.batch=25"]);
    // Not worth a thread each.
    check("glow", &["train.batch=7"]);
}

#[test]
fn with_classes_given() {
    check("glow", &["model.classes=10", "train.batch=33"]);
    check("realnvp-image", &["model.classes=10"]);
}

/// Normalised by the whole batch, not by a thread's rows.
#[test]
fn batch_normalisation_knows_the_whole_batch() {
    check("realnvp-image", &["model.net.norm=batch"]);
}

/// Vectors, as plain numbers and in batches too large for that; a unit that is dropped is dropped whatever the number of threads.
#[test]
fn of_vector_models() {
    let nets = ["model.conditioner.dropout=0", "model.conditioner.dropout=0.3", "train.clip=0.1"];
    for (model, batch) in [("nice", 100), ("realnvp", 100), ("nice", 601), ("realnvp", 601)] {
        let batch = format!("train.batch={batch}");
        for field in nets {
            let with = |more: &[&str]| {
                let common = ["device=cpu", "train.steps=5", &batch, "train.validate_every=5", STILL, field];
                let (config, data) = tiny(model, Spec::Digits, &[&common, more].concat());
                trained(config, data)
            };
            let (one, what) = (with(&[]), format!("{model}, {batch}, {field}"));
            assert_trained(&what, &one, &with(&["train.steps=0"]));
            assert_alike(&what, &with(&["threads=2"]), &one);
            assert_alike(&format!("{what}, taped"), &with(&["threads=2", "train.taped=true"]), &one);
        }
    }
}
