//! Several draws of the noise against closed forms: the spread between them, the importance-weighted bound, classes.

use std::f64::consts::{LN_2, TAU};

use flow_core::rng::derive_seed;
use flow_core::{Chain, Flow, StandardNormal};
use flow_data::{Part, Split, Values};
use flow_train::batches::DeviceRows;
use flow_train::evaluate::{Evaluation, Mean, evaluate};
use ndarray::{Array1, Array2};
use tch::Device;

fn normal(dim: i64) -> Flow {
    Flow::new(Chain::default(), StandardNormal::new(&[dim]), Device::Cpu)
}

fn levels(data: Array2<u8>, levels: u32, labels: Option<Vec<u8>>) -> Split {
    let dim = data.ncols();
    Split::new(Values::Levels { data, levels }, vec![dim], labels.map(Array1::from)).unwrap()
}

/// Rows of 17 levels.
fn seventeen(rows: usize, dim: usize) -> Array2<u8> {
    Array2::from_shape_fn((rows, dim), |(i, j)| ((3 * i + 5 * j) % 17) as u8)
}

/// log p(x) of a standard normal for each row and draw, `[draws][rows]`, the noise drawn as an evaluation draws it and the
/// density written out.
fn by_hand(split: &Split, draws: u64, seed: u64) -> Vec<Vec<f64>> {
    let rows = DeviceRows::new(split, Device::Cpu);
    let one = |draw| -> Vec<f64> {
        let x = rows.dequantized(0, rows.len(), derive_seed(seed, "evaluation", draw)).x;
        let x = Vec::<Vec<f64>>::try_from(x.to_kind(tch::Kind::Double)).unwrap();
        x.iter().map(|row| row.iter().map(|x| -0.5 * (x * x + TAU.ln())).sum()).collect()
    };
    (0..draws).map(one).collect()
}

#[test]
fn the_bound_by_hand() {
    let split = levels(seventeen(60, 3), 17, None);
    let reached = Evaluation { draws: 3, seed: 5, protocol: None }.of(&normal(3), 0, &split, Part::Test, None).unwrap();
    let draws = by_hand(&split, 3, 5);
    let rows = |f: &dyn Fn([f64; 3]) -> f64| -> Vec<f64> {
        (0..60).map(|i| f([draws[0][i], draws[1][i], draws[2][i]])).collect()
    };
    let means = Mean::of(&rows(&|v| v.iter().sum::<f64>() / 3.0));
    let bounds = Mean::of(&rows(&|v| (v.iter().map(|x| x.exp()).sum::<f64>() / 3.0).ln()));
    let weighted = reached.importance_weighted.unwrap();
    for (got, expected) in [(reached.nats, means), (weighted.nats, bounds)] {
        assert!((got.mean - expected.mean).abs() < 1e-6 && (got.se - expected.se).abs() < 1e-6, "{got:?} {expected:?}");
    }
    let bits = weighted.bits_per_dim;
    assert!((bits.mean - (17f64.log2() - bounds.mean / (3.0 * LN_2))).abs() < 1e-6);
    assert!((bits.se - bounds.se / (3.0 * LN_2)).abs() < 1e-7);
}

/// Coarse levels, so that the density varies inside a cell: two of them on [0, 1).
#[test]
fn the_bound_rises_to_the_probability_of_the_levels() {
    let data = Array2::from_shape_fn((400, 8), |(i, j)| ((i >> j) & 1) as u8);
    let split = levels(data.clone(), 2, None);
    let of = |draws| Evaluation { draws, ..Evaluation::default() }.of(&normal(8), 0, &split, Part::Test, None).unwrap();
    // The normal's distribution function at 0, 1/2 and 1.
    let cumulative: [f64; 3] = [0.5, 0.691_462_461_274_013, 0.841_344_746_068_543];
    let log_cell = |k: u8| (2.0 * (cumulative[usize::from(k) + 1] - cumulative[usize::from(k)])).ln();
    let exact: Vec<f64> = data.rows().into_iter().map(|row| row.iter().map(|&k| log_cell(k)).sum()).collect();
    let exact = Mean::of(&exact).mean;
    // Without weights: E log p(x), by the second moment of a uniform.
    let square = |k: u8| (f64::from(k).powi(2) + f64::from(k) + 1.0 / 3.0) / 4.0;
    let log_density =
        |row: ndarray::ArrayView1<'_, u8>| row.iter().map(|&k| -0.5 * (square(k) + TAU.ln())).sum::<f64>();
    let plain = data.rows().into_iter().map(log_density).sum::<f64>() / 400.0;

    let (few, many) = (of(4), of(400));
    assert!((many.nats.mean - plain).abs() < 5.0 * many.between_draws.unwrap().se, "{many:?} {plain}");
    let bound = |draws: &flow_train::evaluate::Likelihood| draws.importance_weighted.unwrap().nats.mean;
    assert!((bound(&many) - exact).abs() < 2e-3, "{} {exact}", bound(&many));
    assert!(plain < bound(&few) - 0.01 && bound(&few) < bound(&many) - 0.005, "{plain} {} {exact}", bound(&few));
}

