//! How a coupling changes a coordinate: by adding, or by scaling and adding.

use tch::{Tensor, nn};

/// The elementwise law of a coupling, built from the conditioner's output once, for both directions.
#[derive(Debug)]
pub enum Law {
    /// NICE, equation 9: `z = x + t`. Keeps volume. One parameter a coordinate, `t`.
    Additive,
    /// RealNVP, equations 7 and 8: `z = x * exp(log_s) + t`, with `log_s = bound * tanh(raw)`. Two parameters a
    /// coordinate: the conditioner's output is `[raw, t]`, each `[n, changed]`.
    Affine {
        /// What `|log_s|` stays below.
        bound: Bound,
    },
}

/// The bound on `|log_s|` of an affine law.
#[derive(Debug)]
pub enum Bound {
    /// One number for all coordinates, for good.
    Fixed(f64),
    /// One number a coordinate, learned: `[changed]`.
    Learned(Tensor),
}

impl Bound {
    /// A learned bound that starts at `start` for each of `changed` coordinates; the parameter is `path/bound`.
    pub fn learned(path: &nn::Path, changed: usize, start: f64) -> Self {
        Bound::Learned(path.var("bound", &[changed as i64], nn::Init::Const(start)))
    }

    fn times(&self, raw: &Tensor) -> Tensor {
        match self {
            Bound::Fixed(1.0) => raw.shallow_clone(),
            Bound::Fixed(bound) => raw * *bound,
            Bound::Learned(bound) => raw * bound,
        }
    }
}

impl Law {
    /// Number of parameters a changed coordinate.
    pub fn parameters(&self) -> usize {
        match self {
            Law::Additive => 1,
            Law::Affine { .. } => 2,
        }
    }

    /// `(z, log_s)`, both `[n, changed]`; no `log_s` where the law keeps volume.
    pub(crate) fn forward(&self, x: &Tensor, parameters: &Tensor) -> (Tensor, Option<Tensor>) {
        match self {
            Law::Additive => (x + parameters, None),
            Law::Affine { bound } => {
                let (log_s, t) = affine(bound, parameters);
                (x * log_s.exp() + t, Some(log_s))
            }
        }
    }

    /// `(x, -log_s)`, both `[n, changed]`.
    pub(crate) fn inverse(&self, z: &Tensor, parameters: &Tensor) -> (Tensor, Option<Tensor>) {
        match self {
            Law::Additive => (z - parameters, None),
            Law::Affine { bound } => {
                let (log_s, t) = affine(bound, parameters);
                let minus = log_s.neg();
                ((z - t) * minus.exp(), Some(minus))
            }
        }
    }
}

/// `[n, 2 * changed]` to `(log_s, t)`.
fn affine(bound: &Bound, parameters: &Tensor) -> (Tensor, Tensor) {
    let changed = parameters.size()[1] / 2;
    let raw = parameters.narrow(1, 0, changed);
    (bound.times(&raw.tanh()), parameters.narrow(1, changed, changed))
}
