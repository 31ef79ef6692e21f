//! One model in two spaces: the unit cube, and the logits in which MAF and its kin report.

use std::f64::consts::{LN_2, TAU};

use flow_core::rng::derive_seed;
use flow_core::{Base, Chain, Flow, Logistic, Logit, StandardNormal};
use flow_data::{Part, Split, Values};
use flow_train::batches::DeviceRows;
use flow_train::evaluate::{Evaluation, Likelihood, Mean, Protocol};
use ndarray::Array2;
use tch::{Device, Kind};

const ALPHA: f64 = 1e-6;
const DRAWS: u64 = 4;

/// The logit with a margin and `base` behind it.
fn logit_flow(alpha: f64, base: impl Base + 'static) -> Flow {
    let mut chain = Chain::default();
    chain.push("logit", Logit::new(alpha).unwrap()).unwrap();
    Flow::new(chain, base, Device::Cpu)
}

/// Images of 256 levels, more than half of it background, the brightest level included.
fn images() -> Split {
    Split::new(Values::Levels { data: levels(), levels: 256 }, vec![6], None).unwrap()
}

fn levels() -> Array2<u8> {
    Array2::from_shape_fn((90, 6), |(i, j)| match (i + j) % 5 {
        0..=2 => 0,
        3 => 255,
        _ => (37 * i + 11 * j) as u8,
    })
}

fn evaluate(flow: &Flow, split: &Split, draws: u64, protocol: Protocol) -> Likelihood {
    let evaluation = Evaluation { draws: draws as usize, seed: 3, protocol: Some(protocol) };
    evaluation.of(flow, 0, split, Part::Test, None).unwrap()
}

/// The mean over rows and draws of `f(x)`, summed over coordinates; the noise is that of the evaluation.
fn by_hand(split: &Split, f: impl Fn(f64) -> f64) -> Mean {
    let rows = DeviceRows::new(split, Device::Cpu);
    let mut sums = vec![0.0; rows.len()];
    for draw in 0..DRAWS {
        let x = rows.dequantized(0, rows.len(), derive_seed(3, "evaluation", draw)).x.to_kind(Kind::Double);
        for (sum, row) in sums.iter_mut().zip(Vec::<Vec<f64>>::try_from(x).unwrap()) {
            *sum += row.into_iter().map(&f).sum::<f64>() / DRAWS as f64;
        }
    }
    Mean::of(&sums)
}

fn y(alpha: f64, x: f64) -> f64 {
    alpha + (1.0 - 2.0 * alpha) * x
}

fn logit(y: f64) -> f64 {
    (y / (1.0 - y)).ln()
}

fn close(got: Mean, expected: Mean, within: f64) {
    let off = (got.mean - expected.mean).abs().max((got.se - expected.se).abs());
    assert!(off < within, "{got:?} {expected:?}");
}

/// The flow's latent *is* the space of the protocol, so the likelihood there is the base's alone.
#[test]
fn a_normal_in_logit_space_is_a_normal_in_logit_space() {
    let split = images();
    let flow = logit_flow(ALPHA, StandardNormal::new(&[6]));
    let reached = evaluate(&flow, &split, DRAWS, Protocol::Logit { alpha: ALPHA });
    let log_normal = |x: f64| -0.5 * (logit(y(ALPHA, x)).powi(2) + TAU.ln());
    // The flow computes the logit in f32.
    close(reached.nats, by_hand(&split, log_normal), 2e-3);
    assert_eq!(
        (reached.unit.as_str(), reached.protocol),
        ("logit space, alpha 1e-6", Some("logit-1e-6".parse().unwrap()))
    );
}

