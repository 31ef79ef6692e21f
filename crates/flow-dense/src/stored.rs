//! How the weights of a net of a few rows are stored, and read.

use std::ops::Range;

use crate::few::{Work, run_by};
use crate::lanes::{LINE, Lanes, with_lanes};
use crate::weight::Bf16;

/// A number of a weight.
pub(crate) trait Stored: Copy + Default + Sync {
    /// Vectors that are read at a time.
    const VECTORS: usize;

    /// Computes some outputs of a layer, by the best instructions that there are.
    ///
    /// # Safety
    ///
    /// Inputs and outputs are as many as the layer says, and nobody else writes these outputs.
    unsafe fn run(work: &Work<Self>, own: Range<usize>);

    /// So many vectors of weights, and a zero in place of the second where it is one.
    ///
    /// # Safety
    ///
    /// That of [`Lanes`].
    unsafe fn load<V: Lanes>(from: *const Self) -> [V; 2];

    /// What they are multiplied with, in the same order.
    ///
    /// # Safety
    ///
    /// That of [`Lanes`].
    unsafe fn load_input<V: Lanes>(from: *const f32) -> [V; 2];

    /// The first `count` weights, and zeros.
    ///
    /// # Safety
    ///
    /// So many are there.
    unsafe fn load_first<V: Lanes>(from: *const Self, count: usize) -> [V; 2];

    /// What they are multiplied with, in the same order.
    ///
    /// # Safety
    ///
    /// So many numbers are there.
    unsafe fn load_first_input<V: Lanes>(from: *const f32, count: usize) -> [V; 2];

    fn to_f32(self) -> f32;
}

// Every block: by the contract of the method that it is of.
#[allow(clippy::undocumented_unsafe_blocks, reason = "said once, above")]
impl Stored for f32 {
    const VECTORS: usize = 1;

    unsafe fn run(work: &Work<f32>, own: Range<usize>) {
        unsafe { run_f32(work, own) }
    }

    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const f32) -> [V; 2] {
        unsafe { [V::load(from), V::splat(0.0)] }
    }

    #[inline(always)]
    unsafe fn load_input<V: Lanes>(from: *const f32) -> [V; 2] {
        unsafe { Self::load(from) }
    }

    #[inline(always)]
    unsafe fn load_first<V: Lanes>(from: *const f32, count: usize) -> [V; 2] {
        unsafe { [V::load_first(from, count), V::splat(0.0)] }
    }

    #[inline(always)]
    unsafe fn load_first_input<V: Lanes>(from: *const f32, count: usize) -> [V; 2] {
        unsafe { Self::load_first(from, count) }
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

// Every block: by the contract of the method that it is of.
#[allow(clippy::undocumented_unsafe_blocks, reason = "said once, above")]
impl Stored for Bf16 {
    const VECTORS: usize = 2;

    unsafe fn run(work: &Work<Bf16>, own: Range<usize>) {
        unsafe { run_bf16(work, own) }
    }

    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const Bf16) -> [V; 2] {
        unsafe { V::load_bf16_apart(from) }
    }

    #[inline(always)]
    unsafe fn load_input<V: Lanes>(from: *const f32) -> [V; 2] {
        unsafe { V::load_apart(from) }
    }

    #[inline(always)]
    unsafe fn load_first<V: Lanes>(from: *const Bf16, count: usize) -> [V; 2] {
        unsafe { Self::load(first(from, count).as_ptr()) }
    }

    #[inline(always)]
    unsafe fn load_first_input<V: Lanes>(from: *const f32, count: usize) -> [V; 2] {
        unsafe { Self::load_input(first(from, count).as_ptr()) }
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        Bf16::to_f32(self)
    }
}

with_lanes! {
    unsafe fn run_f32(work: &Work<f32>, own: Range<usize>) = run_f32_by
}

/// # Safety
///
/// That of [`Stored::run`].
#[inline(always)]
unsafe fn run_f32_by<V: Lanes>(work: &Work<f32>, own: Range<usize>) {
    // SAFETY: the same contract.
    unsafe { run_by::<V, f32>(work, own) }
}

with_lanes! {
    unsafe fn run_bf16(work: &Work<Bf16>, own: Range<usize>) = run_bf16_by
}

/// # Safety
///
/// That of [`Stored::run`].
#[inline(always)]
unsafe fn run_bf16_by<V: Lanes>(work: &Work<Bf16>, own: Range<usize>) {
    // SAFETY: the same contract.
    unsafe { run_by::<V, Bf16>(work, own) }
}

/// The first `count`, and zeros.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `Stored::load_first`")]
unsafe fn first<N: Copy + Default>(from: *const N, count: usize) -> [N; 2 * LINE] {
    let mut first = [N::default(); 2 * LINE];
    unsafe { std::ptr::copy_nonoverlapping(from, first.as_mut_ptr(), count) }
    first
}
