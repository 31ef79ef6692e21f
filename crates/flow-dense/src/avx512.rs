//! [`Lanes`] by AVX-512.

use std::arch::x86_64::*;

use crate::avx2::Avx2;
use crate::lanes::{BELOW_HALF, LN, LN_2, Lanes, QUIET, ROOT_HALF, UPPER_HALF};
use crate::weight::Bf16;

/// A register of sixteen numbers.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(pub(crate) __m512);

/// The lowest `count` bits.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

/// Rounds to whole numbers, the nearest, ties to even, and tells nobody.
const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// Where the upper halves of the numbers of two vectors are.
const UPPER_HALVES: [i16; 32] = {
    let mut places = [0; 32];
    let mut i = 0;
    while i < 32 {
        places[i] = 2 * i as i16 + 1;
        i += 1;
    }
    places
};

impl Avx512 {
    /// Bits whose upper half is that of the nearest number that has no lower one, ties to even.
    #[inline(always)]
    #[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract of `Lanes`")]
    unsafe fn nearest(self) -> __m512i {
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let last = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let up = _mm512_add_epi32(bits, _mm512_add_epi32(last, _mm512_set1_epi32(BELOW_HALF)));
            let none = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            _mm512_mask_or_epi32(up, none, bits, _mm512_set1_epi32(QUIET))
        }
    }
}

// Every block: the instruction is one of AVX-512's, which the processor has by the contract of `Lanes`, and what is read and
// written is there by the same.
#[allow(clippy::undocumented_unsafe_blocks, reason = "said once, above")]
impl Lanes for Avx512 {
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    type Square = [Self; 16];

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Avx512(_mm512_set1_ps(x)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Avx512(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn load_apart(from: *const f32) -> [Self; 2] {
        const EVEN: [i32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
        unsafe {
            let (low, high) = (_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16)));
            let even = _mm512_loadu_si512(EVEN.as_ptr().cast());
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            [even, odd].map(|places| Avx512(_mm512_permutex2var_ps(low, places, high)))
        }
    }

    #[inline(always)]
    unsafe fn load_bf16_apart(from: *const Bf16) -> [Self; 2] {
        unsafe {
            let pairs = _mm512_loadu_si512(from.cast());
            let even = _mm512_slli_epi32::<16>(pairs);
            let odd = _mm512_and_si512(pairs, _mm512_set1_epi32(UPPER_HALF));
            [even, odd].map(|numbers| Avx512(_mm512_castsi512_ps(numbers)))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn rounded(self) -> Self {
        unsafe {
            let upper = _mm512_and_si512(self.nearest(), _mm512_set1_epi32(UPPER_HALF));
            Avx512(_mm512_castsi512_ps(upper))
        }
    }

    /// Ties go away from 0, which is quicker and leaves the sum what it is.
    #[inline(always)]
    unsafe fn parts(self) -> [Self; 3] {
        unsafe {
            let upper = |x: __m512| {
                let bits = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(BELOW_HALF + 1));
                _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(UPPER_HALF)))
            };
            let first = upper(self.0);
            let rest = _mm512_sub_ps(self.0, first);
            let second = upper(rest);
            [first, second, _mm512_sub_ps(rest, second)].map(Avx512)
        }
    }

    #[inline(always)]
    unsafe fn upper_halves(low: Self, high: Self) -> Self {
        unsafe {
            let places = _mm512_loadu_si512(UPPER_HALVES.as_ptr().cast());
            let (low, high) = (_mm512_castps_si512(low.0), _mm512_castps_si512(high.0));
            Avx512(_mm512_castsi512_ps(_mm512_permutex2var_epi16(low, places, high)))
        }
    }

