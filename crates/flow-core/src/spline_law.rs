//! The spline law of a coupling: each coordinate along a curve of its own.

use flow_dense::SplineLaw;
use tch::{Kind, Tensor};

use crate::rational_quadratic::{Bins, left_ends};

/// The knots of each changed coordinate, by what the conditioner says (Durkan et al. 2019, section 3.2), `[n, k, changed, ..]`
/// for `k` bins: from ±`BOUND` to itself, beyond that lines.
///
/// ```text
/// w = 2 BOUND (m + (1 - k m) softmax(widths)),   h alike,   d = ln(1 + (e - 1) e^slopes) + m'
/// ```
///
/// With m = m' = 1e-3 as the least width or height and slope. All 0 is the identity, to within m'.
pub(crate) struct Knots {
    w: Tensor,
    h: Tensor,
    d: Tensor,
}

pub(crate) const BOUND: f64 = SplineLaw::BOUND;
const LEAST_SHARE: f64 = SplineLaw::LEAST_SHARE;
/// With one bin more the least shares alone would fill the range, and nothing be left to learn.
const MOST_BINS: usize = 999;
const LEAST_SLOPE: f64 = SplineLaw::LEAST_SLOPE;

/// Parameters a coordinate.
pub(crate) fn parameters(bins: usize) -> usize {
    assert!((1..=MOST_BINS).contains(&bins), "a spline of {bins} bins: there may be 1 to {MOST_BINS}");
    3 * bins + 1
}

impl Knots {
    /// From `parameters: [n, (3 bins + 1) * changed, ..]`, for values like `x: [n, changed, ..]`.
    pub fn new(parameters: &Tensor, bins: usize, x: &Tensor) -> Self {
        let (size, k) = (x.size(), bins as i64);
        let by_bin = parameters.reshape([&size[..1], &[3 * k + 1], &size[1..]].concat());
        let shares = |from: i64| {
            let shares = by_bin.narrow(1, from, k).softmax(1, None::<Kind>);
            (shares * (1.0 - k as f64 * LEAST_SHARE) + LEAST_SHARE) * (2.0 * BOUND)
        };
        let slopes = by_bin.narrow(1, 2 * k, k + 1) + (std::f64::consts::E - 1.0).ln();
        Knots { w: shares(0), h: shares(k), d: slopes.softplus() + LEAST_SLOPE }
    }

    /// `(z, ln dz/dx)`.
    pub fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
        let (left, bottom) = self.ends();
        self.pick(&left, &bottom, &place(x, &left)).forward(x)
    }

    /// `(x, ln dz/dx)`.
    pub fn inverse(&self, z: &Tensor) -> (Tensor, Tensor) {
        let (left, bottom) = self.ends();
        self.pick(&left, &bottom, &place(z, &bottom)).inverse(z)
    }

    /// Where bins begin, along x and along z.
    fn ends(&self) -> (Tensor, Tensor) {
        (left_ends(&self.w, 1, -BOUND), left_ends(&self.h, 1, -BOUND))
    }

    fn pick(&self, left: &Tensor, bottom: &Tensor, index: &Tensor) -> Bins {
        let of = |numbers: &Tensor, index: &Tensor| numbers.gather(1, index, false).squeeze_dim(1);
        Bins {
            x: of(left, index),
            w: of(&self.w, index),
            z: of(bottom, index),
            h: of(&self.h, index),
            d0: of(&self.d, index),
            d1: of(&self.d, &(index + 1)),
        }
    }
}

/// The bin of each value, `[n, 1, changed, ..]`; the first and the last take what lies beyond.
fn place(value: &Tensor, ends: &Tensor) -> Tensor {
    let bins = ends.size()[1];
    let above = value.detach().unsqueeze(1).ge_tensor(&ends.detach());
    (above.sum_dim_intlist(1i64, true, Kind::Int64) - 1).clamp(0, bins - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_bins_as_fit_have_their_parameters() {
        assert_eq!([1, 8, MOST_BINS].map(parameters), [4, 25, 2998]);
    }

    #[test]
    #[should_panic(expected = "a spline of 0 bins")]
    fn no_bin_is_refused() {
        let _ = parameters(0);
    }

    #[test]
    #[should_panic(expected = "a spline of 1001 bins")]
    fn more_bins_than_fit_are_refused() {
        let _ = parameters(1001);
    }
}