/// The space of the protocol has nothing to do with what the model is made of: here no preprocessing, there another margin.
#[test]
fn the_models_own_preprocessing_does_not_matter() {
    let split = images();
    let log_slope = |alpha: f64, x: f64| ((1.0 - 2.0 * alpha) / (y(alpha, x) * (1.0 - y(alpha, x)))).ln();
    let none = Flow::new(Chain::default(), StandardNormal::new(&[6]), Device::Cpu);
    let log_normal = |z: f64| -0.5 * (z * z + TAU.ln());
    let reached = evaluate(&none, &split, DRAWS, Protocol::Logit { alpha: ALPHA });
    close(reached.nats, by_hand(&split, |x| log_normal(x) - log_slope(ALPHA, x)), 1e-5);

    let other = logit_flow(0.05, StandardNormal::new(&[6]));
    let reached = evaluate(&other, &split, DRAWS, Protocol::Logit { alpha: ALPHA });
    let log_prob = |x: f64| log_normal(logit(y(0.05, x))) + log_slope(0.05, x);
    close(reached.nats, by_hand(&split, |x| log_prob(x) - log_slope(ALPHA, x)), 1e-4);
}

/// A standard logistic behind the logit is uniform on the cube but for its edges: p(x) = (1 - 2α)^D, for the logistic's
/// density at logit(y) is y (1 - y). In logit space it is Σ ln y (1 - y), whose mean over a cell is an integral of ln.
#[test]
fn a_logistic_behind_the_logit_is_uniform() {
    let (split, alpha) = (images(), 0.01);
    let flow = logit_flow(alpha, Logistic::new(&[6]));
    let cube = evaluate(&flow, &split, 1, Protocol::UnitCube);
    assert!((cube.nats.mean - 6.0 * (1.0 - 2.0 * alpha).ln()).abs() < 1e-4 && cube.nats.se < 1e-5, "{cube:?}");
    assert!((cube.bits_per_dim.unwrap().mean - (8.0 - (1.0 - 2.0 * alpha).log2())).abs() < 1e-4);

    // ∫ ln y dy = y ln y - y.
    let mean_ln = |a: f64, b: f64| (b * b.ln() - a * a.ln()) / (b - a) - 1.0;
    let cell = |k: u8| {
        let (a, b) = (y(alpha, f64::from(k) / 256.0), y(alpha, (f64::from(k) + 1.0) / 256.0));
        mean_ln(a, b) + mean_ln(1.0 - b, 1.0 - a)
    };
    let exact = levels().iter().map(|&k| cell(k)).sum::<f64>() / 90.0;
    let reached = evaluate(&flow, &split, 200, Protocol::Logit { alpha });
    let noise = reached.between_draws.unwrap();
    assert!((reached.nats.mean - exact).abs() < 5.0 * noise.se && noise.se < 0.01, "{reached:?} {exact}");
}

/// What the MAF paper's appendix computes from its nats, bits per pixel, is what is computed on the cube.
#[test]
fn bits_do_not_depend_on_the_protocol() {
    let split = images();
    let flow = logit_flow(0.05, StandardNormal::new(&[6]));
    let (cube, maf) = (
        evaluate(&flow, &split, DRAWS, Protocol::UnitCube),
        evaluate(&flow, &split, DRAWS, Protocol::Logit { alpha: ALPHA }),
    );
    assert_eq!((cube.bits_per_dim, cube.importance_weighted), (maf.bits_per_dim, maf.importance_weighted));
    assert!((cube.nats.mean - maf.nats.mean).abs() > 10.0);
    let rest = by_hand(&split, |x| (y(ALPHA, x) * (1.0 - y(ALPHA, x))).log2()).mean / 6.0;
    let paper = -maf.nats.mean / (6.0 * LN_2) - (1.0 - 2.0 * ALPHA).log2() + 8.0 + rest;
    assert!((paper - cube.bits_per_dim.unwrap().mean).abs() < 1e-6, "{paper} {cube:?}");
}

#[test]
fn real_numbers_and_impossible_margins_have_no_protocol() {
    let reals = Split::new(Values::Reals(Array2::zeros((9, 2))), vec![2], None).unwrap();
    let of = |split: &Split, protocol| {
        let flow = Flow::new(Chain::default(), StandardNormal::new(&[split.to_reals().ncols() as i64]), Device::Cpu);
        let evaluation = Evaluation { protocol: Some(protocol), ..Evaluation::default() };
        evaluation.of(&flow, 0, split, Part::Test, None).unwrap_err().to_string()
    };
    assert!(of(&reals, Protocol::UnitCube).contains("as read"));
    assert!(of(&images(), Protocol::Logit { alpha: 0.7 }).contains("logit-0.7"));
}
