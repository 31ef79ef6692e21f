//! What vectors do with the bits of their numbers to unpack weights.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
use crate::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use crate::avx512::Avx512;
use crate::lanes::{Lanes, Portable};

/// The sign of a number.
pub(crate) const SIGN: u32 = 1 << 31;

/// Vectors of bits. Its methods are safe where those of [`Lanes`] are.
pub(crate) trait Bits: Lanes {
    /// These bits, but `pieces` of them from `other`, turned left by four.
    unsafe fn gather(self, other: Self, pieces: u32) -> Self;
    /// The lower half of each number's bits in place of the upper one.
    unsafe fn lower_halves(self) -> Self;
    /// The bits of `fields` and those of `base`; 0 where none of the former is set but for the sign.
    unsafe fn unpacked(self, fields: u32, base: u32) -> Self;
    /// The sum of each of eight vectors.
    unsafe fn sums(vectors: [Self; 8]) -> [f32; 8];
}

impl Bits for Portable {
    #[inline(always)]
    unsafe fn gather(self, other: Self, pieces: u32) -> Self {
        self.zip(other, |own, other| {
            f32::from_bits((own.to_bits() & !pieces | other.to_bits() & pieces).rotate_left(4))
        })
    }

    #[inline(always)]
    unsafe fn lower_halves(self) -> Self {
        self.map(|x| f32::from_bits(x.to_bits() << 16))
    }

    #[inline(always)]
    unsafe fn unpacked(self, fields: u32, base: u32) -> Self {
        self.map(|x| {
            let bits = x.to_bits() & fields;
            if bits & !SIGN == 0 { 0.0 } else { f32::from_bits(bits | base) }
        })
    }

    #[inline(always)]
    unsafe fn sums(vectors: [Self; 8]) -> [f32; 8] {
        // SAFETY: nothing is needed.
        vectors.map(|vector| unsafe { vector.sum() })
    }
}

// Every block: the instruction is one that the processor has, by the contract of `Lanes`.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks, reason = "said once, above")]
impl Bits for Avx512 {
    #[inline(always)]
    unsafe fn gather(self, other: Self, pieces: u32) -> Self {
        // By the bits of the third: those of the second where it is set, of the first where it is not.
        const CHOOSE: i32 = 0xd8;
        unsafe {
            let (own, other) = (_mm512_castps_si512(self.0), _mm512_castps_si512(other.0));
            let both = _mm512_ternarylogic_epi32::<CHOOSE>(own, other, _mm512_set1_epi32(pieces as i32));
            Avx512(_mm512_castsi512_ps(_mm512_rol_epi32::<4>(both)))
        }
    }

    #[inline(always)]
    unsafe fn lower_halves(self) -> Self {
        unsafe { Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(self.0)))) }
    }

    #[inline(always)]
    unsafe fn unpacked(self, fields: u32, base: u32) -> Self {
        // What is in the first two, or in the third.
        const BOTH_OR: i32 = 0xea;
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let some = _mm512_test_epi32_mask(bits, _mm512_set1_epi32((fields & !SIGN) as i32));
            let [fields, base] = [fields, base].map(|bits| _mm512_set1_epi32(bits as i32));
            Avx512(_mm512_castsi512_ps(_mm512_maskz_ternarylogic_epi32::<BOTH_OR>(some, bits, fields, base)))
        }
    }

    #[inline(always)]
    unsafe fn sums(vectors: [Self; 8]) -> [f32; 8] {
        unsafe {
            let halves = vectors.map(|Avx512(vector)| {
                let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(vector)));
                Avx2(_mm256_add_ps(_mm512_castps512_ps256(vector), upper))
            });
            Avx2::sums(halves)
        }
    }
}

// Every block: as above.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks, reason = "said once, above")]
impl Bits for Avx2 {
    #[inline(always)]
    unsafe fn gather(self, other: Self, pieces: u32) -> Self {
        unsafe {
            let (own, other) = (_mm256_castps_si256(self.0), _mm256_castps_si256(other.0));
            let pieces = _mm256_set1_epi32(pieces as i32);
            let both = _mm256_or_si256(_mm256_andnot_si256(pieces, own), _mm256_and_si256(pieces, other));
            let turned = _mm256_or_si256(_mm256_slli_epi32::<4>(both), _mm256_srli_epi32::<28>(both));
            Avx2(_mm256_castsi256_ps(turned))
        }
    }

    #[inline(always)]
    unsafe fn lower_halves(self) -> Self {
        unsafe { Avx2(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(self.0)))) }
    }

    #[inline(always)]
    unsafe fn unpacked(self, fields: u32, base: u32) -> Self {
        unsafe {
            let bits = _mm256_and_si256(_mm256_castps_si256(self.0), _mm256_set1_epi32(fields as i32));
            let size = _mm256_and_si256(bits, _mm256_set1_epi32(!SIGN as i32));
            let none = _mm256_cmpeq_epi32(size, _mm256_setzero_si256());
            let number = _mm256_or_si256(bits, _mm256_set1_epi32(base as i32));
            Avx2(_mm256_castsi256_ps(_mm256_andnot_si256(none, number)))
        }
    }

    /// Numbers of two vectors side by side, then of four, and the halves of these.
    #[inline(always)]
    unsafe fn sums(vectors: [Self; 8]) -> [f32; 8] {
        unsafe {
            let two = |i: usize| {
                let (a, b) = (vectors[2 * i].0, vectors[2 * i + 1].0);
                _mm256_castps_pd(_mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)))
            };
            let four = |i: usize| {
                let (a, b) = (two(2 * i), two(2 * i + 1));
                let (low, high) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
                _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high))
            };
            let (a, b) = (four(0), four(1));
            let both = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
            let mut sums = [0.0; 8];
            _mm256_storeu_ps(sums.as_mut_ptr(), both);
            sums
        }
    }
}
