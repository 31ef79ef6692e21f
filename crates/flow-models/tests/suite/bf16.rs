//! Models whose nets hold their weights in bf16 are those with the same rounded weights in f32.

use flow_core::product::Precision;
use flow_models::{Error, Model, ModelCard, ModelConfig, file};
use tch::{Device, Kind, Tensor};

use crate::common::{Case, batch, randomised, zoo};

/// Whether a model has fully connected nets, and no others.
fn has_dense(case: &Case) -> bool {
    case.event.len() == 1 || matches!(case.config, ModelConfig::Nice(_) | ModelConfig::RealNvp(_))
}

/// Whether a variable is the weight of such a net.
fn is_dense(case: &Case, name: &str, variable: &Tensor) -> bool {
    has_dense(case) && name.ends_with(".weight") && variable.dim() == 2
}

/// A model and its weights rounded: in f32, and held in bf16.
fn both(case: &Case) -> (Model, Model) {
    let rounded = randomised(&case.config, &case.event);
    tch::no_grad(|| {
        for (name, weight) in rounded.variables() {
            if is_dense(case, &name, &weight) {
                weight.shallow_clone().copy_(&weight.to_kind(Kind::BFloat16));
            }
        }
    });
    let halved = randomised(&case.config, &case.event).to_bf16().unwrap();
    (rounded, halved)
}

fn close(what: &str, halved: &Tensor, rounded: &Tensor) {
    let off = (halved - rounded).abs().max().double_value(&[]);
    let most = rounded.abs().max().double_value(&[]);
    assert!(off <= 2e-5 * (1.0 + most), "{what}: {off:e} of {most}");
}

/// Densities, on a tape and without one, gradients of the data, and samples, of a few rows and of many.
#[test]
fn weights_in_bf16_are_rounded_weights() {
    for case in zoo().into_iter().filter(has_dense) {
        let (rounded, halved) = both(&case);
        let (x, context) = batch(&rounded, 40);
        for rows in [1, 15, 16, 40] {
            let what = format!("{}, {rows} rows", case.name);
            let some = |t: &Tensor| t.narrow(0, 0, rows);
            let (x, context) = (some(&x), context.as_ref().map(some));
            let context = context.as_ref();
            let log_prob = |model: &Model| model.log_prob(&x, context).unwrap();
            close(&what, &log_prob(&halved), &log_prob(&rounded));
            let taped = |model: &Model| {
                let x = x.copy().set_requires_grad(true);
                let log_prob = model.flow().log_prob(&x, context);
                log_prob.sum(None::<Kind>).backward();
                (log_prob.detach(), x.grad())
            };
            let ((halved_on_tape, halved_grad), (on_tape, grad)) = (taped(&halved), taped(&rounded));
            close(&format!("{what}, taped"), &halved_on_tape, &on_tape);
            close(&format!("{what}, gradient"), &halved_grad, &grad);
            let sample = |model: &Model| model.sample(rows as usize, 0.7, 3, context).unwrap();
            close(&format!("{what}, samples"), &sample(&halved), &sample(&rounded));
        }
    }
}

/// For checks in f64, and where factors are rounded anyway.
#[test]
fn in_f64_and_in_bf16_they_are_the_same_weights() {
    for case in zoo().into_iter().filter(has_dense) {
        let (rounded, halved) = both(&case);
        let (x, context) = batch(&rounded, 20);
        let context = context.as_ref();
        let double = |model: &Model| {
            let double = |t: &Tensor| t.to_kind(Kind::Double);
            model.to_double().unwrap().log_prob(&double(&x), context.map(double).as_ref()).unwrap()
        };
        assert_eq!(double(&halved), double(&rounded), "{}", case.name);
        let scoped = |model: &Model| Precision::Bf16.scope(|| model.log_prob(&x, context).unwrap());
        close(&case.name, &scoped(&halved), &scoped(&rounded));
    }
}

#[test]
fn weights_of_dense_layers_and_nothing_else_are_held_so() {
    for case in zoo() {
        let halved = randomised(&case.config, &case.event).to_bf16().unwrap();
        let mut count = 0;
        for (name, variable) in halved.variables() {
            let dense = is_dense(&case, &name, &variable);
            assert_eq!(variable.kind() == Kind::BFloat16, dense, "{}: {name}", case.name);
            assert!(!dense || !variable.requires_grad(), "{}: {name}", case.name);
            assert!(!variable.grad().defined(), "{}: {name}", case.name);
            count += usize::from(dense);
        }
        assert_eq!(count > 0, has_dense(&case), "{}", case.name);
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let case = &zoo()[0];
    let model = || Model::new(&case.config, &case.event, 0, Device::Cpu).unwrap();
    let mut double = model();
    double.vs_mut().double();
    let said = double.to_bf16().unwrap_err();
    assert!(matches!(&said, Error::Input(why) if why.contains("Double")), "{said}");

    let halved = model().to_bf16().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let card = ModelCard::new(&halved, serde_json::Value::Null, 0, serde_json::Value::Null);
    let said = file::save(&folder.path().join("model.safetensors"), &halved.variables(), &card).unwrap_err();
    assert!(said.to_string().contains("BFloat16"), "{said}");
    let mut all = model();
    all.vs_mut().bfloat16();
    let said = all.to_bf16().unwrap_err();
    assert!(matches!(&said, Error::Input(why) if why.contains("BFloat16")), "{said}");
    // Once is enough.
    let again = halved.to_bf16().unwrap();
    assert!(again.variables().values().any(|variable| variable.kind() == Kind::BFloat16));
}

/// What is rebuilt on the way back is what was there: each coupling sees its net round the same factors in the same way twice.
#[test]
fn activations_are_rebuilt_in_bf16_too() {
    for case in zoo().into_iter().filter(|case| case.config.can_rebuild()) {
        let model = randomised(&case.config, &case.event);
        let (x, context) = batch(&model, 40);
        for rows in [3, 40] {
            let some = |t: &Tensor| t.narrow(0, 0, rows);
            let (x, context) = (some(&x), context.as_ref().map(some));
            let rebuilding = || model.flow().backward_rebuilding(&x, context.as_ref()).error;
            let (exact, rounded) = (rebuilding(), Precision::Bf16.scope(rebuilding));
            let bound = 10.0 * exact + 1e-5 * (1.0 + x.abs().max().double_value(&[]));
            assert!(rounded <= bound, "{}, {rows} rows: {rounded:e} in bf16, {exact:e} in f32", case.name);
        }
    }
}
