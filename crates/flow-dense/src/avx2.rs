//! [`Lanes`] by AVX2 and FMA.

use std::arch::x86_64::*;

use crate::lanes::{BELOW_HALF, LN, LN_2, Lanes, QUIET, ROOT_HALF, UPPER_HALF};
use crate::weight::Bf16;

/// A register of eight numbers.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(pub(crate) __m256);

/// All bits of the lowest `count` numbers.
#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    const ENDS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: eight of sixteen numbers, `count` being at most eight.
    unsafe { _mm256_loadu_si256(ENDS.as_ptr().add(8 - count).cast()) }
}

/// Rounds to whole numbers, the nearest, ties to even, and tells nobody.
const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// All bits but the sign.
const MAGNITUDE: i32 = i32::MAX;

#[inline(always)]
unsafe fn magnitude(x: __m256) -> __m256 {
    // SAFETY: by the contract of `Lanes`.
    unsafe { _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(MAGNITUDE))) }
}

impl Avx2 {
    /// Bits whose upper half is that of the nearest number that has no lower one, ties to even.
    #[inline(always)]
    #[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract of `Lanes`")]
    unsafe fn nearest(self) -> __m256i {
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let last = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let up = _mm256_add_epi32(bits, _mm256_add_epi32(last, _mm256_set1_epi32(BELOW_HALF)));
            let none = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
            _mm256_blendv_epi8(up, _mm256_or_si256(bits, _mm256_set1_epi32(QUIET)), none)
        }
    }
}

