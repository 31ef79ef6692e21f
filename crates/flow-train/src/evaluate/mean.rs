//! A mean and how well it is known.

use serde::{Deserialize, Serialize};

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

    pub(super) fn scaled(self, factor: f64, offset: f64) -> Self {
        Mean { mean: self.mean * factor + offset, se: self.se * factor.abs() }
    }
}
