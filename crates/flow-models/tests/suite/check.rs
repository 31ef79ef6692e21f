//! Every small model against autograd's Jacobian, in f64.

use flow_core::testing::{Tolerance, check};
use flow_models::{BaseKind, Model, ModelConfig, NiceConfig};
use tch::{Device, Kind, Tensor};

use crate::common::{batch, randomised, zoo};

#[test]
fn every_pattern_order_and_head_is_invertible_and_its_log_det_right() {
    for case in zoo() {
        let mut model = randomised(&case.config, &case.event);
        model.vs_mut().double();
        let (x, context) = batch(&model, 3);
        let (x, context) = (x.to_kind(Kind::Double), context.map(|c| c.to_kind(Kind::Double)));
        let report = check(model.flow().bijection(), &x, context.as_ref());
        if let Err(faults) = report.verdict(&Tolerance::double()) {
            panic!("{}:\n{faults}", case.name);
        }
    }
}

#[test]
fn context_and_parameters_matter() {
    for case in zoo().into_iter().filter(|case| case.config.context() > 0) {
        let model = randomised(&case.config, &case.event);
        let (x, context) = batch(&model, 3);
        let other = context.as_ref().map(|c| c + 1.0);
        let log_prob = |context: &Option<Tensor>| tch::no_grad(|| model.flow().log_prob(&x, context.as_ref()));
        assert_ne!(log_prob(&context), log_prob(&other), "{}", case.name);
    }
}

#[test]
fn dropout_is_on_in_training_only() {
    let case = zoo().into_iter().find(|case| matches!(case.config, ModelConfig::RealNvp(_))).unwrap();
    let mut model = randomised(&case.config, &case.event);
    let (x, context) = batch(&model, 64);
    let log_prob =
        |model: &Model| flow_core::rng::with_seed(1, || tch::no_grad(|| model.flow().log_prob(&x, context.as_ref())));
    let before = log_prob(&model);
    model.flow_mut().set_training(true);
    assert_ne!(log_prob(&model), before);
    model.flow_mut().set_training(false);
    assert_eq!(log_prob(&model), before);
}

#[test]
fn without_training_a_nice_is_its_base() {
    for (base, expected) in [
        (BaseKind::Normal, -0.5 * (0.3f64 * 0.3 + 0.5 * 0.5 + 2.0 * std::f64::consts::TAU.ln())),
        (BaseKind::Logistic, [0.3f64, -0.5].iter().map(|z| -z - 2.0 * (-z).exp().ln_1p()).sum()),
    ] {
        let config = ModelConfig::Nice(NiceConfig { base, ..NiceConfig::default() });
        let model = Model::new(&config, &[2], 0, Device::Cpu).unwrap();
        let x = Tensor::from_slice(&[0.3f32, -0.5]).reshape([1, 2]);
        let log_prob = tch::no_grad(|| model.flow().log_prob(&x, None)).double_value(&[0]);
        approx::assert_abs_diff_eq!(log_prob, expected, epsilon = 1e-6);
    }
}
