//! Every small model against autograd's Jacobian, in f64.

use flow_core::ToParameters;
use flow_core::rng::with_seed;
use flow_core::testing::{Tolerance, check, check_gradients};
use flow_models::{
    BaseKind, ConvNetConfig, GlowConfig, MlpConfig, Model, ModelConfig, NiceConfig, Pattern, RealNvpConfig,
};
use tch::{Device, Kind, Tensor};

use crate::common::{Case, batch, randomised, zoo};

#[test]
fn every_pattern_order_and_head_is_invertible_and_its_log_det_right() {
    for case in zoo() {
        let mut model = randomised(&case.config, &case.event);
        model.vs_mut().double();
        let (x, context) = batch(&model, 3);
        let (x, context) = (x.to_kind(Kind::Double), context.map(|c| c.to_kind(Kind::Double)));
        let (bijection, tolerance) = (model.flow().bijection(), Tolerance::double());
        let report = check(bijection, &x, context.as_ref());
        if let Err(faults) = report.verdict(&tolerance) {
            panic!("{}:\n{faults}", case.name);
        }
        let parameters = model.vs().trainable_variables();
        let off = check_gradients(bijection, &x, context.as_ref(), &parameters).relative;
        // A gradient goes through every map twice, splines solved for their inverse among them.
        assert!(off <= 1e-6, "{}: gradients of parameters are off by {off:e}", case.name);
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

/// The log-densities that an image model which was built for so many classes gives with a context or without one.
fn of_classes(classes: usize, context: Option<&Tensor>) -> Tensor {
    let net = ConvNetConfig { width: 2, ..ConvNetConfig::default() };
    let config = ModelConfig::Glow(GlowConfig { levels: 1, depth: 1, net, classes, ..GlowConfig::default() });
    let model = Model::new(&config, &[1, 2, 2], 0, Device::Cpu).unwrap();
    tch::no_grad(|| model.flow().log_prob(&Tensor::zeros([2, 4], (Kind::Float, Device::Cpu)), context))
}

#[test]
#[should_panic(expected = "a net for a context of width 3 was given none")]
fn a_model_of_classes_without_its_context_is_a_bug() {
    let _ = of_classes(3, None);
}

/// Of vectors whose changed half would fit in the place of what is missing.
#[test]
#[should_panic]
fn a_model_of_vectors_without_its_context_is_a_bug() {
    let conditioner = MlpConfig { hidden: 4, layers: 1, ..MlpConfig::default() };
    let config =
        RealNvpConfig { couplings: 1, pattern: Pattern::Halves, conditioner, context: 2, ..RealNvpConfig::default() };
    let model = Model::new(&ModelConfig::RealNvp(config), &[4], 0, Device::Cpu).unwrap();
    let _ = tch::no_grad(|| model.flow().log_prob(&Tensor::zeros([2, 4], (Kind::Float, Device::Cpu)), None));
}

#[test]
#[should_panic(expected = "a net without a context was given one")]
fn a_context_for_a_model_without_one_is_a_bug() {
    let _ = of_classes(0, Some(&Tensor::zeros([2, 3], (Kind::Float, Device::Cpu))));
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

/// Of every parameter of every small model, in training as in evaluation (a dropped unit must be the same in both);
/// where there is a way back from the latent alone, by that as well.
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
            let hold = |way: &str, allowed: f64, run: &dyn Fn() -> Tensor| {
                model.variables().into_values().for_each(|mut variable| variable.zero_grad());
                let largest = |t: Tensor| t.abs().max().double_value(&[]);
                assert!(largest(run() - &taped) < 1e-9, "{way}, {}", case.name);
                for ((name, variable), expected) in model.variables().into_iter().zip(&expected) {
                    if expected.defined() {
                        let off = largest(variable.grad() - expected) / (1.0 + largest(expected.copy()));
                        assert!(off <= allowed, "{way}, {name}: {off:e} in {}", case.name);
                    }
                }
            };
            hold("keeping", 1e-9, &|| {
                let kept = with_seed(4, || flow.forward_keeping(&x, context.as_ref()));
                let log_prob = kept.log_prob.copy();
                kept.backward(&mut ToParameters);
                log_prob
            });
            if !training || case.config.can_rebuild() {
                // Off by what inverses, those of mixings drawn at random among them, leave of the activations.
                hold("rebuilding", 1e-8, &|| flow.backward_rebuilding(&x, context.as_ref()).log_prob);
            }
        }
    }
}
