//! Dense layers and convolutions on a processor, with what follows them, and Adam in the same pass over memory.
//!
//! A matrix product of a library ends in memory: the bias, the activation, the gradient's mask and the optimizer's step each
//! go through it again. Here they are done while a tile of the product is in registers, the step while some rows of the gradient
//! are in cache, and weights are read where they lie, as far as caches allow: [`forward`] is a layer, [`backward`] the way back through
//! it, [`gradient`] the gradient of its weight, or Adam's step by it, and that of its bias. Batches are held in [`Panels`].
//!
//! Images are held in [`Planes`], with zeros between them, so that a convolution ([`convolve`], [`convolve_back`],
//! [`filter_gradient`]) is made of the same tiles: its lines are planes that lie some places apart. Of a few rows, of which
//! nothing takes time but reading the weights, [`through_layers`] is a whole net; its weights can be held in bf16 or [`Packed`], which leaves
//! less to read.
//!
//! Maps that an image model has between its convolutions are a pass each, too: [`scale_channels`] and [`mix_channels`], and the
//! splines [`SplineLaw`] and [`SplineTable`].
//!
//! Factors of products can be rounded to bf16 ([`Rounding`]), which a processor with AMX multiplies many times as fast: blocks of a
//! product are its tiles then, and factors are laid out for them. Factors of f32 in three such parts each are multiplied as exactly as by
//! f32 itself, in half the time.
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
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod backward;
mod bf16;
mod bits;
mod blocks;
mod channels;
mod columns;
mod convolution;
mod curve;
mod elementwise;
mod factors;
mod few;
mod few_numbers;
mod few_packed;
mod filter_gradient;
mod forward;
mod gradient;
mod gradient_rounded;
mod grid;
mod instructions;
mod lanes;
mod large_pages;
mod packed;
mod panels;
mod planes;
mod planes_rounded;
mod pool;
mod rounded;
mod shares;
mod spline;
mod spline_table;
mod stored;
mod thin;
mod tile;
mod weight;

pub use adam::{Coefficients, adam_step};
pub use backward::{ThenBack, backward};
pub use channels::{ChannelScale, mix_channels, mix_channels_gradient, scale_channels, scale_channels_back};
pub use convolution::{Filters, ThenPlanes, convolve, convolve_back};
pub use elementwise::{exp, scale_and_shift, scale_and_shift_back, shift_and_scale};
pub use few::{Held, Layer, through_layers};
pub use filter_gradient::filter_gradient;
pub use forward::{Slope, Then, forward};
pub use gradient::{Destination, OfLayer, gradient};
pub use instructions::{Instructions, UnknownProducts, available, check_environment, instructions, rows_at_a_time};
pub use large_pages::ask_for_large_pages;
pub use packed::Packed;
pub use panels::{Panels, WHOLE_PANELS};
pub use planes::{Images, Planes};
pub use pool::{alone, in_parallel, in_team, in_turn, on_its_threads, share, within};
pub use rounded::{Rounding, multiplies_bf16};
pub use spline::{LogSlopeGradient, MOST_BINS, SplineLaw};
pub use spline_table::{SplineTable, SplineTableGradient};
pub use weight::{Bf16, Weight};

/// The README's code is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
