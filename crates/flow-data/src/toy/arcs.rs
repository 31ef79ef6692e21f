//! Toys made of circular arcs blurred by Gaussian noise: `two-moons` and `circles`.
//!
//! p(x) = Σ_k 1/K · 1/(t₁ - t₀) ∫ N(x; c_k + r_k (cos t, sin t), σ² I) dt over the angles [t₀, t₁] of arc k. The shapes
//! are those of scikit-learn's `make_moons` and `make_circles`, with angles drawn instead of evenly spaced.

use std::f64::consts::{PI, TAU};

use ndarray::{Array1, Array2, ArrayView2, Axis};
use ndarray_rand::{
    rand::Rng,
    rand_distr::{Distribution, StandardNormal},
};
use rand_chacha::ChaCha8Rng;

use super::Moments;

/// The noise of `two-moons`.
const TWO_MOONS_NOISE: f64 = 0.1;
/// The noise of `circles`.
const CIRCLES_NOISE: f64 = 0.08;
/// The radius of the inner circle of `circles`; the outer one's is 1.
const INNER_RADIUS: f64 = 0.5;

/// The entropy of `two-moons`, standardised; the test below integrates it anew.
pub(super) const TWO_MOONS_ENTROPY: f64 = 1.829_640;
/// The entropy of `circles`, standardised; the test below integrates it anew.
pub(super) const CIRCLES_ENTROPY: f64 = 2.213_789;

/// Panels of the quadrature in a half circle. A panel is 0.05 wide where the integrand, a bell in the angle, has a
/// standard deviation of 0.08 or more: with 3 nodes a panel the relative error is about 1e-7.
const PANELS: f64 = 64.0;
/// Nodes and weights of Gauss's rule on [0, 1], √(3/5)/2 to either side of the middle.
const GAUSS: [(f64, f64); 3] =
    [(0.112_701_665_379_258_3, 5.0 / 18.0), (0.5, 8.0 / 18.0), (0.887_298_334_620_741_7, 5.0 / 18.0)];

/// A piece of a circle, its angle uniform.
struct Arc {
    centre: [f64; 2],
    radius: f64,
    start: f64,
    sweep: f64,
}

impl Arc {
    /// The point at a fraction of the way, 0 to 1.
    fn at(&self, fraction: f64) -> [f64; 2] {
        let (sin, cos) = (self.start + fraction * self.sweep).sin_cos();
        [self.centre[0] + self.radius * cos, self.centre[1] + self.radius * sin]
    }

    /// Points along the arc with weights that sum to 1: the arc as a quadrature rule.
    fn nodes(&self) -> impl Iterator<Item = ([f64; 2], f64)> + '_ {
        let panels = (PANELS * self.sweep.abs() / PI).ceil();
        let panel = move |i: usize| GAUSS.map(|(at, weight)| (self.at((i as f64 + at) / panels), weight / panels));
        (0..panels as usize).flat_map(panel)
    }
}

/// Arcs of equal probability under one noise.
pub(super) struct Arcs {
    arcs: Vec<Arc>,
    noise: f64,
}

/// (cos t, sin t) and (1 - cos t, 1/2 - sin t), t in [0, π].
pub(super) fn two_moons() -> Arcs {
    let upper = Arc { centre: [0.0, 0.0], radius: 1.0, start: 0.0, sweep: PI };
    let lower = Arc { centre: [1.0, 0.5], radius: 1.0, start: PI, sweep: PI };
    Arcs { arcs: vec![upper, lower], noise: TWO_MOONS_NOISE }
}

/// x1: variance 1/2 along an arc and 1/4 between the arcs' centres. x2: E sin t = 2/π, hence means 2/π and 1/2 - 2/π;
/// 1/2 - 4/π² along an arc and (2/π - 1/4)² between arcs add up to 9/16 - 1/π.
pub(super) fn two_moons_moments() -> Moments {
    let noise = TWO_MOONS_NOISE * TWO_MOONS_NOISE;
    Moments { mean: [0.5, 0.25], std: [(0.75 + noise).sqrt(), (9.0 / 16.0 - 1.0 / PI + noise).sqrt()] }
}

/// Radii 1 and 1/2 around the origin.
pub(super) fn circles() -> Arcs {
    let circle = |radius| Arc { centre: [0.0, 0.0], radius, start: 0.0, sweep: TAU };
    Arcs { arcs: vec![circle(1.0), circle(INNER_RADIUS)], noise: CIRCLES_NOISE }
}

