//! Adam's step of some numbers.

use crate::lanes::{Lanes, with_lanes};
use crate::{adam_plain, available};

/// What is the same for every number of one variable in one step of Adam (Kingma and Ba 2015, algorithm 1) with decoupled
/// weight decay (Loshchilov and Hutter 2019, algorithm 2), for the `t`-th step:
///
/// ```text
/// m = β1 m + (1 - β1) g,   v = β2 v + (1 - β2) g²
/// p = keep p - step_size m / (√v second_scale + ε)
/// ```
///
/// A moment that has decayed to nothing becomes 0: a processor takes a hundred times as long for numbers below the normal
/// ones, and 0.9 times the smallest of them rounds to itself.
#[derive(Debug, Clone, Copy)]
pub struct Coefficients {
    /// β1.
    pub beta1: f32,
    /// β2.
    pub beta2: f32,
    /// 1 - β1, taken before rounding.
    pub rest1: f32,
    /// 1 - β2, taken before rounding: as a difference of f32, 1 - 0.999 is off by 5e-5 of itself.
    pub rest2: f32,
    /// Factor on the gradient, below 1 where its norm was clipped.
    pub shorten: f32,
    /// rate / (1 - β1^t).
    pub step_size: f32,
    /// 1 / √(1 - β2^t).
    pub second_scale: f32,
    /// ε, what keeps the quotient finite.
    pub epsilon: f32,
    /// 1 - rate · decay.
    pub keep: f32,
}

/// First moments smaller than this are 0. Where a unit has died its weights' gradients are 0, and their moments would decay
/// to numbers below the normal ones, and stay there. Divided by an ε of 1e-8 this moves nothing that a parameter could hold,
/// and the products of it with any usual rate are still normal.
pub(crate) const FIRST_NOTHING: f32 = 1e-30;
/// Second moments smaller than this are 0: all that are not normal. Their root, 1e-19, is nothing beside ε.
pub(crate) const SECOND_NOTHING: f32 = f32::MIN_POSITIVE;

/// [`Coefficients`] as vectors.
#[derive(Clone, Copy)]
struct Wide<V> {
    beta1: V,
    beta2: V,
    rest1: V,
    rest2: V,
    step_size: V,
    second_scale: V,
    epsilon: V,
    keep: V,
    first_nothing: V,
    second_nothing: V,
}

impl<V: Lanes> Wide<V> {
    /// # Safety
    ///
    /// That of [`Lanes`].
    #[inline(always)]
    #[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
    unsafe fn new(c: &Coefficients) -> Self {
        unsafe {
            Wide {
                beta1: V::splat(c.beta1),
                beta2: V::splat(c.beta2),
                rest1: V::splat(c.rest1),
                rest2: V::splat(c.rest2),
                step_size: V::splat(c.step_size),
                second_scale: V::splat(c.second_scale),
                epsilon: V::splat(c.epsilon),
                keep: V::splat(c.keep),
                first_nothing: V::splat(FIRST_NOTHING),
                second_nothing: V::splat(SECOND_NOTHING),
            }
        }
    }

    /// The step of the first `count` (at most `V::LANES`) numbers from these places on, by a gradient that is shortened already.
    ///
    /// # Safety
    ///
    /// So many numbers are there.
    #[inline(always)]
    #[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
    unsafe fn step(&self, g: V, p: *mut f32, m: *mut f32, v: *mut f32, count: usize) {
        unsafe {
            if count == V::LANES {
                let (next, first, second) = self.stepped(g, V::load(p), V::load(m), V::load(v));
                next.store(p);
                first.store(m);
                second.store(v);
            } else {
                let [old, first, second] = [V::load_first(p, count), V::load_first(m, count), V::load_first(v, count)];
                let (next, first, second) = self.stepped(g, old, first, second);
                next.store_first(p, count);
                first.store_first(m, count);
                second.store_first(v, count);
            }
        }
    }

    /// Number and moments after the step.
    #[inline(always)]
    #[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract of `Lanes`")]
    unsafe fn stepped(&self, g: V, p: V, m: V, v: V) -> (V, V, V) {
        unsafe {
            let first = m.mul_add(self.beta1, g.mul(self.rest1)).flush(self.first_nothing);
            let second = g.mul(self.rest2).mul_add(g, v.mul(self.beta2));
            let (second, quotient) = second.root_quotient(self.second_nothing, self.second_scale, self.epsilon);
            let change = first.mul(self.step_size);
            (change.mul_sub_from(quotient, p.mul(self.keep)), first, second)
        }
    }
}

/// Numbers whose squares are added up as f32 before they are as f64.
pub(crate) const BLOCK: usize = 1 << 10;

/// The step of all numbers `p` with their gradients and both moments; returns Σ g², shortened. A block of 1024 whose
/// gradient is not finite is left as it is, so that a step which went wrong can be looked at.
///
/// # Panics
///
/// If there are not as many of all.
pub fn adam_step(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: &Coefficients) -> f64 {
    assert!([g.len(), m.len(), v.len()] == [p.len(); 3], "as many gradients and moments as numbers");
    let blocks = p.chunks_mut(BLOCK).zip(g.chunks(BLOCK)).zip(m.chunks_mut(BLOCK)).zip(v.chunks_mut(BLOCK));
    blocks
        .map(|(((p, g), m), v)| {
            if !available() {
                return f64::from(adam_plain::block(p, g, m, v, c));
            }
            // SAFETY: four slices of one length.
            f64::from(unsafe { block(p.as_mut_ptr(), g.as_ptr(), m.as_mut_ptr(), v.as_mut_ptr(), p.len(), c) })
        })
        .sum()
}

with_lanes! {
    unsafe fn block(p: *mut f32, g: *const f32, m: *mut f32, v: *mut f32, len: usize, c: &Coefficients) -> f32 = block_by
}

/// # Safety
///
/// `len` numbers are at each place.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
pub(crate) unsafe fn block_by<V: Lanes>(
    p: *mut f32,
    g: *const f32,
    m: *mut f32,
    v: *mut f32,
    len: usize,
    c: &Coefficients,
) -> f32 {
    unsafe {
        let (wide, shorten) = (Wide::<V>::new(c), V::splat(c.shorten));
        // Several sums, so that none waits for the one before.
        let mut sums = [V::splat(0.0); 4];
        let whole = len / (4 * V::LANES) * (4 * V::LANES);
        for at in (0..whole).step_by(4 * V::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                let g = V::load(g.add(at + i * V::LANES)).mul(shorten);
                *sum = g.mul_add(g, *sum);
            }
        }
        for (sum, at) in sums.iter_mut().zip((whole..len).step_by(V::LANES)) {
            let g = V::load_first(g.add(at), V::LANES.min(len - at)).mul(shorten);
            *sum = g.mul_add(g, *sum);
        }
        let squares = sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum();
        if squares.is_finite() {
            for at in (0..len).step_by(V::LANES) {
                let count = V::LANES.min(len - at);
                let g = V::load_first(g.add(at), count).mul(shorten);
                wide.step(g, p.add(at), m.add(at), v.add(at), count);
            }
        }
        squares
    }
}
