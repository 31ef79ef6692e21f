//! Likelihoods by the protocol: every row counted, standard errors given, the unit named.

use flow_core::Flow;
use flow_core::rng::derive_seed;
use flow_data::{Part, Split, Toy};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::batches::{Batch, DeviceRows};
use crate::{Error, Result};

/// A mean over independent rows, with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Standard deviation of a row divided by the root of their number; 0 for a single row, of which none is known.
    pub se: f64,
}

impl Mean {
    /// Of `values`, at least one.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        Mean { mean, se: (variance / n).sqrt() }
    }

    fn scaled(self, factor: f64, offset: f64) -> Self {
        Mean { mean: self.mean * factor + offset, se: self.se * factor.abs() }
    }
}

/// The likelihood of one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// Which split.
    pub split: String,
    /// Number of rows.
    pub count: usize,
    /// Dequantization draws a row; 1 where nothing is dequantized.
    pub draws: usize,
    /// What log p(x) is the density of: `unit cube` or `as read`.
    pub unit: String,
    /// Whether it is the likelihood given the class of each row, log p(x | class).
    #[serde(default)]
    pub given_class: bool,
    /// Mean log p(x), in nats.
    pub nats: Mean,
    /// log2 L - nats / (D ln 2), for images of L levels.
    pub bits_per_dim: Option<Mean>,
    /// Distance to the best possible, where that is known.
    pub floor: Option<Floor>,
}

/// How far a model is from the true density.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// Entropy of the true density in nats: the least mean negative log-likelihood there is.
    pub nats: f64,
    /// Mean of log p_true - log p over the same rows, an estimate of the Kullback-Leibler divergence.
    pub gap: f64,
    /// Its standard error.
    pub gap_se: f64,
}

/// Rows evaluated at a time. Noise is seeded by such a part, so the number belongs to the protocol.
pub(crate) const ROWS: usize = 500;

/// The rows that are evaluated together from `start` on, with the noise of `seed`.
pub(crate) fn evaluation_batch(rows: &DeviceRows, start: usize, seed: u64) -> Batch {
    rows.dequantized(start, ROWS.min(rows.len() - start), seed)
}

/// A vector of any kind as f64.
fn numbers(values: &Tensor) -> Vec<f64> {
    // First to the processor: Metal has no f64.
    Vec::try_from(values.to_device(tch::Device::Cpu).to_kind(tch::Kind::Double)).expect("a vector")
}

/// log p(x) of every row in order, in nats, averaged over `draws` of the dequantization noise; log p(x | class) where the
/// rows have a class as context.
pub fn log_probs(flow: &Flow, rows: &DeviceRows, draws: usize, seed: u64) -> Vec<f64> {
    let draws = if rows.levels().is_some() { draws.max(1) } else { 1 };
    let mut sums = vec![0.0; rows.len()];
    tch::no_grad(|| {
        for draw in 0..draws {
            let seed = derive_seed(seed, "evaluation", draw as u64);
            for start in (0..rows.len()).step_by(ROWS) {
                let Batch { x, context } = evaluation_batch(rows, start, seed);
                let log_prob = numbers(&flow.log_prob(&x, context.as_ref()));
                for (sum, value) in sums[start..].iter_mut().zip(log_prob) {
                    *sum += value / draws as f64;
                }
            }
        }
    });
    sums
}

/// Evaluates `flow` on a split: `draws` dequantization draws a row, noise by `seed`. `toy` is what the data were drawn
/// from, where that is known. A flow of `classes` classes is told the class of each row.
///
/// # Errors
///
/// [`Error::LikelihoodNotFinite`] where a row's likelihood is not finite: none is dropped from the mean.
/// [`Error::Config`] where there is no row, or not the labels that the flow wants.
pub fn evaluate(
    flow: &Flow,
    classes: usize,
    split: &Split,
    part: Part,
    toy: Option<Toy>,
    draws: usize,
    seed: u64,
) -> Result<Likelihood> {
    let rows = DeviceRows::with_classes(split, classes, flow.device())?;
    if rows.is_empty() {
        return Err(Error::Config(format!("the {part} split has no rows")));
    }
    let values = log_probs(flow, &rows, draws, seed);
    require_finite(&values, part)?;
    let nats = Mean::of(&values);
    let dim = flow.base().event().iter().product::<i64>() as f64;
    let bits = |levels: u32| nats.scaled(-1.0 / (dim * std::f64::consts::LN_2), f64::from(levels).log2());
    Ok(Likelihood {
        split: part.to_string(),
        count: values.len(),
        draws: if rows.levels().is_some() { draws.max(1) } else { 1 },
        unit: if rows.levels().is_some() { "unit cube" } else { "as read" }.to_owned(),
        nats,
        bits_per_dim: rows.levels().map(bits),
        given_class: classes > 0,
        floor: toy.and_then(|toy| floor(toy, split.to_reals().view(), &values)),
    })
}

fn floor(toy: Toy, rows: ArrayView2<'_, f32>, values: &[f64]) -> Option<Floor> {
    let truth = toy.log_prob(rows)?;
    let gaps: Vec<f64> = truth.iter().zip(values).map(|(truth, value)| truth - value).collect();
    let gap = Mean::of(&gaps);
    Some(Floor { nats: toy.entropy()?, gap: gap.mean, gap_se: gap.se })
}

fn require_finite(values: &[f64], part: Part) -> Result<()> {
    let wrong = |x: &&f64| !x.is_finite();
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(first) => Err(Error::LikelihoodNotFinite {
            count: values.iter().filter(wrong).count(),
            rows: values.len(),
            part: part.to_string(),
            first,
        }),
    }
}
