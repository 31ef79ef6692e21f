//! The exact moments of a toy's raw distribution, and the change of unit they define.

use ndarray::{Array2, ArrayView2, aview1};

/// Means and standard deviations by coordinate: x = (raw - mean) / std.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// The means of the raw coordinates.
    pub mean: [f64; 2],
    /// The standard deviations of the raw coordinates.
    pub std: [f64; 2],
}

impl Moments {
    /// Raw points `[n, 2]` in the standardised unit. The arithmetic is in f64: only the result is rounded.
    pub fn standardise(&self, raw: Array2<f64>) -> Array2<f32> {
        ((raw - aview1(&self.mean)) / aview1(&self.std)).mapv(|value| value as f32)
    }

    /// Standardised points `[n, 2]` in the raw unit.
    pub fn raw(&self, x: ArrayView2<'_, f32>) -> Array2<f64> {
        x.mapv(f64::from) * aview1(&self.std) + aview1(&self.mean)
    }

    /// ln(std1 · std2): what a raw log density gains by the change of unit.
    pub(crate) fn log_scale(&self) -> f64 {
        self.std[0].ln() + self.std[1].ln()
    }
}
