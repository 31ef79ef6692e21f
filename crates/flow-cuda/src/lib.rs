//! What libtorch has for CUDA and tch does not bind: graphs and exact convolutions; and kernels of our own.
//!
//! On a GPU a small net's products take microseconds, and so does the processor to start each of them: a training step of
//! some hundred kernels waits for the processor most of the time. A [`Graph`] records once what a function starts, and then
//! starts all of it by one call. [`Recorded`] makes of a function of a batch one that does so by itself.
//!
//! Where the libtorch of the program is without CUDA nothing is recorded: [`is_available`] says so.
//!
//! [`kernels`] are layers, convolutions, couplings and more, each in one; [`adam_step`] is one, too.
//!
//! libtorch's convolutions on a GPU are not those of f32 unless it is told: [`exact_convolutions`].

mod adam;
mod exact;
mod graph;
pub mod kernels;
mod recorded;
mod told;

pub use adam::{Constants, Moved, Numbers, adam_step, has_adam_step};
pub use exact::{exact_convolutions, round_to_tf32};
pub use graph::{Graph, is_available};
pub use recorded::Recorded;
pub use told::Error;

/// The README's code is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
