//! Dense layers and convolutions on a processor, with what follows them, and Adam in the same pass over memory.
//!
//! A matrix product of a library ends in memory: the bias, the activation, the gradient's mask and the optimizer's step each
//! go through it again. Here they are done while a tile of the product is in registers, the step while some rows of the gradient
//! are in cache, and weights are read where they lie, as far as caches allow: [`forward`] is a layer, [`backward`] the way back through
//! it, [`gradient`] the gradient of its weight, or Adam's step by it. Batches are held in [`Panels`], inputs for [`gradient`] in
//! panels of the transposed.
//!
//! Images are held in [`Planes`], with zeros between them, so that a convolution ([`convolve`], [`convolve_back`],
//! [`filter_gradient`]) is made of the same tiles: its lines are planes that lie some places apart. Of a few rows, of which
//! nothing takes time but reading the weights, [`through_layers`] is a whole net.
//!
//! Tiles are as large as a processor has registers for ([`instructions`]); without any of these instructions all of it is as right,
//! and slow.

#![allow(
    unsafe_code,
    reason = "vectors, and memory that several threads write to, by pointers: what all of this crate is"
)]

mod adam;
mod adam_plain;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod backward;
mod blocks;
mod convolution;
mod elementwise;
mod few;
mod filter_gradient;
mod forward;
mod gradient;
mod grid;
mod lanes;
mod panels;
mod planes;
mod pool;
mod strips;
mod tile;
mod weight;

use std::sync::OnceLock;

pub use adam::{Coefficients, adam_step};
pub use backward::{ThenBack, backward};
pub use convolution::{Filters, ThenPlanes, convolve, convolve_back};
pub use elementwise::{exp, scale_and_shift, scale_and_shift_back, shift_and_scale};
pub use few::{Layer, through_layers};
pub use filter_gradient::filter_gradient;
pub use forward::{Slope, Then, forward};
pub use gradient::{Destination, gradient};
pub use panels::{PANEL, Panels};
pub use planes::{Images, Planes};
pub use pool::{alone, in_parallel, in_team, in_turn, on_its_threads, share, within};
pub use weight::Weight;

/// Instructions that tiles here are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// AVX-512F: 32 registers of 16 numbers.
    Avx512,
    /// AVX2 and FMA: 16 registers of 8 numbers.
    Avx2,
}

/// The best instructions that this processor has. With `FLOW_PRODUCTS=libtorch` in the environment it is taken for one that has
/// none, and libtorch computes what it can; with `FLOW_PRODUCTS=avx2` for one without AVX-512.
pub fn instructions() -> Option<Instructions> {
    static INSTRUCTIONS: OnceLock<Option<Instructions>> = OnceLock::new();
    *INSTRUCTIONS.get_or_init(|| match std::env::var("FLOW_PRODUCTS").as_deref() {
        Ok("libtorch") => None,
        Ok("avx2") => there().map(|_| Instructions::Avx2),
        _ => there(),
    })
}

/// Rows of a batch that are worth taking through all layers before the next: what is between two layers stays in a core's own cache,
/// and each time all weights are read. Processors with AVX-512 have more of it.
pub fn rows_at_a_time() -> usize {
    if instructions() == Some(Instructions::Avx512) { 256 } else { 64 }
}

/// Whether this processor has any of them.
pub fn available() -> bool {
    instructions().is_some()
}

/// Whoever has AVX-512 has AVX2, too.
#[cfg(target_arch = "x86_64")]
fn there() -> Option<Instructions> {
    use std::arch::is_x86_feature_detected as has;
    let narrow = has!("avx2") && has!("fma");
    let wide = narrow && has!("avx512f");
    wide.then_some(Instructions::Avx512).or(narrow.then_some(Instructions::Avx2))
}

#[cfg(not(target_arch = "x86_64"))]
fn there() -> Option<Instructions> {
    None
}

/// The README's code is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
