//! Likelihoods against closed forms: nats, standard errors, bits per dimension, and the distance to a known floor.

use std::f64::consts::{LN_2, TAU};

use flow_core::{Bijection, Chain, Flow, StandardNormal};
use flow_data::{LoadOptions, Part, Split, Toy, Values};
use flow_train::Error;
use flow_train::batches::DeviceRows;
use flow_train::evaluate::{Mean, evaluate, log_probs};
use ndarray::{Array2, array};
use tch::{Device, Kind, Tensor};

/// The standard normal itself, by a chain of no steps.
fn normal(dim: i64) -> Flow {
    Flow::new(Chain::default(), StandardNormal::new(&[dim]), Device::Cpu)
}

fn reals(values: Array2<f32>) -> Split {
    let dim = values.ncols();
    Split::new(Values::Reals(values), vec![dim], None).unwrap()
}

fn log_normal(x: &[f32]) -> f64 {
    x.iter().map(|&x| -0.5 * (f64::from(x).powi(2) + TAU.ln())).sum()
}

#[test]
fn nats_and_their_standard_error() {
    // More rows than are evaluated at a time.
    let values = Array2::from_shape_fn((1_203, 2), |(i, j)| ((i * 7 + j * 3) % 11) as f32 / 4.0 - 1.0);
    let expected: Vec<f64> = values.rows().into_iter().map(|row| log_normal(row.as_slice().unwrap())).collect();
    let split = reals(values);
    for (got, expected) in log_probs(&normal(2), &DeviceRows::new(&split, Device::Cpu), 1, 0).iter().zip(&expected) {
        assert!((got - expected).abs() < 1e-6, "{got} {expected}");
    }

    let reached = evaluate(&normal(2), 0, &split, Part::Validation, None, 5, 0).unwrap();
    let n = expected.len() as f64;
    let mean = expected.iter().sum::<f64>() / n;
    let variance = expected.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    assert!((reached.nats.mean - mean).abs() < 1e-6);
    assert!((reached.nats.se - (variance / n).sqrt()).abs() < 1e-6);
    assert_eq!((reached.split.as_str(), reached.count, reached.unit.as_str()), ("validation", 1_203, "as read"));
    // Nothing is dequantized, so more draws would all be the same.
    assert_eq!((reached.draws, reached.bits_per_dim, reached.floor), (1, None, None));
}

