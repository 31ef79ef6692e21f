//! Every small model against autograd's Jacobian, in f64.

use flow_core::ToParameters;
use flow_core::rng::with_seed;
use flow_core::testing::{Tolerance, check};
use flow_models::{BaseKind, Model, ModelConfig, NiceConfig};
use tch::{Device, Kind, Tensor};

use crate::common::{Case, batch, randomised, zoo};

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
    let log_prob = |model: &Model| with_seed(1, || tch::no_grad(|| model.flow().log_prob(&x, context.as_ref())));
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

/// Of every parameter of every small model, in training as in evaluation (a dropped unit must be the same in both).
#[test]
fn gradients_map_by_map_are_those_of_the_whole_tape() {
    for training in [false, true] {
        // Running moments move with every training pass, and the second one normalises by others than the first.
        let still = |case: &Case| !(training && case.name.contains(r#""norm":"batch""#));
        for case in zoo().into_iter().filter(still) {
            let mut model = randomised(&case.config, &case.event);
            model.vs_mut().double();
            model.flow_mut().set_training(training);
            let (x, context) = batch(&model, 6);
            let (x, context) = (x.to_kind(Kind::Double), context.map(|c| c.to_kind(Kind::Double)));
            let flow = model.flow();
            let taped = with_seed(4, || flow.log_prob(&x, context.as_ref()));
            taped.mean(None).neg().backward();
            let copy = |t: Tensor| if t.defined() { t.copy() } else { t };
            let expected: Vec<_> = model.variables().into_values().map(|v| copy(v.grad())).collect();
            for (_, mut variable) in model.variables() {
                variable.zero_grad();
            }
            let kept = with_seed(4, || flow.forward_keeping(&x, context.as_ref()));
            let log_prob = kept.log_prob.copy();
            kept.backward(&mut ToParameters);
            assert!((log_prob - taped).abs().max().double_value(&[]) < 1e-9, "{}", case.name);
            for ((name, variable), expected) in model.variables().into_iter().zip(expected) {
                if expected.defined() {
                    let off = (variable.grad() - &expected).abs().max().double_value(&[]);
                    assert!(
                        off <= 1e-9 * (1.0 + expected.abs().max().double_value(&[])),
                        "{name}: {off:e} in {}",
                        case.name
                    );
                }
            }
        }
    }
}