    #[inline(always)]
    unsafe fn upper_pairs(even: Self, odd: Self) -> Self {
        unsafe {
            let even = _mm512_srli_epi32::<16>(_mm512_castps_si512(even.0));
            let odd = _mm512_and_si512(_mm512_castps_si512(odd.0), _mm512_set1_epi32(UPPER_HALF));
            Avx512(_mm512_castsi512_ps(_mm512_or_si512(even, odd)))
        }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        unsafe { Avx512(_mm512_maskz_loadu_ps(first(count), from)) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(count), self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Avx512(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Avx512(_mm512_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Avx512(_mm512_div_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn root(self) -> Self {
        unsafe { Avx512(_mm512_sqrt_ps(self.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, times: Self, plus: Self) -> Self {
        unsafe { Avx512(_mm512_fmadd_ps(self.0, times.0, plus.0)) }
    }

    #[inline(always)]
    unsafe fn mul_sub_from(self, times: Self, plus: Self) -> Self {
        unsafe { Avx512(_mm512_fnmadd_ps(self.0, times.0, plus.0)) }
    }

    #[inline(always)]
    unsafe fn max_or(self, other: Self) -> Self {
        unsafe { Avx512(_mm512_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn where_positive(self, sign: Self, otherwise: Self) -> Self {
        unsafe {
            let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(sign.0, _mm512_setzero_ps());
            Avx512(_mm512_mask_mov_ps(otherwise.0, positive, self.0))
        }
    }

    #[inline(always)]
    unsafe fn masked(self, mask: u16) -> Self {
        unsafe { Avx512(_mm512_maskz_mov_ps(mask, self.0)) }
    }

    #[inline(always)]
    unsafe fn flush(self, limit: Self) -> Self {
        unsafe {
            // What is not a number is kept.
            let small = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(self.0), limit.0);
            Avx512(_mm512_mask_mov_ps(self.0, small, _mm512_setzero_ps()))
        }
    }

    /// By the approximations to 14 bits and a step of Newton's each: root and quotient in full have a unit of their own that
    /// takes three times as long.
    #[inline(always)]
    unsafe fn root_quotient(self, limit: Self, scale: Self, epsilon: Self) -> (Self, Self) {
        unsafe {
            let x = self.0;
            // Also where it is not a number.
            let some = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, limit.0);
            // r = r (3/2 - x/2 r²)
            let r = _mm512_rsqrt14_ps(x);
            let halved = _mm512_mul_ps(x, _mm512_set1_ps(0.5));
            let r = _mm512_mul_ps(r, _mm512_fnmadd_ps(_mm512_mul_ps(halved, r), r, _mm512_set1_ps(1.5)));
            // The root of 0 would be 0 times infinity.
            let root = _mm512_maskz_mul_ps(some, x, r);
            let d = _mm512_fmadd_ps(root, scale.0, epsilon.0);
            // q = q (2 - d q)
            let q = _mm512_rcp14_ps(d);
            let q = _mm512_mul_ps(q, _mm512_fnmadd_ps(d, q, _mm512_set1_ps(2.0)));
            (Avx512(_mm512_maskz_mov_ps(some, x)), Avx512(q))
        }
    }

    /// By `2ⁿ exp r` with `|r| ≤ ln 2 / 2`, and the series of `exp r` to the seventh power.
    #[inline(always)]
    unsafe fn exp(self) -> Self {
        unsafe {
            // What is not a number is kept by both, the second being it.
            let x = _mm512_min_ps(_mm512_set1_ps(90.0), self.0);
            let x = _mm512_max_ps(_mm512_set1_ps(-105.0), x);
            let n = _mm512_roundscale_ps::<NEAREST>(_mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E)));
            let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2[0]), x);
            let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2[1]), r);
            let mut series = _mm512_set1_ps(1.0 / 5040.0);
            for power in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
                series = _mm512_fmadd_ps(series, r, _mm512_set1_ps(1.0 / power));
            }
            Avx512(_mm512_scalef_ps(series, n))
        }
    }

    /// Below 0.625 by an odd polynomial, which keeps the digits of small numbers (Cephes' `tanhf`); above by an exponential.
    #[inline(always)]
    unsafe fn tanh(self) -> Self {
        unsafe {
            let x = self.0;
            let size = _mm512_abs_ps(x);
            let e = Avx512(_mm512_add_ps(size, size)).exp().0;
            let one = _mm512_set1_ps(1.0);
            let large = _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0), _mm512_add_ps(e, one)));
            let sign = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(i32::MIN));
            let large = _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(large), sign));
            let square = _mm512_mul_ps(x, x);
            let mut series = _mm512_set1_ps(-5.704_988_7e-3);
            for coefficient in [2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328e-1] {
                series = _mm512_fmadd_ps(series, square, _mm512_set1_ps(coefficient));
            }
            let small = _mm512_fmadd_ps(_mm512_mul_ps(series, square), x, x);
            let is_small = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(size, _mm512_set1_ps(0.625));
            Avx512(_mm512_mask_mov_ps(large, is_small, small))
        }
    }

    /// By `x = 2ⁿ m` with m from √½ to √2, and the series of `ln m`.
    #[inline(always)]
    unsafe fn ln(self) -> Self {
        unsafe {
            let x = self.0;
            let bits = _mm512_castps_si512(x);
            let n = _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(ROOT_HALF)));
            let m = _mm512_castsi512_ps(_mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(n)));
            let (n, f) = (_mm512_cvtepi32_ps(n), _mm512_sub_ps(m, _mm512_set1_ps(1.0)));
            let square = _mm512_mul_ps(f, f);
            let mut series = _mm512_set1_ps(LN[0]);
            for coefficient in &LN[1..] {
                series = _mm512_fmadd_ps(series, f, _mm512_set1_ps(*coefficient));
            }
            let series = _mm512_mul_ps(_mm512_mul_ps(series, f), square);
            let series = _mm512_fmadd_ps(n, _mm512_set1_ps(LN_2[1]), series);
            let series = _mm512_fnmadd_ps(square, _mm512_set1_ps(0.5), series);
            let ln = _mm512_fmadd_ps(n, _mm512_set1_ps(LN_2[0]), _mm512_add_ps(f, series));
            // What is infinite or no number is itself; then what has no logarithm.
            let (zero, infinity) = (_mm512_setzero_ps(), _mm512_set1_ps(f32::INFINITY));
            let ln = _mm512_mask_mov_ps(ln, _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, infinity), x);
            let small = _mm512_set1_ps(f32::MIN_POSITIVE);
            let ln =
                _mm512_mask_mov_ps(ln, _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, small), _mm512_set1_ps(f32::NEG_INFINITY));
            Avx512(_mm512_mask_mov_ps(ln, _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, zero), _mm512_set1_ps(f32::NAN)))
        }
    }

    /// In steps: the standard library's function for it is not inlined.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe {
            let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0)));
            Avx2(_mm256_add_ps(_mm512_castps512_ps256(self.0), upper)).sum()
        }
    }

    #[inline(always)]
    unsafe fn some_is_none(self) -> bool {
        unsafe { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0) != 0 }
    }

    #[inline(always)]
    unsafe fn zeros() -> Self::Square {
        unsafe { [Self::splat(0.0); 16] }
    }

    #[inline(always)]
    unsafe fn transposed(rows: Self::Square) -> Self::Square {
        unsafe {
            let mut a = rows;
            // Pairs of rows, then of pairs, within quarters of registers.
            for i in (0..16).step_by(2) {
                let (x, y) = (rows[i].0, rows[i + 1].0);
                a[i] = Avx512(_mm512_unpacklo_ps(x, y));
                a[i + 1] = Avx512(_mm512_unpackhi_ps(x, y));
            }
            let mut b = a;
            for i in (0..16).step_by(4) {
                for half in 0..2 {
                    let x = _mm512_castps_pd(a[i + half].0);
                    let y = _mm512_castps_pd(a[i + half + 2].0);
                    b[i + 2 * half] = Avx512(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)));
                    b[i + 2 * half + 1] = Avx512(_mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
                }
            }
            // Then quarters of registers among the four groups of rows.
            let mut c = b;
            for i in 0..4 {
                let [w, x, y, z] = [b[i].0, b[i + 4].0, b[i + 8].0, b[i + 12].0];
                let (even, odd) = (_mm512_shuffle_f32x4::<0x88>(w, x), _mm512_shuffle_f32x4::<0xdd>(w, x));
                let (even2, odd2) = (_mm512_shuffle_f32x4::<0x88>(y, z), _mm512_shuffle_f32x4::<0xdd>(y, z));
                c[i] = Avx512(_mm512_shuffle_f32x4::<0x88>(even, even2));
                c[i + 4] = Avx512(_mm512_shuffle_f32x4::<0x88>(odd, odd2));
                c[i + 8] = Avx512(_mm512_shuffle_f32x4::<0xdd>(even, even2));
                c[i + 12] = Avx512(_mm512_shuffle_f32x4::<0xdd>(odd, odd2));
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
