//! Frozen models are the models that they were made of.

use flow_dense::Packed;
use flow_models::{Model, ModelConfig};
use tch::{Kind, Tensor};

use crate::common::{Case, batch, normal, randomised, zoo};

/// The zoo, and its models of nets again with layers wide enough to be packed.
fn cases() -> Vec<Case> {
    let wide = zoo().into_iter().filter_map(|mut case| {
        let net = match &mut case.config {
            ModelConfig::Nice(config) => &mut config.conditioner,
            ModelConfig::RealNvp(config) => &mut config.conditioner,
            ModelConfig::Glow(config) if case.event.len() == 1 => &mut config.vector_net,
            _ => return None,
        };
        // Neither whole groups of rows nor whole lines of columns.
        (net.hidden, net.layers) = (79, 3);
        case.name = format!("wide {}", case.name);
        Some(case)
    });
    zoo().into_iter().chain(wide).collect()
}

/// A model whose trained parameters are away from their start, but do not grow what goes through its nets.
fn model(case: &Case) -> Model {
    let model = randomised(&case.config, &case.event);
    if case.name.starts_with("wide") {
        tch::no_grad(|| {
            for (_, weight) in model.variables().into_iter().filter(|(_, variable)| variable.dim() == 2) {
                weight.shallow_clone().copy_(&(&weight / 3.0));
            }
        });
    }
    model
}

#[track_caller]
fn close(what: &str, frozen: &Tensor, right: &Tensor) {
    assert_eq!(frozen.size(), right.size(), "{what}");
    let off = (frozen - right).abs().max().double_value(&[]);
    let most = right.abs().max().double_value(&[]);
    assert!(off <= 2e-5 * (1.0 + most), "{what}: {off:e} of {most}");
}

fn check(what: &str, frozen: &Model, right: &Model) {
    let (x, context) = batch(right, 20);
    for rows in [1, 2, 3, 20] {
        let what = format!("{what}, {rows} rows");
        let some = |t: &Tensor| t.narrow(0, 0, rows);
        let (x, context) = (some(&x), context.as_ref().map(some));
        let context = context.as_ref();
        let log_prob = |model: &Model| model.log_prob(&x, context).unwrap();
        close(&what, &log_prob(frozen), &log_prob(right));
        let sample = |model: &Model| model.sample(rows as usize, 0.7, 3, context).unwrap();
        close(&format!("{what}, samples"), &sample(frozen), &sample(right));
        let gradient = |model: &Model| {
            let x = x.copy().set_requires_grad(true);
            model.flow().log_prob(&x, context).sum(None::<Kind>).backward();
            x.grad()
        };
        close(&format!("{what}, gradients"), &gradient(frozen), &gradient(right));
    }
}

/// Densities, samples and gradients of the data, of rows that are taken by packed weights and of others, in f32 and in bf16.
#[test]
fn they_are_the_same_flows() {
    for case in cases() {
        let model = model(&case);
        check(&case.name, &model.to_frozen().unwrap(), &model);
        let halved = model.to_bf16().unwrap();
        check(&format!("{} in bf16", case.name), &halved.to_frozen().unwrap(), &halved);
    }
}

/// Neither is the other's memory, and there are no gradients.
#[test]
fn they_are_copies_that_are_not_trained() {
    for case in cases() {
        let model = model(&case);
        let frozen = model.to_frozen().unwrap();
        let own = model.variables();
        for (name, variable) in frozen.variables() {
            assert!(
                variable.equal(&own[&name]) && variable.data_ptr() != own[&name].data_ptr(),
                "{}: {name}",
                case.name
            );
            assert!(!variable.requires_grad(), "{}: {name}", case.name);
        }
        let (x, context) = batch(&model, 1);
        let log_prob = || frozen.log_prob(&x, context.as_ref()).unwrap();
        let before = log_prob();
        tch::no_grad(|| own.values().for_each(|variable| drop(variable.shallow_clone().zero_())));
        assert_eq!(before, log_prob(), "{}", case.name);
    }
}

/// That so many rows and no more do not read the variables, where nets are of straight lines, until training begins.
#[test]
fn few_rows_are_taken_by_what_is_packed() {
    let mut count = 0;
    let wide = cases().into_iter().filter(|case| flow_dense::available() && case.name.starts_with("wide"));
    for case in wide.filter(|case| !matches!(case.config, ModelConfig::Glow(_))) {
        let straight = case.name.contains("relu");
        let mut frozen = model(&case).to_frozen().unwrap();
        let (x, context) = batch(&frozen, 3);
        let log_prob = |frozen: &Model, rows| {
            let context = context.as_ref().map(|context| context.narrow(0, 0, rows));
            frozen.log_prob(&x.narrow(0, 0, rows), context.as_ref()).unwrap()
        };
        let before = [1, 2, 3].map(|rows| log_prob(&frozen, rows));
        tch::no_grad(|| {
            for (i, (name, variable)) in frozen.variables().into_iter().enumerate() {
                if name.ends_with("layer_1.weight") {
                    variable.shallow_clone().copy_(&normal(&variable.size(), i as u64));
                }
            }
        });
        let most = if straight { Packed::most_rows(false) as i64 } else { 0 };
        for (before, rows) in before.iter().zip(1..) {
            assert_eq!(*before == log_prob(&frozen, rows), rows <= most, "{}, {rows} rows", case.name);
        }
        frozen.flow_mut().set_training(true);
        frozen.flow_mut().set_training(false);
        assert_ne!(before[0], log_prob(&frozen, 1), "{}", case.name);
        count += usize::from(straight);
    }
    assert!(count > 4 || !flow_dense::available(), "{count}");
}

/// Models in f64 have nothing to pack, and can be frozen all the same.
#[test]
fn a_double_can_be_frozen() {
    let case = &zoo()[0];
    let double = randomised(&case.config, &case.event).to_double().unwrap();
    let (x, context) = batch(&double, 2);
    let [x, context] = [Some(x), context].map(|t| t.map(|t| t.to_kind(Kind::Double)));
    let log_prob = |model: &Model| model.log_prob(x.as_ref().unwrap(), context.as_ref()).unwrap();
    assert_eq!(log_prob(&double.to_frozen().unwrap()), log_prob(&double));
}
