//! Training normalizing flows by exact likelihood: optimizer, schedule, run folders, evaluation.
//!
//! A [`RunConfig`] says everything that is chosen at the start: data, model, training, seed. A [`Trainer`] carries it
//! out, and tells an [`Observer`] what happens; it prints nothing. The loss is the mean negative log-likelihood of a
//! batch in nats, constants included. Integer data is dequantized on the device, anew at every step. The weights that are
//! kept are moving averages, chosen by the validation split; the test split is for [`evaluate::evaluate`] alone.
//!
//! Everything random is a function of a seed and a step. So a run kept in a folder ([`Trainer::keep_in`]) can be stopped
//! at any moment and taken up again ([`Trainer::resume`]), and ends to the bit as it would have.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use flow_data::{LoadOptions, Part, Spec};
//! use flow_models::Preset;
//! use flow_train::{Event, RunConfig, Trainer, evaluate::evaluate};
//!
//! let data = flow_data::load(&Spec::Moons, &LoadOptions::default())?;
//! let mut config = RunConfig::preset("realnvp", Preset::Default, Spec::Moons, &data)?;
//! // Any field by its name; these make it small.
//! for field in ["device=cpu", "threads=1", "model.conditioner.hidden=32", "train.steps=300", "train.batch=200"] {
//!     config.set(field)?;
//! }
//!
//! let mut trainer = Trainer::new(config, data.clone())?;
//! trainer.run(&mut |_: &Event| ControlFlow::Continue(()))?;
//!
//! let model = trainer.into_best();
//! let reached = evaluate(model.flow(), 0, &data.test, Part::Test, data.toy(), 1, 0)?;
//! let floor = reached.floor.expect("the true density of moons is known");
//! assert!(floor.gap < 1.0, "{} nats above the floor", floor.gap);
//! # Ok::<(), flow_train::Error>(())
//! ```

pub mod adam;
pub mod batches;
mod by_name;
pub mod check;
pub mod classify;
mod config;
mod device;
mod diagnose;
mod divergence;
mod error;
pub mod evaluate;
pub mod flat;
pub mod folder;
mod gradients;
mod links;
mod memory;
mod observe;
mod recipe;
mod recorder;
mod rewind;
pub mod runs;
mod state;
mod step;
mod trainer;
mod twins;

pub use config::{DataConfig, MODELS, OnDivergence, RunConfig, Schedule, TrainConfig};
pub use device::Device;
pub use divergence::{Divergence, Origin, Place, Range};
pub use error::{Error, Result};
pub use memory::keep_freed_memory;
pub use observe::{Event, Observer};
pub use state::Progress;
pub use trainer::{Outcome, Trainer};

/// The README's code is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