#[test]
fn the_spread_between_draws_is_that_of_the_noise() {
    let data = seventeen(300, 5);
    // Var (k + u)² = Var u² + 2 Cov(2ku, u²) + Var 2ku = 4/45 + k/3 + k²/3.
    let variance = |&k: &u8| (f64::from(k).powi(2) + f64::from(k)) / 3.0 + 4.0 / 45.0;
    let total: f64 = data.iter().map(variance).sum::<f64>() / (4.0 * 17f64.powi(4));
    let sd = total.sqrt() / 300.0;
    let split = levels(data, 17, None);
    let of = |draws, seed| evaluate(&normal(5), 0, &split, Part::Test, None, draws, seed).unwrap();
    let reached = of(40, 0);
    let spread = reached.between_draws.unwrap();
    assert!((spread.sd / sd - 1.0).abs() < 0.03, "{spread:?} {sd}");
    assert!((spread.se - spread.sd / 40f64.sqrt()).abs() < 1e-12);
    // What it says: so far are evaluations by other noise from one another.
    let means: Vec<f64> = (0..60).map(|seed| of(1, seed).nats.mean).collect();
    let direct = Mean::of(&means).se * 60f64.sqrt();
    assert!((direct / sd - 1.0).abs() < 0.35, "{direct} {sd}");
}

#[test]
fn one_draw_has_no_spread_and_no_bound_of_its_own() {
    let one = evaluate(&normal(2), 0, &levels(seventeen(20, 2), 17, None), Part::Test, None, 1, 0).unwrap();
    assert_eq!((one.between_draws, one.importance_weighted), (None, None));
    let reals = Split::new(Values::Reals(Array2::zeros((9, 2))), vec![2], None).unwrap();
    let real = evaluate(&normal(2), 0, &reals, Part::Test, None, 7, 0).unwrap();
    assert_eq!((real.draws, real.between_draws, real.importance_weighted, real.protocol), (1, None, None, None));
    assert!(real.by_class.is_empty());
}

#[test]
fn classes_are_told_apart_by_their_labels() {
    // Class 3 is dark, class 7 bright, and of class 9 there is one row.
    let labels: Vec<u8> = (0..41).map(|i| [3, 7, 7, 9][if i == 40 { 3 } else { i % 3 }]).collect();
    let data = Array2::from_shape_fn((41, 2), |(i, j)| if labels[i] == 3 { 0 } else { 12 + j as u8 });
    let split = levels(data, 17, Some(labels.clone()));
    let reached = evaluate(&normal(2), 0, &split, Part::Test, None, 2, 1).unwrap();
    let draws = by_hand(&split, 2, 1);
    assert_eq!(reached.by_class.iter().map(|c| (c.class, c.count)).collect::<Vec<_>>(), [(3, 14), (7, 26), (9, 1)]);
    for class in &reached.by_class {
        let own = (0..41).filter(|&i| labels[i] == class.class);
        let expected = Mean::of(&own.map(|i| (draws[0][i] + draws[1][i]) / 2.0).collect::<Vec<_>>());
        assert!((class.nats.mean - expected.mean).abs() < 1e-6 && (class.nats.se - expected.se).abs() < 1e-6);
        let bits = 17f64.log2() - expected.mean / (2.0 * LN_2);
        assert!((class.bits_per_dim.unwrap().mean - bits).abs() < 1e-6);
    }
    let weighed: f64 = reached.by_class.iter().map(|c| c.nats.mean * c.count as f64).sum();
    assert!((weighed / 41.0 - reached.nats.mean).abs() < 1e-9);
}