#[test]
fn means_of_few() {
    let four = Mean::of(&[1.0, 2.0, 3.0, 6.0]);
    assert!((four.mean - 3.0).abs() < 1e-15 && (four.se - (14.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-15);
    assert_eq!(Mean::of(&[5.0]), Mean { mean: 5.0, se: 0.0 });
}

#[test]
fn bits_per_dim_of_dark_images() {
    // All at level 0 of 256: x in [0, 1/256), where the normal's log-density is all but constant.
    let split = Split::new(Values::Levels { data: Array2::zeros((300, 4)), levels: 256 }, vec![1, 2, 2], None).unwrap();
    let reached = evaluate(&normal(4), 0, &split, Part::Test, None, 3, 7).unwrap();
    let bits = reached.bits_per_dim.unwrap();
    assert!((bits.mean - (8.0 + 0.5 * TAU.ln() / LN_2)).abs() < 1e-5, "{bits:?}");
    assert!((bits.se - reached.nats.se / (4.0 * LN_2)).abs() < 1e-15 && bits.se > 0.0);
    assert_eq!((reached.unit.as_str(), reached.draws, reached.count), ("unit cube", 3, 300));
}

#[test]
fn draws_of_noise_are_averaged_and_belong_to_a_seed() {
    let data = Array2::from_shape_fn((40, 4), |(i, j)| ((i + 5 * j) % 17) as u8);
    let split = Split::new(Values::Levels { data, levels: 17 }, vec![1, 2, 2], None).unwrap();
    let rows = DeviceRows::new(&split, Device::Cpu);
    let of = |draws, seed| log_probs(&normal(4), &rows, draws, seed);
    assert_eq!(of(4, 1), of(4, 1));
    assert_ne!(of(1, 1), of(1, 2));
    assert_eq!(of(0, 1), of(1, 1));
    // The exact mean over the noise, by the moments of a uniform: E (k + u)² = k² + k + 1/3.
    let values = split.values();
    let Values::Levels { data, .. } = &*values else { unreachable!() };
    let exact = |row: usize| -> f64 {
        let squares = data.row(row).mapv(|k| f64::from(k).powi(2) + f64::from(k) + 1.0 / 3.0).sum() / 289.0;
        -0.5 * squares - 2.0 * TAU.ln()
    };
    let off = |draws| {
        let values = of(draws, 3);
        (values.iter().enumerate().map(|(row, value)| (value - exact(row)).powi(2)).sum::<f64>() / 40.0).sqrt()
    };
    let (one, many) = (off(1), off(100));
    assert!(many < 0.2 * one && many > 0.0, "{one} {many}");
}

#[test]
fn no_row_is_dropped() {
    let split = reals(array![[0.0, 0.0], [f32::NAN, 0.0], [1.0, 1.0], [f32::INFINITY, 0.0]]);
    let error = evaluate(&normal(2), 0, &split, Part::Test, None, 1, 0).unwrap_err();
    let Error::LikelihoodNotFinite { count: 2, rows: 4, first, .. } = &error else { panic!("{error}") };
    assert_eq!(first, &[1, 3]);
    assert!(error.to_string().ends_with("2 of 4 test rows, counted from 0: 1, 3"), "{error}");
    assert!(evaluate(&normal(2), 0, &reals(Array2::zeros((0, 2))), Part::Test, None, 1, 0).is_err());
}

#[test]
fn of_many_wrong_rows_ten_are_named() {
    let values = Array2::from_shape_fn((700, 1), |(i, _)| if (488..513).contains(&i) { f32::INFINITY } else { 0.0 });
    let error = evaluate(&normal(1), 0, &reals(values), Part::Validation, None, 1, 0).unwrap_err().to_string();
    let named =
        "25 of 700 validation rows, counted from 0: 488, 489, 490, 491, 492, 493, 494, 495, 496, 497 and 15 more";
    assert!(error.ends_with(named), "{error}");
}

/// The map that makes the crescent a standard normal: `z2 = x2`, `z1 = √33 x1 + 4 - 4 x2²`.
#[derive(Debug)]
struct Straighten;

impl Bijection for Straighten {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (x1, x2) = (x.select(1, 0), x.select(1, 1));
        let z1 = &x1 * 33f64.sqrt() + 4.0 - x2.square() * 4.0;
        let log_det = Tensor::full([x.size()[0]], 33f64.sqrt().ln(), (Kind::Float, Device::Cpu));
        (Tensor::stack(&[z1, x2], 1), log_det)
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (z1, z2) = (z.select(1, 0), z.select(1, 1));
        let x1 = (&z1 - 4.0 + z2.square() * 4.0) / 33f64.sqrt();
        let log_det = Tensor::full([z.size()[0]], -33f64.sqrt().ln(), (Kind::Float, Device::Cpu));
        (Tensor::stack(&[x1, z2], 1), log_det)
    }
}

#[test]
fn the_true_model_is_at_the_floor() {
    let data = flow_data::load(&"moons".parse().unwrap(), &LoadOptions::default()).unwrap();
    let truth = Flow::new(Straighten, StandardNormal::new(&[2]), Device::Cpu);
    let reached = evaluate(&truth, 0, &data.test, Part::Test, data.toy(), 1, 0).unwrap();
    let floor = reached.floor.unwrap();
    assert!(floor.gap.abs() < 1e-5 && floor.gap_se < 1e-5, "{floor:?}");
    assert!((floor.nats - Toy::Moons.entropy()).abs() < 1e-12);
    assert!((reached.nats.mean + floor.nats).abs() < 4.0 * reached.nats.se, "{reached:?}");
}

#[test]
fn the_gap_is_the_divergence() {
    let data = flow_data::load(&"moons".parse().unwrap(), &LoadOptions::default()).unwrap();
    let reached = evaluate(&normal(2), 0, &data.test, Part::Test, data.toy(), 1, 0).unwrap();
    let floor = reached.floor.unwrap();
    let truth = Toy::Moons.log_prob(data.test.to_reals().view());
    assert!((floor.gap - (truth.mean().unwrap() - reached.nats.mean)).abs() < 1e-6);
    // Both coordinates have variance 1, so the cross-entropy to the standard normal is ln 2π + 1.
    let divergence = TAU.ln() + 1.0 - floor.nats;
    assert!((floor.gap - divergence).abs() < 4.0 * floor.gap_se && floor.gap_se < 0.02, "{floor:?} {divergence}");
}
