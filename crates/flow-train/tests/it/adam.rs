//! Adam over the flat buffer takes the steps that torch's own AdamW takes.

use flow_core::rng::with_seed;
use flow_data::Spec;
use flow_models::Model;
use flow_train::adam::{Adam, Group, gradient_norm};
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
        let norm = gradient_norm(&gradients);
        let shorten = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        if clip > 0.0 {
            theirs.backward_step_clip_norm(&loss, clip);
        } else {
            theirs.backward_step(&loss);
        }
        ours.step(&flat, &gradients, rate, t, shorten);
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

#[test]
fn the_norm_counts_every_gradient_and_no_undefined_one() {
    let of = |numbers: &[f32]| Tensor::from_slice(numbers);
    let norm = gradient_norm(&[of(&[3.0, 0.0]), Tensor::new(), of(&[4.0]).reshape([1, 1]), of(&[12.0])]);
    assert!((norm - 13.0).abs() < 1e-6, "{norm}");
    assert_eq!(gradient_norm(&[Tensor::new()]), 0.0);
    assert!(gradient_norm(&[of(&[f32::NAN])]).is_nan());
}

#[test]
fn a_variable_without_a_gradient_is_left_alone() {
    let flat = FlatParameters::new(&model());
    let groups = (0..flat.places().len()).map(group).collect();
    let mut adam = Adam::new(&flat, groups, (0.9, 0.999), 1e-8);
    let before: Vec<Tensor> = flat.variables().iter().map(|v| v.detach().copy()).collect();
    let mut gradients: Vec<Tensor> = flat.variables().iter().map(Tensor::ones_like).collect();
    gradients[1] = Tensor::new();
    adam.step(&flat, &gradients, 0.1, 1, 1.0);
    for (i, (variable, before)) in flat.variables().iter().zip(&before).enumerate() {
        assert_eq!(variable == before, i == 1, "{}", flat.places()[i].name);
    }
}

#[test]
fn gradients_may_be_views_of_any_layout() {
    let step = |gradient: fn(&Tensor) -> Tensor| {
        let flat = FlatParameters::new(&model());
        let groups = (0..flat.places().len()).map(group).collect();
        let mut adam = Adam::new(&flat, groups, (0.9, 0.999), 1e-8);
        let gradients: Vec<Tensor> = flat.variables().iter().map(gradient).collect();
        adam.step(&flat, &gradients, 0.1, 1, 1.0);
        flat.buffer().copy()
    };
    let one = |v: &Tensor| Tensor::ones([1], CPU).expand(v.size(), false);
    assert_eq!(step(one), step(|v| Tensor::ones(v.size(), CPU)));
}
