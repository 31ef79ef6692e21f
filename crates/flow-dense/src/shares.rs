//! Sizes of a spline's bins by a softmax, and its way back.

use crate::lanes::{LINE, Lanes};
use crate::spline::SplineLaw;

/// Numbers of the widest vector.
pub(crate) const WIDEST: usize = LINE;

/// What a bin's share of the softmax is multiplied by, and what is added, to be its size.
pub(crate) fn sizes_of_shares(bins: usize) -> [f32; 2] {
    let (range, least) = (2.0 * SplineLaw::BOUND, SplineLaw::LEAST_SHARE);
    [(range * (1.0 - bins as f64 * least)) as f32, (range * least) as f32]
}

/// Of numbers that lie `each` apart; a vector of each goes to `to`, [`WIDEST`] apart.
///
/// # Safety
///
/// They are there, and the room is.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn softmax<V: Lanes>(from: *const f32, bins: usize, each: usize, some: usize, to: *mut f32) {
    unsafe {
        let mut most = V::load_first(from, some);
        for k in 1..bins {
            most = most.max_or(V::load_first(from.add(k * each), some));
        }
        let mut sum = V::splat(0.0);
        for k in 0..bins {
            let e = V::load_first(from.add(k * each), some).sub(most).exp();
            sum = sum.add(e);
            e.store(to.add(k * WIDEST));
        }
        let part = V::splat(1.0).div(sum);
        for k in 0..bins {
            V::load(to.add(k * WIDEST)).mul(part).store(to.add(k * WIDEST));
        }
    }
}

/// The way back through sizes of bins.
#[derive(Clone, Copy)]
pub(crate) struct Shares<V> {
    /// Number of bins.
    pub bins: usize,
    /// How far the gradients of one number's raw sizes lie apart.
    pub each: usize,
    /// How many numbers of a vector there are.
    pub some: usize,
    /// The bin that each number is in.
    pub index: V,
}

impl<V: Lanes> Shares<V> {
    /// The gradient with respect to the size of bin `k`: its own, and what is before it moves where it begins.
    ///
    /// # Safety
    ///
    /// The processor has what `V` needs.
    #[inline(always)]
    #[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
    unsafe fn of_size(&self, k: usize, of_bin: V, of_start: V) -> V {
        unsafe {
            let (zero, half) = (V::splat(0.0), V::splat(0.5));
            let at = self.index.sub(V::splat(k as f32));
            of_start.where_positive(at.sub(half), of_bin.where_positive(at.add(half), zero))
        }
    }

    /// Gradients of what the softmax was made of.
    ///
    /// # Safety
    ///
    /// The `shares` and the room are there.
    #[inline(always)]
    #[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
    pub(crate) unsafe fn back(&self, shares: *const f32, of_bin: V, of_start: V, to: *mut f32) {
        unsafe {
            let scale = V::splat(sizes_of_shares(self.bins)[0]);
            let mut mean = V::splat(0.0);
            for k in 0..self.bins {
                mean = V::load(shares.add(k * WIDEST)).mul_add(self.of_size(k, of_bin, of_start), mean);
            }
            for k in 0..self.bins {
                let own = self.of_size(k, of_bin, of_start).sub(mean).mul(scale);
                V::load(shares.add(k * WIDEST)).mul(own).store_first(to.add(k * self.each), self.some);
            }
        }
    }
}
