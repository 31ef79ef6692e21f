//! A zoo of normalizing flows: configurations that build models, presets, and model files.
//!
//! A configuration is plain data (serde) with documented defaults: [`NiceConfig`] and [`RealNvpConfig`],
//! fully connected; [`GlowConfig`] and [`MultiscaleRealNvpConfig`], convolutional and multi-scale. `build` turns it
//! into a [`flow_core::Flow`] whose variables are named after its steps. A [`Model`] keeps the three together:
//! configuration, variables, flow. [`preset`] has the configurations worth naming.
//!
//! [`file::save`] and [`file::load`] keep models in safetensors files that other languages can read: loading one needs no
//! training code, so this crate is all that a program needs to evaluate densities and draw samples.
//!
//! ```
//! use flow_models::{Model, ModelConfig, NiceConfig};
//! use tch::{Device, Kind, Tensor};
//!
//! let config = ModelConfig::Nice(NiceConfig { couplings: 2, ..NiceConfig::default() });
//! let model = Model::new(&config, &[3], 0, Device::Cpu)?;
//!
//! // At the start every coupling is the identity, so the density is that of the base.
//! let x = Tensor::zeros([1, 3], (Kind::Float, Device::Cpu));
//! let log_prob = model.log_prob(&x, None)?.double_value(&[0]);
//! assert!((log_prob - 3.0 * 0.25f64.ln()).abs() < 1e-5);
//! # Ok::<(), flow_models::Error>(())
//! ```

mod activation;
mod conv_net;
mod conv_net_dense;
mod conv_net_gpu;
mod digest;
mod error;
pub mod file;
mod glow;
mod head;
mod image;
mod init;
mod mlp;
mod mlp_backward;
mod mlp_bf16;
mod mlp_dense;
mod mlp_frozen;
mod mlp_gpu;
mod model;
mod nice;
pub mod preset;
mod realnvp;
mod realnvp_image;
mod stack;
mod write;

pub use activation::Activation;
pub use conv_net::{ConvNetConfig, Norm};
pub use error::{Error, Result};
pub use file::ModelCard;
pub use glow::{CouplingKind, GlowConfig, Mixing, Order2x2};
pub use head::{Head, SplineConfig};
pub use mlp::{Mlp, MlpConfig, WeightInit};
pub use model::{Model, ModelConfig, class_context};
pub use nice::NiceConfig;
pub use preset::Preset;
pub use realnvp::{BoundConfig, RealNvpConfig};
pub use realnvp_image::MultiscaleRealNvpConfig;
pub use stack::{BaseKind, Order, Pattern, Scaling};
pub use write::{Prepared, sync_folder, write_beside};

/// The README's code is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