/// The variance along a circle is r²/2 in either coordinate.
pub(super) fn circles_moments() -> Moments {
    let variance = (1.0 + INNER_RADIUS * INNER_RADIUS) / 4.0 + CIRCLES_NOISE * CIRCLES_NOISE;
    Moments { mean: [0.0, 0.0], std: [variance.sqrt(); 2] }
}

impl Arcs {
    /// Raw points `[n, 2]` and the arc `[n]` each was born on. Point by point, so that few are the first of many.
    pub(super) fn draw(&self, n: usize, mut rng: ChaCha8Rng) -> (Array2<f64>, Option<Array1<u8>>) {
        let mut points = Array2::zeros((n, 2));
        let mut labels = Array1::zeros(n);
        for (mut point, label) in points.axis_iter_mut(Axis(0)).zip(&mut labels) {
            *label = rng.gen_range(0..self.arcs.len() as u8);
            let on_arc = self.arcs[usize::from(*label)].at(rng.r#gen());
            for (value, on_arc) in point.iter_mut().zip(on_arc) {
                let noise: f64 = StandardNormal.sample(&mut rng);
                *value = on_arc + self.noise * noise;
            }
        }
        (points, Some(labels))
    }

    /// ln p of raw points `[n, 2]`: `[n]`.
    pub(super) fn log_prob(&self, raw: ArrayView2<'_, f64>) -> Array1<f64> {
        let nodes: Vec<_> = self.arcs.iter().flat_map(Arc::nodes).collect();
        let precision = 0.5 / (self.noise * self.noise);
        let constant = -(TAU * self.noise * self.noise * self.arcs.len() as f64).ln();
        let mut exponents = vec![0.0; nodes.len()];
        raw.map_axis(Axis(1), |x| {
            for (exponent, (at, _)) in exponents.iter_mut().zip(&nodes) {
                *exponent = -precision * ((x[0] - at[0]).powi(2) + (x[1] - at[1]).powi(2));
            }
            // The largest exponent is taken out first: far from the arcs every term by itself is 0 in f64.
            let largest = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = exponents.iter().zip(&nodes).map(|(e, (_, weight))| weight * (e - largest).exp()).sum();
            constant + largest + sum.ln()
        })
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use ndarray::array;

    use super::*;

    /// exp(-k) I0(k), the Bessel function by its integral (1/π) ∫ exp(k (cos t - 1)) dt over [0, π]: the midpoint rule is
    /// exact to rounding, as the integrand is periodic.
    fn scaled_bessel(k: f64) -> f64 {
        let n = 20_000;
        (0..n).map(|i| (k * ((PI * (f64::from(i) + 0.5) / f64::from(n)).cos() - 1.0)).exp()).sum::<f64>() / f64::from(n)
    }

    /// A blurred circle in closed form: exp(-(r - R)²/2σ²) exp(-rR/σ²) I0(rR/σ²) / 2πσ².
    #[test]
    fn quadrature_along_circles_agrees_with_the_closed_form() {
        let variance = CIRCLES_NOISE * CIRCLES_NOISE;
        for r in [0.0, 0.3, 0.5, 0.75, 1.0, 1.3] {
            let circle = |radius: f64| {
                let bell = (-0.5 * (r - radius).powi(2) / variance).exp();
                bell * scaled_bessel(r * radius / variance) / (TAU * variance)
            };
            let expected = (0.5 * (circle(1.0) + circle(INNER_RADIUS))).ln();
            let found = circles().log_prob(array![[r * 0.6, -r * 0.8]].view())[0];
            assert_abs_diff_eq!(found, expected, epsilon = 1e-6);
        }
    }

    /// Far from an arc's ends it looks like a circle of twice the density.
    #[test]
    fn half_circles_are_the_two_halves() {
        let (upper, lower) = (array![[0.0, 1.0]], array![[1.0, -0.5]]);
        let variance = TWO_MOONS_NOISE * TWO_MOONS_NOISE;
        let expected = (scaled_bessel(1.0 / variance) / (TAU * variance)).ln();
        assert_abs_diff_eq!(two_moons().log_prob(upper.view())[0], expected, epsilon = 1e-6);
        assert_abs_diff_eq!(two_moons().log_prob(lower.view())[0], expected, epsilon = 1e-6);
    }
}
