//! What a flow says of rows under several draws of the dequantization noise, kept as sums.

use flow_core::rng::derive_seed;
use tch::Tensor;

use super::{Protocol, ROWS, evaluation_batch};
use crate::Result;
use crate::batches::{Batch, DeviceRows};

/// The log-likelihoods of `n` rows under `K` draws, in memory that does not grow with `K`.
#[derive(Debug)]
pub(super) struct Draws {
    /// K; 1 where nothing is dequantized.
    pub number: usize,
    /// Of log p(x), in the unit that the flow is a density of.
    pub native: Vec<Moments>,
    /// The same in the space of the protocol, where that is another.
    converted: Option<Vec<Moments>>,
    /// ln Σ_k p(x_k) of each row.
    log_sums: Vec<f64>,
}

impl Draws {
    /// Draws `draws` times the noise of each row, by `seed`, and asks `log_prob` for the rows from a start on: `[n]`.
    pub fn of(
        rows: &DeviceRows,
        draws: usize,
        seed: u64,
        protocol: Protocol,
        mut log_prob: impl FnMut(usize, &Batch) -> Tensor,
    ) -> Result<Self> {
        let number = if rows.levels().is_some() { draws.max(1) } else { 1 };
        let none = || vec![Moments::default(); rows.len()];
        let mut native = none();
        let mut converted = (protocol != Protocol::UnitCube).then(none);
        let mut log_sums = vec![f64::NEG_INFINITY; rows.len()];
        for draw in 0..number {
            let seed = derive_seed(seed, "evaluation", draw as u64);
            for start in (0..rows.len()).step_by(ROWS) {
                let batch = evaluation_batch(rows, start, seed);
                let values = numbers(&flow_core::no_grad(|| log_prob(start, &batch)));
                for (i, &value) in values.iter().enumerate() {
                    native[start + i].add(value, draw + 1);
                    log_sums[start + i] = log_add(log_sums[start + i], value);
                }
                let log_det = protocol.log_det(&batch.x)?.map(|log_det| numbers(&log_det));
                for (converted, log_det) in converted.iter_mut().zip(&log_det) {
                    for (i, (value, log_det)) in values.iter().zip(log_det).enumerate() {
                        converted[start + i].add(value - log_det, draw + 1);
                    }
                }
            }
        }
        Ok(Draws { number, native, converted, log_sums })
    }

    /// Of log p in the space of the protocol, row by row.
    pub fn reported(&self) -> &[Moments] {
        self.converted.as_deref().unwrap_or(&self.native)
    }

    /// `ln (1/K) Σ_k p(x_k)` of each row, in the unit that the flow is a density of.
    pub fn importance_weighted(&self) -> Vec<f64> {
        let all = (self.number as f64).ln();
        self.log_sums.iter().map(|sum| sum - all).collect()
    }

    /// Standard deviation of the mean over all rows from one draw to another, of what is reported; `None` for one draw.
    ///
    /// The noise of one row is independent of another's, so the variance of the mean of n rows is `Σ_i s_i² / n²`, with
    /// `s_i²` the variance of row i over its draws. This has n (K - 1) degrees of freedom; that of K means would have
    /// K - 1.
    pub fn sd(&self) -> Option<f64> {
        let rows = self.reported();
        let variances: f64 = rows.iter().map(|row| row.squares / (self.number as f64 - 1.0)).sum();
        (self.number > 1).then(|| variances.sqrt() / rows.len() as f64)
    }
}

/// The mean of the values of a row so far, and the sum of their squared distances from it (Welford 1962).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    pub mean: f64,
    squares: f64,
}

impl Moments {
    /// Adds a value, the `count`-th one.
    fn add(&mut self, value: f64, count: usize) {
        let before = value - self.mean;
        self.mean += before / count as f64;
        self.squares += before * (value - self.mean);
    }
}

/// ln(e^a + e^b), also where one or both are 0 = e^-∞.
fn log_add(a: f64, b: f64) -> f64 {
    let most = a.max(b);
    if most == f64::NEG_INFINITY { a + b } else { most + ((a - most).exp() + (b - most).exp()).ln() }
}

/// A vector of any kind as f64.
pub(super) fn numbers(values: &Tensor) -> Vec<f64> {
    // First to the processor: Metal has no f64.
    Vec::try_from(values.to_device(tch::Device::Cpu).to_kind(tch::Kind::Double)).expect("a vector")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_what_cannot_be_exponentiated() {
        assert!((log_add(-4_000.0, -4_000.0) - (2f64.ln() - 4_000.0)).abs() < 1e-12);
        assert!((log_add(1f64.ln(), 3f64.ln()) - 4f64.ln()).abs() < 1e-15);
        assert_eq!(log_add(f64::NEG_INFINITY, 2.0), 2.0);
        assert_eq!(log_add(f64::NEG_INFINITY, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert!(log_add(f64::NAN, 1.0).is_nan() && log_add(1.0, f64::NAN).is_nan());
        assert!(log_add(f64::NAN, f64::NEG_INFINITY).is_nan());
    }

    #[test]
    fn moments_far_from_zero() {
        let mut moments = Moments::default();
        for (i, value) in [1e9 + 1.0, 1e9 + 2.0, 1e9 + 6.0].into_iter().enumerate() {
            moments.add(value, i + 1);
        }
        assert!((moments.mean - 1e9 - 3.0).abs() < 1e-6 && (moments.squares - 14.0).abs() < 1e-5, "{moments:?}");
    }
}
