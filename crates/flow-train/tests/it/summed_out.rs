//! A likelihood with the class summed out, against a mixture written out.

use std::f64::consts::TAU;

use flow_core::rng::derive_seed;
use flow_core::{Bijection, Flow, StandardNormal};
use flow_data::{LoadOptions, Part, Spec, Split, Values};
use flow_train::batches::DeviceRows;
use flow_train::evaluate::{Evaluation, Mean};
use ndarray::{Array1, Array2};
use tch::{Device, Kind, Tensor};

/// `z = x - center_c`: a normal around the center of its class.
#[derive(Debug)]
struct Centers(Tensor);

impl Bijection for Centers {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        (x - context.expect("a class").matmul(&self.0), Tensor::zeros([x.size()[0]], (Kind::Float, Device::Cpu)))
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        (z + context.expect("a class").matmul(&self.0), Tensor::zeros([z.size()[0]], (Kind::Float, Device::Cpu)))
    }
}

/// Two classes of one coordinate, at 0 and at `apart`.
fn flow(apart: f32) -> Flow {
    let centers = Tensor::from_slice(&[0.0, apart]).reshape([2, 1]);
    Flow::new(Centers(centers), StandardNormal::new(&[1]), Device::Cpu)
}

#[test]
fn a_mixture_by_hand_over_several_draws() {
    let labels = Array1::from_iter((0..40).map(|i| (i % 2) as u8));
    let data = Array2::from_shape_fn((40, 1), |(i, _)| (2 * (i % 2) + usize::from(i % 8 == 0)) as u8);
    let split = Split::new(Values::Levels { data, levels: 4 }, vec![1], Some(labels)).unwrap();
    let evaluation = Evaluation { draws: 3, seed: 2, protocol: None };
    let reached = evaluation.summed_out(&flow(0.8), 2, &split, Part::Test, None).unwrap();

    let rows = DeviceRows::new(&split, Device::Cpu);
    let draws: Vec<Vec<f64>> = (0..3)
        .map(|draw| {
            let x = rows.dequantized(0, 40, derive_seed(2, "evaluation", draw)).x;
            Vec::try_from(x.to_kind(Kind::Double).flatten(0, -1)).unwrap()
        })
        .collect();
    let density = |x: f64, center: f64| (-0.5 * (x - center).powi(2)).exp() / TAU.sqrt();
    let mixture = |x: f64| 0.5 * (density(x, 0.0) + density(x, 0.8));
    let over = |f: &dyn Fn([f64; 3]) -> f64| -> Vec<f64> {
        (0..40).map(|i| f([draws[0][i], draws[1][i], draws[2][i]])).collect()
    };
    let plain = Mean::of(&over(&|x| x.iter().map(|&x| mixture(x).ln()).sum::<f64>() / 3.0));
    let weighted = Mean::of(&over(&|x| (x.iter().map(|&x| mixture(x)).sum::<f64>() / 3.0).ln()));
    let likelihood = &reached.likelihood;
    for (got, expected) in [(likelihood.nats, plain), (likelihood.importance_weighted.unwrap().nats, weighted)] {
        assert!((got.mean - expected.mean).abs() < 1e-6 && (got.se - expected.se).abs() < 1e-6, "{got:?} {expected:?}");
    }
    assert!(!likelihood.given_class && likelihood.draws == 3);
    assert_eq!(likelihood.by_class.iter().map(|class| class.count).collect::<Vec<_>>(), [20, 20]);
    let guess = over(&|x| f64::from(x.iter().map(|&x| density(x, 0.8) - density(x, 0.0)).sum::<f64>() > 0.0));
    let mut confusion = vec![vec![0, 0], vec![0, 0]];
    for (i, guess) in guess.into_iter().enumerate() {
        confusion[i % 2][guess as usize] += 1;
    }
    assert_eq!(reached.confusion, confusion);
    let right = (confusion[0][0] + confusion[1][1]) as f64 / 40.0;
    assert!((reached.accuracy.mean - right).abs() < 1e-12);
    assert!((reached.accuracy.se - (right * (1.0 - right) / 40.0).sqrt()).abs() < 1e-12);
}

/// The true density of a toy is that of a point, not that of a point given its arc.
#[test]
fn a_floor_is_for_what_is_not_told_the_class() {
    let data = flow_data::load(&Spec::TwoMoons, &LoadOptions::default()).unwrap();
    let centers = Tensor::from_slice(&[-0.5f32, 0.5, 0.5, -0.5]).reshape([2, 2]);
    let flow = Flow::new(Centers(centers), StandardNormal::new(&[2]), Device::Cpu);
    let told = Evaluation::default().of(&flow, 2, &data.test, Part::Test, data.toy()).unwrap();
    assert!(told.given_class && told.floor.is_none());
    let summed = Evaluation::default().summed_out(&flow, 2, &data.test, Part::Test, data.toy()).unwrap();
    let floor = summed.likelihood.floor.unwrap();
    let truth = data.toy().unwrap().log_prob(data.test.to_reals().view()).mean().unwrap();
    assert!((floor.gap - (truth - summed.likelihood.nats.mean)).abs() < 1e-6, "{floor:?}");
    assert!(floor.gap > 0.1);
}

#[test]
fn without_classes_there_is_nothing_to_sum_out() {
    let split = Split::new(Values::Reals(Array2::zeros((3, 1))), vec![1], None).unwrap();
    let of = |classes| Evaluation::default().summed_out(&flow(1.0), classes, &split, Part::Test, None).unwrap_err();
    assert!(of(0).to_string().contains("not conditioned on classes"));
    assert!(of(2).to_string().contains("no labels"));
}
