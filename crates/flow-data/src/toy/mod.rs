//! Two-dimensional toys: drawn on demand, with densities that are known.

mod arcs;
mod moments;
mod moons;

use std::{fmt, str::FromStr};

use ndarray::{Array1, Array2, ArrayView2};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use self::moments::Moments;
use crate::{
    Error, Spec,
    random::{Purpose, stream},
};

/// A distribution on the plane that can be drawn from, and whose density is known.
///
/// Each is standardised by its *population* moments: mean 0 and variance 1 in both coordinates, exactly. All likelihoods
/// are in nats and in that unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Toy {
    /// A crescent: raw x2 ~ N(0, 4²), x1 ~ N(x2²/4, 1); means (4, 0), standard deviations (√33, 4).
    Moons,
    /// Two interleaved half circles of radius 1, (cos t, sin t) and (1 - cos t, 1/2 - sin t), t uniform on [0, π], each
    /// with probability 1/2, plus N(0, 0.1²) on both coordinates.
    TwoMoons,
    /// Two circles around the origin with radii 1 and 1/2, each with probability 1/2 and its angle uniform, plus
    /// N(0, 0.08²) on both coordinates.
    Circles,
}

impl Toy {
    /// All of them.
    pub const ALL: [Toy; 3] = [Toy::Moons, Toy::TwoMoons, Toy::Circles];

    /// The name: `moons`, `two-moons`, `circles`.
    pub fn name(&self) -> &'static str {
        match self {
            Toy::Moons => "moons",
            Toy::TwoMoons => "two-moons",
            Toy::Circles => "circles",
        }
    }

    /// `n` points of a seed: `[n, 2]`. Fewer points of the same seed are the first ones of more.
    pub fn draw(&self, n: usize, seed: u64) -> Array2<f32> {
        self.draw_from(n, stream(Purpose::Draw, seed, 0)).0
    }

    /// The `n` training points of a step: `[n, 2]`, a function of seed and step alone, with no number in common with
    /// validation or test points.
    pub fn draw_batch(&self, n: usize, seed: u64, step: u64) -> Array2<f32> {
        self.draw_from(n, stream(Purpose::Batch, seed, step)).0
    }

    /// Points `[n, 2]` and, where the toy is made of arcs, the arc `[n]` each was born on.
    pub(crate) fn draw_from(&self, n: usize, rng: ChaCha8Rng) -> (Array2<f32>, Option<Array1<u8>>) {
        let (raw, labels) = match self {
            Toy::Moons => (moons::draw(n, rng), None),
            Toy::TwoMoons => arcs::two_moons().draw(n, rng),
            Toy::Circles => arcs::circles().draw(n, rng),
        };
        (self.moments().standardise(raw), labels)
    }

    /// ln p(x) of each row of `x: [n, 2]`, in nats: `[n]`.
    ///
    /// In closed form for [`Toy::Moons`]; for the others by quadrature along the arcs, to about 1e-6 wherever there are
    /// points.
    ///
    /// # Panics
    /// Where rows have not 2 values.
    pub fn log_prob(&self, x: ArrayView2<'_, f32>) -> Array1<f64> {
        assert_eq!(x.ncols(), 2, "a toy's points are [n, 2], not {:?}", x.shape());
        let moments = self.moments();
        let raw = moments.raw(x);
        let log_prob = match self {
            Toy::Moons => moons::log_prob(raw.view()),
            Toy::TwoMoons => arcs::two_moons().log_prob(raw.view()),
            Toy::Circles => arcs::circles().log_prob(raw.view()),
        };
        log_prob + moments.log_scale()
    }

    /// The entropy in nats, which is the floor of any model's mean negative log-likelihood.
    ///
    /// Exact for [`Toy::Moons`], ln(2πe) - ½ ln 33 = 1.0896; for the others the integral of -p ln p over a grid, exact
    /// to the six decimals given.
    pub fn entropy(&self) -> f64 {
        match self {
            Toy::Moons => moons::entropy() - self.moments().log_scale(),
            Toy::TwoMoons => arcs::TWO_MOONS_ENTROPY,
            Toy::Circles => arcs::CIRCLES_ENTROPY,
        }
    }

    /// The exact mean and standard deviation of the raw distribution, by which it is standardised.
    pub fn moments(&self) -> Moments {
        match self {
            Toy::Moons => moons::moments(),
            Toy::TwoMoons => arcs::two_moons_moments(),
            Toy::Circles => arcs::circles_moments(),
        }
    }
}

impl fmt::Display for Toy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Toy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let spec: Spec = name.parse()?;
        spec.toy().ok_or_else(|| Error::UnknownSpec { name: name.to_owned() })
    }
}

