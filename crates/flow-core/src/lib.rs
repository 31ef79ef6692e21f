//! The maths of normalizing flows: invertible maps with their log-determinants, on libtorch.
//!
//! A normalizing flow turns data `x` into noise `z` by an invertible map, and so has a density one can write down:
//!
//! ```text
//! log p(x) = log p_base(z) + log|det dz/dx|,   z = f(x)
//! ```
//!
//! Everything here follows from one contract, [`Bijection`]: two directions, each of which returns a value *and* the
//! log-determinant of that direction. Bijections are put one after another in a [`Chain`], turned round by [`Inverse`],
//! and paired with a [`Base`] to make a [`Flow`], which evaluates densities and draws samples.
//!
//! What does the work is the [`Coupling`]: a [`Mask`] says which coordinates stay, a [`Conditioner`] computes from these
//! how the others change, a [`Law`] (additive, as in NICE, or affine, as in RealNVP) changes them. Around it stand
//! [`Permute`], [`ElementwiseAffine`], [`ActNorm`], [`Logit`] and a [`Spline`].
//!
//! On images, couplings go by channels or by the squares of a chessboard and have convolutional conditioners
//! ([`ImageCoupling`]), channels are mixed by a [`Conv1x1`], and a [`Multiscale`] puts levels of ever coarser resolution
//! inside one another, with learned priors of what each of them lets go of.
//!
//! Three habits keep the numbers right. `forward` is always data to latent. A log-determinant belongs to the direction
//! that returned it. And every map is held against autograd's Jacobian by [`testing::check`], which is public, so that a
//! map of your own gets the same treatment by one line.
//!
//! A Gaussian with mean 3 and standard deviation 2, as the smallest of flows:
//!
//! ```
//! use flow_core::{ElementwiseAffine, Flow, StandardNormal};
//! use tch::{Device, Tensor, nn};
//!
//! let vs = nn::VarStore::new(Device::Cpu);
//! let affine = ElementwiseAffine::standardize(&vs.root(), &[3.0], &[2.0])?;
//! let flow = Flow::new(affine, StandardNormal::new(&[1]), Device::Cpu);
//!
//! let log_prob = flow.log_prob(&Tensor::from_slice(&[5.0f32]).reshape([1, 1]), None);
//! // -(1² + ln 2π)/2 - ln 2
//! assert!((log_prob.double_value(&[0]) - -2.112086).abs() < 1e-6);
//!
//! let draws = flow.sample(10_000, 1.0, 0, None);
//! assert!((draws.mean(None).double_value(&[]) - 3.0).abs() < 0.1);
//! # Ok::<(), flow_core::Error>(())
//! ```

mod actnorm;
mod affine;
mod backward;
mod base;
mod batchnorm;
mod bijection;
mod chain;
pub mod check;
mod conv1x1;
mod coupling;
mod coupling_gpu;
pub mod dense;
mod error;
mod flow;
pub mod gpu;
mod grad_mode;
mod image_coupling;
mod inverse;
mod law;
mod law_backward;
mod logit;
mod lu;
mod mask;
mod multiscale;
mod permute;
pub mod plain;
pub mod plain_training;
mod prior;
pub mod product;
mod rational_quadratic;
pub mod rng;
mod shape;
mod spline;
mod spline_dense;
mod spline_law;
mod squeeze;
mod step;
pub mod testing;

pub use actnorm::ActNorm;
pub use affine::ElementwiseAffine;
pub use backward::{Backward, Gradients, Kept, ToParameters, gradient_of};
pub use base::{Base, Logistic, StandardNormal};
pub use batchnorm::BatchNorm;
pub use bijection::{Bijection, Probe};
pub use chain::Chain;
pub use conv1x1::Conv1x1;
pub use coupling::{Conditioner, ConditionerBackward, ConditionerKept, Coupling};
pub use error::{Error, Result};
pub use flow::{Flow, FlowKept, Rebuilt};
pub use grad_mode::no_grad;
pub use image_coupling::{ImageCoupling, ImageMask};
pub use inverse::Inverse;
pub use law::{Bound, Law};
pub use logit::Logit;
pub use mask::Mask;
pub use multiscale::{Level, Multiscale};
pub use permute::Permute;
pub use prior::TopPrior;
pub use product::Precision;
pub use spline::Spline;
pub use squeeze::{Squeeze, SqueezeOrder};
pub use step::{Direction, Edge, Inspection, Scales, Step, Visit};

/// The README's code is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
