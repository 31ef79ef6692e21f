//! How the latent of data is distributed, beside the base.

use tch::{Device, Kind, Tensor};

use crate::Base;
use crate::shape::flat;

/// One coordinate of a latent, over rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coordinate {
    /// Mean.
    pub mean: f64,
    /// Variance (of the sample: over n - 1).
    pub variance: f64,
    /// Kolmogorov's distance to the base, `sup |F_n - F|`: between 0 and 1, the largest share of rows on the wrong side of
    /// any threshold.
    pub distance: f64,
}

/// The latent of data against the base, coordinate by coordinate. A model that fits its data imperfectly is no wrong model:
/// nothing here is a fault of the maths.
#[derive(Debug, Clone, PartialEq)]
pub struct Latent {
    /// Number of rows.
    pub rows: usize,
    /// Each coordinate, of the flattened event.
    pub coordinates: Vec<Coordinate>,
    /// The variance that the base has.
    pub base_variance: f64,
    /// A distance that 1 % of samples of this size drawn from the base exceed (Stephens 1970):
    /// `1.628 / (√n + 0.12 + 0.11 / √n)`.
    pub critical: f64,
}

impl Latent {
    /// Of `z: [n, ..event]`, finite, with 2 rows or more.
    pub fn of(z: &Tensor, base: &dyn Base) -> Self {
        let z = flat(&z.detach().to_device(Device::Cpu).to_kind(Kind::Double));
        let (n, _) = z.size2().expect("a matrix");
        let numbers = |t: Tensor| Vec::<f64>::try_from(t).expect("a vector of f64");
        let mean = numbers(z.mean_dim(0i64, false, None::<Kind>));
        let variance = numbers(z.var_dim(0i64, true, false));
        let distance = numbers(distance(&z, base));
        let coordinates = mean.into_iter().zip(variance).zip(distance);
        let root = (n as f64).sqrt();
        Latent {
            rows: n as usize,
            coordinates: coordinates
                .map(|((mean, variance), distance)| Coordinate { mean, variance, distance })
                .collect(),
            base_variance: base.variance(),
            critical: 1.628 / (root + 0.12 + 0.11 / root),
        }
    }

    /// Share of the coordinates that differ from the base by more than chance, at the level of 1 %: 0.01 where the latent is
    /// the base exactly.
    pub fn told_apart(&self) -> f64 {
        let beyond = self.coordinates.iter().filter(|c| c.distance > self.critical).count();
        beyond as f64 / self.coordinates.len() as f64
    }

    /// The median distance.
    pub fn median_distance(&self) -> f64 {
        let mut distances: Vec<f64> = self.coordinates.iter().map(|c| c.distance).collect();
        distances.sort_by(f64::total_cmp);
        distances[distances.len() / 2]
    }

    /// The coordinates, farthest from the base first.
    pub fn farthest(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.coordinates.len()).collect();
        order.sort_by(|&a, &b| self.coordinates[b].distance.total_cmp(&self.coordinates[a].distance));
        order
    }
}

/// Kolmogorov's distance of each column of `z: [n, D]`: `max_i max(i/n - F(z_i), F(z_i) - (i-1)/n)` over sorted values.
fn distance(z: &Tensor, base: &dyn Base) -> Tensor {
    let n = z.size()[0];
    let f = base.cdf(&z.sort(0, false).0);
    let rank = Tensor::arange(n + 1, (Kind::Double, Device::Cpu)).unsqueeze(1) / n as f64;
    let above = (rank.narrow(0, 1, n) - &f).amax(0i64, false);
    let below = (&f - rank.narrow(0, 0, n)).amax(0i64, false);
    above.maximum(&below)
}
