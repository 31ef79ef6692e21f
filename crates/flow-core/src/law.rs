//! How a coupling changes a coordinate: by adding, by scaling and adding, or along a curve.

use flow_cuda::kernels::{spline_forward, spline_has, spline_inverse};
use tch::{Tensor, nn};

use crate::backward::gradient_or_zeros;
use crate::gpu;
use crate::spline_dense;
use crate::spline_law::{self, Knots};

/// The elementwise law of a coupling, built from the conditioner's output once, for both directions.
#[derive(Debug)]
pub enum Law {
    /// NICE, equation 9: `z = x + t`. Keeps volume. One parameter a coordinate, `t`.
    Additive,
    /// RealNVP, equations 7 and 8: `z = x * exp(log_s) + t`, with `log_s = bound * tanh(raw)`. Two parameters a
    /// coordinate: the conditioner's output is `[raw, t]`, each `[n, changed, ..]`, one after the other in dimension 1.
    Affine {
        /// What `|log_s|` stays below.
        bound: Bound,
    },
    /// Neural spline flows (Durkan et al. 2019), section 3: a monotone rational-quadratic spline from [-6, 6] onto
    /// itself, a line beyond. Parameters a coordinate: `bins` widths, `bins` heights and `bins + 1` slopes, before the
    /// maps that make them what they are; the conditioner's output is `[widths, heights, slopes]`, bin after bin, each
    /// `[n, changed, ..]`, one after the other in dimension 1. All 0 is the identity but for slopes of 1.001 at the
    /// knots, for none may be less than 0.001.
    Spline {
        /// Number of bins, 1 to 999: none may be narrower than a thousandth of all.
        bins: usize,
    },
}

/// The bound on `|log_s|` of an affine law.
#[derive(Debug)]
pub enum Bound {
    /// One number for all coordinates, for good.
    Fixed(f64),
    /// One number a coordinate, learned: `[changed]`, or one a channel, `[changed, 1, 1]`.
    Learned(Tensor),
}

impl Bound {
    /// A learned bound that starts at `start` for each of `changed` coordinates; the parameter is `path/bound`.
    pub fn learned(path: &nn::Path, changed: usize, start: f64) -> Self {
        Bound::Learned(path.var("bound", &[changed as i64], nn::Init::Const(start)))
    }

    /// The same, for each of `changed` channels of images.
    pub fn learned_by_channel(path: &nn::Path, changed: usize, start: f64) -> Self {
        Bound::Learned(path.var("bound", &[changed as i64, 1, 1], nn::Init::Const(start)))
    }

    /// `bound * raw`.
    pub(crate) fn times(&self, raw: &Tensor) -> Tensor {
        match self {
            Bound::Fixed(1.0) => raw.shallow_clone(),
            Bound::Fixed(bound) => raw * *bound,
            Bound::Learned(bound) => raw * bound,
        }
    }
}

impl Law {
    /// Number of parameters a changed coordinate.
    ///
    /// # Panics
    ///
    /// If a spline has no bin, or more than fit.
    pub fn parameters(&self) -> usize {
        match self {
            Law::Additive => 1,
            Law::Affine { .. } => 2,
            Law::Spline { bins } => spline_law::parameters(*bins),
        }
    }

    /// `(z, log_s)` (the logarithm of the slope), both `[n, changed, ..]`; no `log_s` where the law keeps volume.
    pub(crate) fn forward(&self, x: &Tensor, parameters: &Tensor) -> (Tensor, Option<Tensor>) {
        match self {
            Law::Additive => (x + parameters, None),
            Law::Affine { bound } => {
                let (log_s, t) = affine(bound, parameters);
                (x * log_s.exp() + t, Some(log_s))
            }
            Law::Spline { bins } if by_kernel(x, *bins) => {
                let (z, log_slope) = spline_forward(x, parameters, *bins);
                (z, Some(log_slope))
            }
            Law::Spline { bins } if spline_dense::applies(x, *bins) => {
                let (z, log_slope) = spline_dense::forward(x, parameters, *bins);
                (z, Some(log_slope))
            }
            Law::Spline { bins } => {
                let (z, log_slope) = Knots::new(parameters, *bins, x).forward(x);
                (z, Some(log_slope))
            }
        }
    }

    /// `(x, -log_s)`, both `[n, changed, ..]`.
    pub(crate) fn inverse(&self, z: &Tensor, parameters: &Tensor) -> (Tensor, Option<Tensor>) {
        match self {
            Law::Additive => (z - parameters, None),
            Law::Affine { bound } => {
                let (log_s, t) = affine(bound, parameters);
                let minus = log_s.neg();
                ((z - t) * minus.exp(), Some(minus))
            }
            Law::Spline { bins } if by_kernel(z, *bins) => {
                let (x, log_slope) = spline_inverse(z, parameters, *bins);
                (x, Some(log_slope.neg()))
            }
            Law::Spline { bins } if spline_dense::applies(z, *bins) => {
                let (x, log_slope) = spline_dense::inverse(z, parameters, *bins);
                (x, Some(log_slope.neg()))
            }
            Law::Spline { bins } => {
                let (x, log_slope) = Knots::new(parameters, *bins, z).inverse(z);
                (x, Some(log_slope.neg()))
            }
        }
    }
}

impl Law {
    /// Where `x: [n, changed, ..]` is at a bound of the law, of kind bool, and which bound; none where it has no bound.
    pub(crate) fn at_edge(&self, x: &Tensor, parameters: &Tensor) -> Option<(&'static str, Tensor)> {
        match self {
            Law::Additive => None,
            Law::Affine { .. } => {
                let (share, _) = affine(&Bound::Fixed(1.0), parameters);
                Some(("with |log_s| above 0.99 of its bound", share.abs().gt(NEAR_BOUND)))
            }
            Law::Spline { .. } => Some(("outside [-6, 6]", x.abs().gt(spline_law::BOUND))),
        }
    }
}

/// From here on tanh is so flat that a step of training hardly moves `log_s`.
const NEAR_BOUND: f64 = 0.99;

/// The backward pass of a coupling from its output, once its conditioner has been run: rebuilds what was changed from
/// `z_changed`, takes `loss(z_changed, log_s)` back, and returns what was changed and the gradients with respect to that
/// and to `kept`. The gradients of the conditioner's own parameters are added to these.
pub(crate) fn parameter_gradients(
    law: &Law,
    z_changed: &Tensor,
    parameters: &Tensor,
    kept: &Tensor,
    loss: impl FnOnce(&Tensor, Option<Tensor>) -> Tensor,
) -> (Tensor, Tensor, Tensor) {
    let changed = crate::no_grad(|| law.inverse(&z_changed.detach(), &parameters.detach()).0).set_requires_grad(true);
    let (z, log_scale) = law.forward(&changed, parameters);
    loss(&z, log_scale).backward();
    (changed.detach(), gradient_or_zeros(&changed), gradient_or_zeros(kept))
}

/// Whether splines of so many bins are computed by kernels of our own.
pub(crate) fn by_kernel(x: &Tensor, bins: usize) -> bool {
    gpu::applies(x) && spline_has(bins, x)
}

/// `[n, 2 * changed, ..]` to `(log_s, t)`.
fn affine(bound: &Bound, parameters: &Tensor) -> (Tensor, Tensor) {
    let changed = parameters.size()[1] / 2;
    let raw = parameters.narrow(1, 0, changed);
    (bound.times(&raw.tanh()), parameters.narrow(1, changed, changed))
}
