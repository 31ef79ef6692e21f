//! The crescent: a Gaussian bent along a parabola, so that its density and entropy are closed forms.
//!
//! x2 = 4 e2 and x1 = x2²/4 + e1 with e1, e2 ~ N(0, 1). The map from e to x has the constant log-determinant ln 4, hence
//! ln p(x) = ln N(x1 - x2²/4; 0, 1) + ln N(x2; 0, 4²). From `jaekookang/flow_based_models`, after E. Jang's
//! tutorial on normalizing flows.

use std::f64::consts::{E, TAU};

use ndarray::{Array1, Array2, ArrayView2, Axis};
use ndarray_rand::{RandomExt, rand_distr::StandardNormal};
use rand_chacha::ChaCha8Rng;

use super::Moments;

/// The standard deviation of x2, and the divisor of the parabola x2²/4.
const WIDTH: f64 = 4.0;

/// E x1 = E x2²/4 = 4, var x1 = 1 + var(x2²)/16 = 1 + 2 · 16²/16 = 33.
pub(super) fn moments() -> Moments {
    Moments { mean: [4.0, 0.0], std: [33f64.sqrt(), WIDTH] }
}

/// Raw points, `[n, 2]`.
pub(super) fn draw(n: usize, mut rng: ChaCha8Rng) -> Array2<f64> {
    let mut points = Array2::random_using((n, 2), StandardNormal, &mut rng);
    for mut point in points.axis_iter_mut(Axis(0)) {
        let x2: f64 = WIDTH * point[1];
        point[0] += x2 * x2 / WIDTH;
        point[1] = x2;
    }
    points
}

/// ln p of raw points `[n, 2]`: `[n]`.
pub(super) fn log_prob(raw: ArrayView2<'_, f64>) -> Array1<f64> {
    let constant = -TAU.ln() - WIDTH.ln();
    raw.map_axis(Axis(1), |x| {
        let e1 = x[0] - x[1] * x[1] / WIDTH;
        let e2 = x[1] / WIDTH;
        constant - 0.5 * (e1 * e1 + e2 * e2)
    })
}

/// The entropy of the raw distribution: that of two standard normals, ln(2πe), and the log-determinant ln 4.
pub(super) fn entropy() -> f64 {
    (TAU * E).ln() + WIDTH.ln()
}
