//! Exponentials of many numbers, and the scale and shift of an affine coupling.

use crate::lanes::{Lanes, with_lanes};

/// `exp x` of each, to a few units in the last place.
pub fn exp(numbers: &mut [f32]) {
    // SAFETY: as many numbers as there are.
    unsafe { exp_of(numbers.as_mut_ptr(), numbers.len()) }
}

with_lanes! {
    unsafe fn exp_of(numbers: *mut f32, count: usize) = exp_of_by
}

/// # Safety
///
/// So many numbers are there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn exp_of_by<V: Lanes>(numbers: *mut f32, count: usize) {
    for i in (0..count).step_by(V::LANES) {
        let some = V::LANES.min(count - i);
        unsafe { V::load_first(numbers.add(i), some).exp().store_first(numbers.add(i), some) }
    }
}

/// `x exp(s) + shift` with `s = bound tanh(raw)` times the number's own of `bounds`, where there are such; returns Σ s.
///
/// # Panics
///
/// If there are not as many of each.
pub fn scale_and_shift(x: &mut [f32], raw: &[f32], shift: &[f32], bound: f32, bounds: Option<&[f32]>) -> f64 {
    let work = Work::new(x, raw, shift, bound, bounds);
    // SAFETY: as many of each, which was compared.
    f64::from(unsafe { forward(&work) })
}

/// The inverse, `(x - shift) exp(-s)`; returns Σ -s.
///
/// # Panics
///
/// If there are not as many of each.
pub fn shift_and_scale(x: &mut [f32], raw: &[f32], shift: &[f32], bound: f32, bounds: Option<&[f32]>) -> f64 {
    let work = Work::new(x, raw, shift, bound, bounds);
    // SAFETY: as many of each, which was compared.
    f64::from(unsafe { inverse(&work) })
}

/// The way back through [`scale_and_shift`] of a row: `grad` is that with respect to the result and becomes that with respect to `x`,
/// `raw` becomes that with respect to itself; with respect to `shift` it is `grad` as it was. `grad_log_det` is that with
/// respect to Σ s. That of each bound is added to `grad_bounds`, where there are such.
///
/// ```text
/// g_x = g exp(s),   g_s = g_x x + g_log_det,   g_raw = g_s bound (1 - tanh²),   g_bound = g_s tanh
/// ```
///
/// # Panics
///
/// If there are not as many of each.
pub fn scale_and_shift_back(
    grad: &mut [f32],
    raw: &mut [f32],
    x: &[f32],
    grad_log_det: f32,
    bound: f32,
    bounds: Option<(&[f32], &mut [f32])>,
) {
    let count = grad.len();
    let fits = [x.len(), raw.len()] == [count; 2];
    let fits = fits && bounds.as_ref().is_none_or(|(bounds, grads)| [bounds.len(), grads.len()] == [count; 2]);
    assert!(fits, "{count} gradients of {} numbers, {} scales", x.len(), raw.len());
    let work = Back {
        grad: grad.as_mut_ptr(),
        raw: raw.as_mut_ptr(),
        x: x.as_ptr(),
        grad_log_det,
        bound,
        bounds: bounds.map(|(bounds, grads)| (bounds.as_ptr(), grads.as_mut_ptr())),
        count,
    };
    // SAFETY: as many of each, which was compared.
    unsafe { back(&work) }
}

struct Back {
    grad: *mut f32,
    raw: *mut f32,
    x: *const f32,
    grad_log_det: f32,
    bound: f32,
    bounds: Option<(*const f32, *mut f32)>,
    count: usize,
}

with_lanes! {
    unsafe fn back(work: &Back) = back_by
}

/// # Safety
///
/// The pointers are to as many numbers as `work` says.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn back_by<V: Lanes>(work: &Back) {
    for i in (0..work.count).step_by(V::LANES) {
        let some = V::LANES.min(work.count - i);
        unsafe {
            let tanh = V::load_first(work.raw.add(i), some).tanh();
            let mut bound = V::splat(work.bound);
            if let Some((bounds, _)) = work.bounds {
                bound = bound.mul(V::load_first(bounds.add(i), some));
            }
            let grad = V::load_first(work.grad.add(i), some).mul(bound.mul(tanh).exp());
            grad.store_first(work.grad.add(i), some);
            let grad_s = grad.mul_add(V::load_first(work.x.add(i), some), V::splat(work.grad_log_det));
            let slope = tanh.mul_sub_from(tanh, V::splat(1.0));
            grad_s.mul(bound).mul(slope).store_first(work.raw.add(i), some);
            if let Some((_, grads)) = work.bounds {
                let before = V::load_first(grads.add(i), some);
                grad_s.mul(V::splat(work.bound)).mul_add(tanh, before).store_first(grads.add(i), some);
            }
        }
    }
}

struct Work {
    x: *mut f32,
    raw: *const f32,
    shift: *const f32,
    bound: f32,
    bounds: Option<*const f32>,
    count: usize,
}

impl Work {
    fn new(x: &mut [f32], raw: &[f32], shift: &[f32], bound: f32, bounds: Option<&[f32]>) -> Self {
        let count = x.len();
        let fits = raw.len() == count && shift.len() == count && bounds.is_none_or(|bounds| bounds.len() == count);
        assert!(fits, "{count} numbers, {} scales, {} shifts", raw.len(), shift.len());
        Work {
            x: x.as_mut_ptr(),
            raw: raw.as_ptr(),
            shift: shift.as_ptr(),
            bound,
            bounds: bounds.map(<[f32]>::as_ptr),
            count,
        }
    }
}

with_lanes! {
    unsafe fn forward(work: &Work) -> f32 = forward_by
}

with_lanes! {
    unsafe fn inverse(work: &Work) -> f32 = inverse_by
}

/// # Safety
///
/// The pointers are to as many numbers as `work` says.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn forward_by<V: Lanes>(work: &Work) -> f32 {
    unsafe {
        let mut sum = V::splat(0.0);
        for i in (0..work.count).step_by(V::LANES) {
            let some = V::LANES.min(work.count - i);
            let log_s = log_scale::<V>(work, i, some);
            sum = sum.add(log_s);
            let x = V::load_first(work.x.add(i), some);
            x.mul_add(log_s.exp(), V::load_first(work.shift.add(i), some)).store_first(work.x.add(i), some);
        }
        sum.sum()
    }
}

/// # Safety
///
/// As [`forward_by`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn inverse_by<V: Lanes>(work: &Work) -> f32 {
    unsafe {
        let minus = V::splat(-1.0);
        let mut sum = V::splat(0.0);
        for i in (0..work.count).step_by(V::LANES) {
            let some = V::LANES.min(work.count - i);
            let log_s = log_scale::<V>(work, i, some).mul(minus);
            sum = sum.add(log_s);
            let x = V::load_first(work.shift.add(i), some).mul_add(minus, V::load_first(work.x.add(i), some));
            x.mul(log_s.exp()).store_first(work.x.add(i), some);
        }
        sum.sum()
    }
}

/// The logarithms of some scales, and zeros.
///
/// # Safety
///
/// As [`forward_by`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn log_scale<V: Lanes>(work: &Work, i: usize, some: usize) -> V {
    unsafe {
        let log_s = V::load_first(work.raw.add(i), some).tanh().mul(V::splat(work.bound));
        match work.bounds {
            None => log_s,
            Some(bounds) => log_s.mul(V::load_first(bounds.add(i), some)),
        }
    }
}