impl From<Toy> for Spec {
    fn from(toy: Toy) -> Spec {
        match toy {
            Toy::Moons => Spec::Moons,
            Toy::TwoMoons => Spec::TwoMoons,
            Toy::Circles => Spec::Circles,
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use ndarray::{Axis, array, s};

    use super::*;

    /// Mean and standard error.
    fn mean_and_error(values: &Array1<f64>) -> (f64, f64) {
        (values.mean().unwrap(), values.std(1.0) / (values.len() as f64).sqrt())
    }

    /// The integral of p and of -p ln p by the trapezoidal rule on [-5, 27] x [-6, 6] (the crescent's ends reach far).
    fn integrals(toy: Toy, step: f64) -> (f64, f64) {
        let (columns, rows) = ((32.0 / step) as usize, (12.0 / step) as usize);
        let grid = Array2::from_shape_fn((columns * rows, 2), |(i, axis)| match axis {
            0 => (-5.0 + step * (i % columns) as f64) as f32,
            _ => (-6.0 + step * (i / columns) as f64) as f32,
        });
        let log_prob = toy.log_prob(grid.view());
        let sum = |f: fn(f64) -> f64| log_prob.mapv(f).sum() * step * step;
        (sum(f64::exp), sum(|l| -l * l.exp()))
    }

    #[test]
    fn the_density_integrates_to_one_and_the_entropy_is_the_floor() {
        for toy in Toy::ALL {
            let (mass, entropy) = integrals(toy, 0.0625);
            assert_abs_diff_eq!(mass, 1.0, epsilon = 1e-7);
            assert_abs_diff_eq!(entropy, toy.entropy(), epsilon = 1e-6);
        }
        assert_abs_diff_eq!(Toy::Moons.entropy(), 1.0896, epsilon = 5e-5);
    }

    #[test]
    fn draws_follow_the_density() {
        for toy in Toy::ALL {
            let log_prob = toy.log_prob(toy.draw(20_000, 1).view());
            let (mean, error) = mean_and_error(&-log_prob);
            let off = mean - toy.entropy();
            assert!(off.abs() < 4.0 * error && error < 0.01, "{toy}: {off} nats off, standard error {error}");
        }
    }

    #[test]
    fn draws_are_standardised() {
        for toy in Toy::ALL {
            let points = toy.draw(50_000, 2).mapv(f64::from);
            for x in points.axis_iter(Axis(1)) {
                let (mean, error) = mean_and_error(&x.to_owned());
                assert!(mean.abs() < 4.0 * error, "{toy}: mean {mean}, standard error {error}");
                let (variance, error) = mean_and_error(&x.mapv(|x| x * x));
                assert!((variance - 1.0).abs() < 4.0 * error, "{toy}: variance {variance}, standard error {error}");
            }
        }
    }

    #[test]
    fn moons_have_the_closed_form() {
        // The crescent's tip is raw (0, 0): there p is that of two normals, 1/(2π · 4), times the scales √33 · 4.
        let tip = Toy::Moons.log_prob(array![[(-4.0 / 33f64.sqrt()) as f32, 0.0]].view());
        assert_abs_diff_eq!(tip[0], (33f64.sqrt() / std::f64::consts::TAU).ln(), epsilon = 1e-6);
    }

    #[test]
    fn densities_stay_finite_far_away() {
        for toy in Toy::ALL {
            let log_prob = toy.log_prob(array![[1e3, -1e3], [0.0, 0.0]].view());
            assert!(log_prob[0].is_finite() && log_prob[0] < -1e3 && log_prob[1] > -1e3, "{toy}: {log_prob}");
        }
    }

    #[test]
    fn fewer_points_are_the_first_of_more_and_steps_differ() {
        for toy in Toy::ALL {
            let many = toy.draw(64, 5);
            assert_eq!(toy.draw(8, 5), many.slice(s![..8, ..]));
            assert_ne!(toy.draw(64, 6), many);
            assert_ne!(toy.draw_batch(64, 5, 0), many);
            assert_ne!(toy.draw_batch(64, 5, 0), toy.draw_batch(64, 5, 1));
            assert_eq!(toy.draw_batch(64, 5, 1), toy.draw_batch(64, 5, 1));
            assert_eq!(toy.draw(0, 5).dim(), (0, 2));
        }
    }

    #[test]
    fn names_are_those_of_the_data_sets() {
        for toy in Toy::ALL {
            assert_eq!(toy.name().parse::<Toy>().unwrap(), toy);
            assert_eq!(Spec::from(toy).toy(), Some(toy));
            assert_eq!(serde_json::to_string(&toy).unwrap(), format!("{:?}", toy.name()));
        }
        assert!("digits".parse::<Toy>().is_err());
    }
}
