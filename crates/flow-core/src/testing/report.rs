//! What the check measured, and the verdict on it.

use std::fmt;

use tch::Tensor;

use crate::step::on_processor;

/// The largest difference between two tensors: absolute, and relative to `1 + |expected|`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// Largest absolute difference.
    pub absolute: f64,
    /// Largest difference relative to `1 + |expected|`.
    pub relative: f64,
}

impl Measured {
    /// What cannot be compared at all.
    pub(crate) const INFINITE: Measured = Measured { absolute: f64::INFINITY, relative: f64::INFINITY };

    /// The difference of `got` from `expected`, of the same shape. What is not finite counts as infinitely far.
    pub fn between(got: &Tensor, expected: &Tensor) -> Self {
        assert_eq!(got.size(), expected.size(), "only tensors of one shape can be compared");
        if got.numel() == 0 {
            return Measured::default();
        }
        let expected = on_processor(expected);
        let difference = (on_processor(got) - &expected).abs();
        let relative = &difference / (expected.abs() + 1.0);
        let largest = |t: Tensor| {
            let value = t.max().double_value(&[]);
            if value.is_finite() { value } else { f64::INFINITY }
        };
        Measured { absolute: largest(difference), relative: largest(relative) }
    }

    /// The larger of both, part by part.
    pub fn max(self, other: Self) -> Self {
        Measured { absolute: self.absolute.max(other.absolute), relative: self.relative.max(other.relative) }
    }
}

/// What [`super::check`] measured. Every number is a difference that would be 0 in exact arithmetic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// `inverse(forward(x))` against `x`.
    pub round_trip_data: Measured,
    /// `forward(inverse(z))` against `z`.
    pub round_trip_latent: Measured,
    /// The forward log-determinant against autograd's Jacobian.
    pub log_det_forward: Measured,
    /// The inverse log-determinant against autograd's Jacobian.
    pub log_det_inverse: Measured,
    /// Forward plus inverse log-determinant.
    pub log_det_sum: Measured,
    /// The traced variants and the steps one by one against the plain ones, and the sum of the steps' log-determinants
    /// against the total.
    pub trace: Measured,
    /// The backward hook against autograd.
    pub vjp: Measured,
    /// The way back that keeps what it needs, against autograd.
    pub keeping: Measured,
    /// Rows on their own against rows in a batch.
    pub single_rows: Measured,
    /// Whether a batch of no rows went through both ways.
    pub empty_batch: bool,
}

/// How far a [`Report`] may be off, relative to `1 + |expected|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// For values: round trips, traces, rows, gradients.
    pub value: f64,
    /// For log-determinants.
    pub log_det: f64,
}

impl Tolerance {
    /// For parameters and inputs in f64.
    pub fn double() -> Self {
        Tolerance { value: 1e-8, log_det: 1e-8 }
    }

    /// For parameters and inputs in f32.
    pub fn single() -> Self {
        Tolerance { value: 1e-3, log_det: 1e-3 }
    }
}

impl Report {
    /// The measured numbers by name.
    pub fn rows(&self) -> [(&'static str, Measured); 9] {
        [
            ("round trip from data", self.round_trip_data),
            ("round trip from latent", self.round_trip_latent),
            ("forward log-det against the Jacobian", self.log_det_forward),
            ("inverse log-det against the Jacobian", self.log_det_inverse),
            ("forward + inverse log-det", self.log_det_sum),
            ("traced steps against the whole", self.trace),
            ("backward hook against autograd", self.vjp),
            ("kept gradient against autograd", self.keeping),
            ("single rows against the batch", self.single_rows),
        ]
    }

    /// Everything that is further off than `tolerance`, in words; `Ok` where nothing is.
    ///
    /// # Errors
    ///
    /// One line for each number that is too large.
    pub fn verdict(&self, tolerance: &Tolerance) -> Result<(), String> {
        let mut faults: Vec<String> = self
            .rows()
            .into_iter()
            .filter_map(|(name, measured)| {
                let allowed = if name.contains("log-det") { tolerance.log_det } else { tolerance.value };
                let off = measured.relative;
                (off > allowed).then(|| format!("{name}: off by {off:.3e}, {allowed:.1e} allowed"))
            })
            .collect();
        if !self.empty_batch {
            faults.push("an empty batch does not go through".to_owned());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, measured) in self.rows() {
            writeln!(f, "{name:<38} {:.3e}", measured.relative)?;
        }
        write!(f, "{:<38} {}", "empty batch", if self.empty_batch { "goes through" } else { "fails" })
    }
}
