//! Adam over the flat buffer takes the steps that torch's own AdamW takes.

use flow_core::rng::with_seed;
use flow_data::Spec;
use flow_models::Model;
use flow_train::adam::{Adam, Group};
use flow_train::flat::FlatParameters;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use crate::tiny;

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn model() -> Model {
    let (config, data) = tiny("nice", Spec::Moons, &[]);
    Model::new(&config.model, &data.event_shape, 3, Device::Cpu).unwrap()
}

/// Of every second variable: its own rate and decay.
fn group(index: usize) -> Group {
    if index.is_multiple_of(2) { Group { rate: 1.0, decay: 0.0 } } else { Group { rate: 10.0, decay: 0.3 } }
}

/// Largest difference after ten steps from gradients of the lengths that occur, bound to norm `clip` (0 for none).
fn compare(clip: f64) -> f64 {
    let flat = FlatParameters::new(&model());
    let groups = (0..flat.places().len()).map(group).collect();
    let mut ours = Adam::new(&flat, groups, (0.9, 0.99), 1e-8);

    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let copies: Vec<Tensor> = (flat.variables().iter().enumerate())
        .map(|(i, variable)| root.set_group(i % 2).var_copy(&format!("v{i}"), variable))
        .collect();
    let mut theirs = nn::adamw(0.9, 0.99, 0.0).build(&vs, 0.0).unwrap();
    theirs.set_weight_decay_group(1, group(1).decay);

    for t in 1..=10 {
        let rate = 1e-3 * t as f64;
        let gradients = with_seed(t, || {
            let scale = [1.0, 1e-4, 300.0][t as usize % 3];
            flat.variables().iter().map(|v| Tensor::randn(v.size(), CPU) * scale).collect::<Vec<_>>()
        });
        theirs.set_lr_group(0, rate);
        theirs.set_lr_group(1, rate * group(1).rate);
        let loss: Tensor = copies.iter().zip(&gradients).map(|(p, g)| (p * g).sum(Kind::Float)).sum();
        set_gradients(&flat, &gradients);
        let norm = flat.gradient_norm();
        let shorten = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        if clip > 0.0 {
            theirs.backward_step_clip_norm(&loss, clip);
        } else {
            theirs.backward_step(&loss);
        }
        ours.step(&flat, rate, t, shorten);
    }
    let off = flat.variables().iter().zip(&copies).map(|(a, b)| (a - b).abs().max().double_value(&[]));
    off.fold(0.0, f64::max)
}

#[test]
fn rates_and_decays_by_variable() {
    let off = compare(0.0);
    assert!(off < 1e-6, "{off}");
}

#[test]
fn with_gradients_cut_to_a_norm() {
    let off = compare(2.0);
    assert!(off < 1e-6, "{off}");
}

/// As a backward pass would leave them.
fn set_gradients(flat: &FlatParameters, gradients: &[Tensor]) {
    for (variable, gradient) in flat.variables().iter().zip(gradients) {
        variable.grad().copy_(gradient);
    }
}

#[test]
fn the_norm_is_that_of_all_gradients_together() {
    let flat = FlatParameters::new(&model());
    assert_eq!(flat.gradient_norm(), 0.0);
    let _ = flat.variables()[0].grad().fill_(3.0);
    let _ = flat.variables()[2].grad().fill_(-4.0);
    let [a, b] = [0, 2].map(|i| flat.places()[i].len as f64);
    let norm = flat.gradient_norm();
    assert!((norm / (9.0 * a + 16.0 * b).sqrt() - 1.0).abs() < 1e-6, "{norm}");
    let _ = flat.variables()[1].grad().fill_(f64::NAN);
    assert!(flat.gradient_norm().is_nan());
}

#[test]
fn a_variable_whose_gradient_is_0_is_moved_by_its_decay_alone() {
    let flat = FlatParameters::new(&model());
    let groups = (0..flat.places().len()).map(group).collect();
    let mut adam = Adam::new(&flat, groups, (0.9, 0.999), 1e-8);
    let before: Vec<Tensor> = flat.variables().iter().map(|v| v.detach().copy()).collect();
    for (i, variable) in flat.variables().iter().enumerate() {
        let _ = variable.grad().fill_(if i < 2 { 0.0 } else { 1.0 });
    }
    adam.step(&flat, 0.1, 1, 1.0);
    for (i, (variable, before)) in flat.variables().iter().zip(&before).enumerate() {
        let (rate, decay) = (0.1 * group(i).rate, group(i).decay);
        let change = if i < 2 { 0.0 } else { rate };
        let off = (variable - (before * (1.0 - rate * decay) - change)).abs().max().double_value(&[]);
        assert!(off < 1e-6, "{}: {off}", flat.places()[i].name);
    }
}
