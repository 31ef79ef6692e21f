//! How the weights of a net of a few rows are stored, and read.

use std::ops::Range;

use crate::few::Product;
use crate::few_numbers::multiply_by;
use crate::lanes::{LINE, Lanes, with_lanes};
use crate::weight::{Bf16, Weight};

/// A number of a weight.
pub(crate) trait Stored: Copy + Default + Sync {
    /// Vectors that are read at a time.
    const VECTORS: usize;

    /// Writes some outputs of a product, by the best instructions that there are.
    ///
    /// # Safety
    ///
    /// The input has as many columns as the weight, and nobody else writes these outputs.
    unsafe fn multiply(weight: &Weight<Self>, product: &Product, own: Range<usize>);

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

    unsafe fn multiply(weight: &Weight<Self>, product: &Product, own: Range<usize>) {
        unsafe { multiply_f32(weight, product, own) }
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

    unsafe fn multiply(weight: &Weight<Self>, product: &Product, own: Range<usize>) {
        unsafe { multiply_bf16(weight, product, own) }
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
    unsafe fn multiply_f32(weight: &Weight<f32>, product: &Product, own: Range<usize>) = multiply_f32_by
}

/// # Safety
///
/// That of [`Stored::multiply`].
#[inline(always)]
unsafe fn multiply_f32_by<V: Lanes>(weight: &Weight<f32>, product: &Product, own: Range<usize>) {
    // SAFETY: the same contract.
    unsafe { multiply_by::<V, f32>(weight, product, own) }
}

with_lanes! {
    unsafe fn multiply_bf16(weight: &Weight<Bf16>, product: &Product, own: Range<usize>) = multiply_bf16_by
}

/// # Safety
///
/// That of [`Stored::multiply`].
#[inline(always)]
unsafe fn multiply_bf16_by<V: Lanes>(weight: &Weight<Bf16>, product: &Product, own: Range<usize>) {
    // SAFETY: the same contract.
    unsafe { multiply_by::<V, Bf16>(weight, product, own) }
}

/// The first `count`, and zeros.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `Stored::load_first`")]
unsafe fn first<N: Copy + Default>(from: *const N, count: usize) -> [N; 2 * LINE] {
    let mut first = [N::default(); 2 * LINE];
    unsafe { std::ptr::copy_nonoverlapping(from, first.as_mut_ptr(), count) }
    first
}
