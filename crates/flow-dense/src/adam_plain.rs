//! Adam's step by a plain loop, which compilers make vectors of: for processors without AVX2, and where it is denied.

use crate::adam::{Coefficients, FIRST_NOTHING, SECOND_NOTHING};

/// Returns Σ g², shortened; a block whose gradient is not finite is left as it is.
pub(crate) fn block(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: &Coefficients) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the features it is compiled for were just found.
        return unsafe { block_avx2(p, g, m, v, c) };
    }
    block_anywhere(p, g, m, v, c)
}

/// The same loop, compiled for vectors of 8.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn block_avx2(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: &Coefficients) -> f32 {
    block_anywhere(p, g, m, v, c)
}

#[inline(always)]
fn block_anywhere(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: &Coefficients) -> f32 {
    let squares = sum_of_squares(g, c.shorten);
    if squares.is_finite() {
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * c.shorten;
            *m = flushed(c.beta1 * *m + c.rest1 * g, FIRST_NOTHING);
            *v = flushed(c.beta2 * *v + c.rest2 * g * g, SECOND_NOTHING);
            *p = c.keep * *p - c.step_size * *m / (v.sqrt() * c.second_scale + c.epsilon);
        }
    }
    squares
}

/// `x`, or 0 where it is smaller than `nothing`; a comparison and a mask, so that vectors stay vectors.
#[inline(always)]
fn flushed(x: f32, nothing: f32) -> f32 {
    if x.abs() < nothing { 0.0 } else { x }
}

/// Sums that are kept side by side, so that vectors can be.
const LANES: usize = 16;

#[inline(always)]
fn sum_of_squares(g: &[f32], shorten: f32) -> f32 {
    let mut sums = [0.0; LANES];
    for g in g.chunks(LANES) {
        for (g, sum) in g.iter().zip(&mut sums) {
            let g = g * shorten;
            *sum += g * g;
        }
    }
    sums.iter().sum()
}