// Every block: the instruction is one of AVX2's or FMA's, which the processor has by the contract of `Lanes`, and what is read and
// written is there by the same.
#[allow(clippy::undocumented_unsafe_blocks, reason = "said once, above")]
impl Lanes for Avx2 {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    type Square = [Self; 8];

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Avx2(_mm256_set1_ps(x)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Avx2(_mm256_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn load_apart(from: *const f32) -> [Self; 2] {
        unsafe {
            // Quarters, so that each half of a register has its own after numbers are chosen within halves.
            let quarters = |i: usize| _mm256_loadu2_m128(from.add(i + 8), from.add(i));
            let (low, high) = (quarters(0), quarters(4));
            [Avx2(_mm256_shuffle_ps::<0x88>(low, high)), Avx2(_mm256_shuffle_ps::<0xdd>(low, high))]
        }
    }

    #[inline(always)]
    unsafe fn load_bf16_apart(from: *const Bf16) -> [Self; 2] {
        unsafe {
            let pairs = _mm256_loadu_si256(from.cast());
            let even = _mm256_slli_epi32::<16>(pairs);
            let odd = _mm256_and_si256(pairs, _mm256_set1_epi32(UPPER_HALF));
            [even, odd].map(|numbers| Avx2(_mm256_castsi256_ps(numbers)))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn rounded(self) -> Self {
        unsafe {
            let upper = _mm256_and_si256(self.nearest(), _mm256_set1_epi32(UPPER_HALF));
            Avx2(_mm256_castsi256_ps(upper))
        }
    }

    #[inline(always)]
    unsafe fn upper_halves(low: Self, high: Self) -> Self {
        unsafe {
            let [low, high] = [low, high].map(|x| _mm256_srli_epi32::<16>(_mm256_castps_si256(x.0)));
            // Packing takes halves of registers in turn.
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high));
            Avx2(_mm256_castsi256_ps(packed))
        }
    }

    #[inline(always)]
    unsafe fn upper_pairs(even: Self, odd: Self) -> Self {
        unsafe {
            let even = _mm256_srli_epi32::<16>(_mm256_castps_si256(even.0));
            let odd = _mm256_and_si256(_mm256_castps_si256(odd.0), _mm256_set1_epi32(UPPER_HALF));
            Avx2(_mm256_castsi256_ps(_mm256_or_si256(even, odd)))
        }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        unsafe { if count == Self::LANES { Self::load(from) } else { Avx2(_mm256_maskload_ps(from, first(count))) } }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        unsafe {
            // With a mask a store is tens of steps on AMD's processors.
            if count == Self::LANES { self.store(to) } else { _mm256_maskstore_ps(to, first(count), self.0) }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Avx2(_mm256_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Avx2(_mm256_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Avx2(_mm256_div_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn root(self) -> Self {
        unsafe { Avx2(_mm256_sqrt_ps(self.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, times: Self, plus: Self) -> Self {
        unsafe { Avx2(_mm256_fmadd_ps(self.0, times.0, plus.0)) }
    }

    #[inline(always)]
    unsafe fn mul_sub_from(self, times: Self, plus: Self) -> Self {
        unsafe { Avx2(_mm256_fnmadd_ps(self.0, times.0, plus.0)) }
    }

    #[inline(always)]
    unsafe fn max_or(self, other: Self) -> Self {
        unsafe { Avx2(_mm256_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn where_positive(self, sign: Self, otherwise: Self) -> Self {
        unsafe {
            let positive = _mm256_cmp_ps::<_CMP_GT_OQ>(sign.0, _mm256_setzero_ps());
            Avx2(_mm256_blendv_ps(otherwise.0, self.0, positive))
        }
    }

    #[inline(always)]
    unsafe fn masked(self, mask: u16) -> Self {
        unsafe {
            let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let some = _mm256_and_si256(_mm256_set1_epi32(i32::from(mask)), bits);
            Avx2(_mm256_and_ps(self.0, _mm256_castsi256_ps(_mm256_cmpeq_epi32(some, bits))))
        }
    }

    #[inline(always)]
    unsafe fn flush(self, limit: Self) -> Self {
        unsafe {
            // What is not a number is kept.
            let some = _mm256_cmp_ps::<_CMP_NLT_UQ>(magnitude(self.0), limit.0);
            Avx2(_mm256_and_ps(self.0, some))
        }
    }

    /// In full: memory takes longer, and the approximations that AVX2 has are good to 12 bits only.
    #[inline(always)]
    unsafe fn root_quotient(self, limit: Self, scale: Self, epsilon: Self) -> (Self, Self) {
        unsafe {
            // Also where it is not a number.
            let some = _mm256_cmp_ps::<_CMP_NLT_UQ>(self.0, limit.0);
            let x = _mm256_and_ps(self.0, some);
            let d = _mm256_fmadd_ps(_mm256_sqrt_ps(x), scale.0, epsilon.0);
            (Avx2(x), Avx2(_mm256_div_ps(_mm256_set1_ps(1.0), d)))
        }
    }

    /// By `2ⁿ exp r` with `|r| ≤ ln 2 / 2`, and the series of `exp r` to the seventh power.
    #[inline(always)]
    unsafe fn exp(self) -> Self {
        unsafe {
            // What is not a number is kept by both, the second being it.
            let x = _mm256_min_ps(_mm256_set1_ps(90.0), self.0);
            let x = _mm256_max_ps(_mm256_set1_ps(-105.0), x);
            let n = _mm256_round_ps::<NEAREST>(_mm256_mul_ps(x, _mm256_set1_ps(std::f32::consts::LOG2_E)));
            let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2[0]), x);
            let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2[1]), r);
            let mut series = _mm256_set1_ps(1.0 / 5040.0);
            for power in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
                series = _mm256_fmadd_ps(series, r, _mm256_set1_ps(1.0 / power));
            }
            // A power of two by the bits of its exponent, in two factors, for 2^130 and 2^-151 are none of f32's.
            let n = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(n);
            let power = |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))));
            let series = _mm256_mul_ps(series, power(half));
            Avx2(_mm256_mul_ps(series, power(_mm256_sub_epi32(n, half))))
        }
    }

    /// Below 0.625 by an odd polynomial, which keeps the digits of small numbers (Cephes' `tanhf`); above by an exponential.
    #[inline(always)]
    unsafe fn tanh(self) -> Self {
        unsafe {
            let x = self.0;
            let size = magnitude(x);
            let e = Avx2(_mm256_add_ps(size, size)).exp().0;
            let one = _mm256_set1_ps(1.0);
            let large = _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2.0), _mm256_add_ps(e, one)));
            let large = _mm256_or_ps(large, _mm256_and_ps(x, _mm256_set1_ps(-0.0)));
            let square = _mm256_mul_ps(x, x);
            let mut series = _mm256_set1_ps(-5.704_988_7e-3);
            for coefficient in [2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328e-1] {
                series = _mm256_fmadd_ps(series, square, _mm256_set1_ps(coefficient));
            }
            let small = _mm256_fmadd_ps(_mm256_mul_ps(series, square), x, x);
            let is_small = _mm256_cmp_ps::<_CMP_LT_OQ>(size, _mm256_set1_ps(0.625));
            Avx2(_mm256_blendv_ps(large, small, is_small))
        }
    }

    /// By `x = 2ⁿ m` with m from √½ to √2, and the series of `ln m`.
    #[inline(always)]
    unsafe fn ln(self) -> Self {
        unsafe {
            let x = self.0;
            let bits = _mm256_castps_si256(x);
            let n = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(ROOT_HALF)));
            let m = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(n)));
            let (n, f) = (_mm256_cvtepi32_ps(n), _mm256_sub_ps(m, _mm256_set1_ps(1.0)));
            let square = _mm256_mul_ps(f, f);
            let mut series = _mm256_set1_ps(LN[0]);
            for coefficient in &LN[1..] {
                series = _mm256_fmadd_ps(series, f, _mm256_set1_ps(*coefficient));
            }
            let series = _mm256_mul_ps(_mm256_mul_ps(series, f), square);
            let series = _mm256_fmadd_ps(n, _mm256_set1_ps(LN_2[1]), series);
            let series = _mm256_fnmadd_ps(square, _mm256_set1_ps(0.5), series);
            let ln = _mm256_fmadd_ps(n, _mm256_set1_ps(LN_2[0]), _mm256_add_ps(f, series));
            // What is infinite or no number is itself; then what has no logarithm.
            let (zero, infinity) = (_mm256_setzero_ps(), _mm256_set1_ps(f32::INFINITY));
            let ln = _mm256_blendv_ps(ln, x, _mm256_cmp_ps::<_CMP_NLT_UQ>(x, infinity));
            let small = _mm256_set1_ps(f32::MIN_POSITIVE);
            let ln = _mm256_blendv_ps(ln, _mm256_set1_ps(f32::NEG_INFINITY), _mm256_cmp_ps::<_CMP_LT_OQ>(x, small));
            Avx2(_mm256_blendv_ps(ln, _mm256_set1_ps(f32::NAN), _mm256_cmp_ps::<_CMP_LT_OQ>(x, zero)))
        }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe {
            let quarters = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let pairs = _mm_add_ps(quarters, _mm_movehl_ps(quarters, quarters));
            _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
        }
    }

    #[inline(always)]
    unsafe fn some_is_none(self) -> bool {
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0)) != 0 }
    }

    #[inline(always)]
    unsafe fn zeros() -> Self::Square {
        unsafe { [Self::splat(0.0); 8] }
    }

    #[inline(always)]
    unsafe fn transposed(rows: Self::Square) -> Self::Square {
        unsafe {
            let mut a = rows;
            // Pairs of rows, then of pairs, within halves of registers.
            for i in (0..8).step_by(2) {
                let (x, y) = (rows[i].0, rows[i + 1].0);
                a[i] = Avx2(_mm256_unpacklo_ps(x, y));
                a[i + 1] = Avx2(_mm256_unpackhi_ps(x, y));
            }
            let mut b = a;
            for i in (0..8).step_by(4) {
                for half in 0..2 {
                    let (x, y) = (_mm256_castps_pd(a[i + half].0), _mm256_castps_pd(a[i + half + 2].0));
                    b[i + 2 * half] = Avx2(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)));
                    b[i + 2 * half + 1] = Avx2(_mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
                }
            }
            // Then halves of registers among the two groups of rows.
            let mut c = b;
            for i in 0..4 {
                let (x, y) = (b[i].0, b[i + 4].0);
                c[i] = Avx2(_mm256_permute2f128_ps::<0x20>(x, y));
                c[i + 4] = Avx2(_mm256_permute2f128_ps::<0x31>(x, y));
            }
            c
        }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn prefetch_to_write(at: *mut f32) {
        unsafe { std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly)) }
    }
}
