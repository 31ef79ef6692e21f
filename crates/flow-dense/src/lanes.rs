//! Vectors of as many numbers as the processor's registers hold.
//!
//! What is generic over [`Lanes`] is always inlined, down to the function that was compiled for those instructions
//! ([`with_lanes!`]); that alone makes vectors of registers.

use crate::weight::Bf16;

/// Numbers in a cache line.
pub(crate) const LINE: usize = 16;

/// A vector of [`Lanes::LANES`] numbers.
///
/// # Safety of all methods
///
/// The processor has the instructions that the type is for, and pointers are to so many numbers as are read or written.
pub(crate) trait Lanes: Copy {
    /// Numbers in a vector: a whole line, or half of one.
    const LANES: usize;
    /// Numbers across a tile of a product and a panel, two vectors.
    const ACROSS: usize = 2 * Self::LANES;
    /// How many vectors the processor holds at a time.
    const REGISTERS: usize;
    /// Rows of such a tile: two registers each, two that hold a line of a panel, and one a weight.
    const ROWS: usize = (Self::REGISTERS - 3) / 2;
    /// As many vectors as each has numbers.
    type Square: Copy + AsRef<[Self]> + AsMut<[Self]>;

    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// Two vectors: the numbers at even places, and those at odd ones.
    unsafe fn load_apart(from: *const f32) -> [Self; 2];
    /// The same of bf16.
    unsafe fn load_bf16_apart(from: *const Bf16) -> [Self; 2];
    unsafe fn store(self, to: *mut f32);
    /// The nearest numbers that bf16 has, ties to even.
    unsafe fn rounded(self) -> Self;
    /// Three numbers that bf16 has and whose sum is this: the first is nearest to it, the second to what is left. Of numbers below 2⁻¹¹⁰ the
    /// third one has bits that bf16 has not; of those that bf16 rounds to infinity, and of what is not finite, some part is no number.
    #[inline(always)]
    unsafe fn parts(self) -> [Self; 3] {
        // SAFETY: by the contract.
        unsafe {
            let first = self.rounded();
            let rest = self.sub(first);
            let second = rest.rounded();
            [first, second, rest.sub(second)]
        }
    }
    /// The upper halves of the bits of two vectors, one after the other: of numbers that bf16 has, these.
    unsafe fn upper_halves(low: Self, high: Self) -> Self;
    /// The same, of the numbers of the first at even places, of those of the second at odd ones.
    unsafe fn upper_pairs(even: Self, odd: Self) -> Self;
    /// The first `count` (at most all), and zeros.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    /// The first `count` (at most all) and no other.
    unsafe fn store_first(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    unsafe fn root(self) -> Self;
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: by the contract; a product with 1 is exact.
        unsafe { other.mul_sub_from(Self::splat(1.0), self) }
    }
    /// `self * times + plus`, rounded once.
    unsafe fn mul_add(self, times: Self, plus: Self) -> Self;
    /// `plus - self * times`, rounded once.
    unsafe fn mul_sub_from(self, times: Self, plus: Self) -> Self;
    /// The larger of both; `other` where one is not a number.
    unsafe fn max_or(self, other: Self) -> Self;
    /// `self` where `sign > 0`, `otherwise` elsewhere.
    unsafe fn where_positive(self, sign: Self, otherwise: Self) -> Self;
    /// 0 where the bit of `mask` is 0, the lowest bit being for the first number.
    unsafe fn masked(self, mask: u16) -> Self;
    /// 0 where the magnitude is below `limit`.
    unsafe fn flush(self, limit: Self) -> Self;
    /// `self`, but 0 where it is below `limit`, and 1 / (√ of that · scale + ε) to within two units in the last place;
    /// `self` is not negative, and `limit` is no less than the smallest normal number.
    unsafe fn root_quotient(self, limit: Self, scale: Self, epsilon: Self) -> (Self, Self);
    /// `exp x`, to a few units in the last place.
    unsafe fn exp(self) -> Self;
    /// `tanh x`, to a few units in the last place.
    unsafe fn tanh(self) -> Self;
    /// `ln x`, to a few units in the last place; numbers below the smallest normal one may be taken for 0.
    unsafe fn ln(self) -> Self;
    unsafe fn sum(self) -> f32;
    /// Whether one of them is not a number.
    unsafe fn some_is_none(self) -> bool;
    unsafe fn zeros() -> Self::Square;
    /// Rows to columns.
    unsafe fn transposed(rows: Self::Square) -> Self::Square;
    /// A hint that the number will be wanted soon.
    unsafe fn prefetch(at: *const f32);
    /// The same of one that will be written.
    unsafe fn prefetch_to_write(at: *mut f32);
}

/// For every processor.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LINE]);

impl Portable {
    #[inline(always)]
    pub(crate) fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Portable(self.0.map(f))
    }

    #[inline(always)]
    pub(crate) fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Portable(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Lanes for Portable {
    const LANES: usize = LINE;
    /// As AVX-512, whose loops any machine can test by it.
    const REGISTERS: usize = 32;
    type Square = [Self; LINE];

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Portable([x; LINE])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: sixteen numbers are there, by the contract; an array has the alignment of its elements.
        Portable(unsafe { from.cast::<[f32; LINE]>().read() })
    }

    #[inline(always)]
    unsafe fn load_apart(from: *const f32) -> [Self; 2] {
        // SAFETY: as above, of two vectors.
        let numbers = unsafe { from.cast::<[f32; 2 * LINE]>().read() };
        [0, 1].map(|odd| Portable(std::array::from_fn(|i| numbers[2 * i + odd])))
    }

    #[inline(always)]
    unsafe fn load_bf16_apart(from: *const Bf16) -> [Self; 2] {
        // SAFETY: as above.
        let numbers = unsafe { from.cast::<[Bf16; 2 * LINE]>().read() };
        [0, 1].map(|odd| Portable(std::array::from_fn(|i| numbers[2 * i + odd].to_f32())))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { to.cast::<[f32; LINE]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn rounded(self) -> Self {
        Portable(self.0.map(|x| Bf16::nearest(x).to_f32()))
    }

    #[inline(always)]
    unsafe fn upper_halves(low: Self, high: Self) -> Self {
        let number = |i: usize| if i < LINE { low.0[i] } else { high.0[i - LINE] };
        Portable(std::array::from_fn(|i| pair(number(2 * i), number(2 * i + 1))))
    }

    #[inline(always)]
    unsafe fn upper_pairs(even: Self, odd: Self) -> Self {
        even.zip(odd, pair)
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: `count` numbers are there, by the contract.
        Portable(std::array::from_fn(|i| if i < count { unsafe { from.add(i).read() } } else { 0.0 }))
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        for (i, x) in self.0.into_iter().enumerate().take(count) {
            // SAFETY: `count` numbers are there, by the contract.
            unsafe { to.add(i).write(x) }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn root(self) -> Self {
        Portable(self.0.map(f32::sqrt))
    }

    /// Rounded twice: without an instruction for it `f32::mul_add` is a call.
    #[inline(always)]
    unsafe fn mul_add(self, times: Self, plus: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i] * times.0[i] + plus.0[i]))
    }

    #[inline(always)]
    unsafe fn mul_sub_from(self, times: Self, plus: Self) -> Self {
        Portable(std::array::from_fn(|i| plus.0[i] - self.0[i] * times.0[i]))
    }

    #[inline(always)]
    unsafe fn max_or(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn where_positive(self, sign: Self, otherwise: Self) -> Self {
        Portable(std::array::from_fn(|i| if sign.0[i] > 0.0 { self.0[i] } else { otherwise.0[i] }))
    }

    #[inline(always)]
    unsafe fn masked(self, mask: u16) -> Self {
        Portable(std::array::from_fn(|i| if mask >> i & 1 == 1 { self.0[i] } else { 0.0 }))
    }

    #[inline(always)]
    unsafe fn flush(self, limit: Self) -> Self {
        self.zip(limit, |x, limit| if x.abs() < limit { 0.0 } else { x })
    }

    #[inline(always)]
    unsafe fn root_quotient(self, limit: Self, scale: Self, epsilon: Self) -> (Self, Self) {
        let x = self.zip(limit, |x, limit| if x < limit { 0.0 } else { x });
        (x, Portable(std::array::from_fn(|i| 1.0 / (x.0[i].sqrt() * scale.0[i] + epsilon.0[i]))))
    }

    #[inline(always)]
    unsafe fn exp(self) -> Self {
        Portable(self.0.map(f32::exp))
    }

    #[inline(always)]
    unsafe fn tanh(self) -> Self {
        Portable(self.0.map(f32::tanh))
    }

    #[inline(always)]
    unsafe fn ln(self) -> Self {
        Portable(self.0.map(f32::ln))
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.0.iter().sum()
    }

    #[inline(always)]
    unsafe fn some_is_none(self) -> bool {
        self.0.iter().any(|x| x.is_nan())
    }

    #[inline(always)]
    unsafe fn zeros() -> Self::Square {
        [Portable([0.0; LINE]); LINE]
    }

    #[inline(always)]
    unsafe fn transposed(rows: Self::Square) -> Self::Square {
        std::array::from_fn(|i| Portable(std::array::from_fn(|j| rows[j].0[i])))
    }

    #[inline(always)]
    unsafe fn prefetch(_at: *const f32) {}

    #[inline(always)]
    unsafe fn prefetch_to_write(_at: *mut f32) {}
}

/// The upper halves of the bits of two numbers.
fn pair(even: f32, odd: f32) -> f32 {
    f32::from_bits(even.to_bits() >> 16 | odd.to_bits() & UPPER_HALF as u32)
}

/// The series of `ln (1 + x) = x - x²/2 + x³ (…)` for x from √½ - 1 to √2 - 1, its highest power first (Cephes' `logf`).
pub(crate) const LN: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_9e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_8e-1,
    2.000_071_5e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];
/// The upper half of a number's bits.
pub(crate) const UPPER_HALF: i32 = 0xffff_0000_u32 as i32;
/// Just less than half of the last bit of the upper half.
pub(crate) const BELOW_HALF: i32 = 0x7fff;
/// Keeps what is not a number so when its lower half is cut off: without this bit it could become an infinity.
pub(crate) const QUIET: i32 = 0x0040_0000;
/// The bits of √½: what is above them in a number's own bits is the exponent that leaves a factor from √½ to √2.
pub(crate) const ROOT_HALF: i32 = 0x3f35_04f3;
/// ln 2 in two parts, of which the first times a whole number is exact.
pub(crate) const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// Defines `fn $name($args) -> $out` as `$body::<V>($args)` for the best `V: Lanes` that this processor has. Calls are unsafe
/// for what they do to memory alone.
macro_rules! with_lanes {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? = $body:ident) => {
        $(#[$meta])*
        $vis unsafe fn $name($($arg: $ty),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,fma")]
                unsafe fn wide($($arg: $ty),*) $(-> $out)? {
                    // SAFETY: the caller's, and the instructions are those that this function was compiled for.
                    unsafe { $body::<$crate::avx512::Avx512>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                unsafe fn narrow($($arg: $ty),*) $(-> $out)? {
                    // SAFETY: as above.
                    unsafe { $body::<$crate::avx2::Avx2>($($arg),*) }
                }
                match $crate::instructions() {
                    // SAFETY: the caller's, and the processor has these instructions.
                    Some($crate::Instructions::Avx512) => return unsafe { wide($($arg),*) },
                    // SAFETY: as above.
                    Some($crate::Instructions::Avx2) => return unsafe { narrow($($arg),*) },
                    None => {}
                }
            }
            // SAFETY: the caller's; these lanes need nothing of a processor.
            unsafe { $body::<$crate::lanes::Portable>($($arg),*) }
        }
    };
}
pub(crate) use with_lanes;

#[cfg(test)]
mod tests {
    use super::*;

    with_lanes! {
        unsafe fn elementary(numbers: &[f32], results: &mut [[f32; 3]]) = elementary_by
    }

    /// # Safety
    ///
    /// The processor has what `V` needs.
    #[inline(always)]
    unsafe fn elementary_by<V: Lanes>(numbers: &[f32], results: &mut [[f32; 3]]) {
        for (&x, results) in numbers.iter().zip(results) {
            let mut vector = [0.0; LINE];
            // SAFETY: no vector is longer than a line.
            unsafe {
                let all = [V::splat(x).ln(), V::splat(x).root(), V::splat(1.0).div(V::splat(x))];
                for (result, of) in results.iter_mut().zip(all) {
                    of.store(vector.as_mut_ptr());
                    *result = vector[V::LANES - 1];
                }
            }
        }
    }

    fn results(numbers: &[f32]) -> Vec<[f32; 3]> {
        let mut results = vec![[0.0; 3]; numbers.len()];
        // SAFETY: as many results as numbers.
        unsafe { elementary(numbers, &mut results) }
        results
    }

    #[test]
    fn logarithms_roots_and_quotients() {
        let near = [0.5f32.sqrt(), 1.0, 2.0f32.sqrt(), 2.0].map(|x| [x.next_down(), x, x.next_up()]);
        let spread = (-870..=880).map(|i| (i as f32 * 0.1).exp());
        let numbers: Vec<f32> = near.into_iter().flatten().chain(spread).chain([f32::MIN_POSITIVE, f32::MAX]).collect();
        for (&x, [ln, root, inverse]) in numbers.iter().zip(results(&numbers)) {
            let (ln, x) = (f64::from(ln), f64::from(x));
            assert!((ln - x.ln()).abs() <= 2.5e-7 * x.ln().abs(), "ln {x}: {ln}");
            assert!((f64::from(root) - x.sqrt()).abs() <= 1e-7 * x.sqrt(), "root {x}: {root}");
            let right = 1.0 / x;
            let denormal = right < f64::from(f32::MIN_POSITIVE) && f64::from(inverse) < f64::from(f32::MIN_POSITIVE);
            assert!(denormal || (f64::from(inverse) - right).abs() <= 1e-7 * right, "1/{x}: {inverse}");
        }
    }

    #[test]
    fn logarithms_of_what_has_none() {
        let odd = results(&[0.0, -0.0, -1.0, f32::NEG_INFINITY, f32::NAN, f32::INFINITY]);
        let odd: Vec<f32> = odd.into_iter().map(|[ln, ..]| ln).collect();
        assert_eq!(odd[..2], [f32::NEG_INFINITY; 2]);
        assert!(odd[2..5].iter().all(|x| x.is_nan()), "{odd:?}");
        assert_eq!(odd[5], f32::INFINITY);
    }

    with_lanes! {
        unsafe fn parts(numbers: &[f32; LINE], to: &mut [[f32; LINE]; 3]) -> usize = parts_by
    }

    /// # Safety
    ///
    /// The processor has what `V` needs.
    #[inline(always)]
    unsafe fn parts_by<V: Lanes>(numbers: &[f32; LINE], to: &mut [[f32; LINE]; 3]) -> usize {
        // SAFETY: no vector is longer than a line.
        unsafe {
            for (part, to) in V::load(numbers.as_ptr()).parts().into_iter().zip(to) {
                part.store(to.as_mut_ptr());
            }
        }
        V::LANES
    }

    #[test]
    fn parts_are_bf16_and_come_to_the_number() {
        for seed in 0..1000u32 {
            let numbers: [f32; LINE] = std::array::from_fn(|i| {
                let bits = (seed * 16 + i as u32).wrapping_mul(2_654_435_761);
                // Of all magnitudes from 2⁻¹⁰⁰ to 2¹⁰⁰, either sign.
                f32::from_bits(bits & 0x807f_ffff | (27 + bits.rotate_left(9) % 200) << 23)
            });
            let mut of = [[0.0; LINE]; 3];
            // SAFETY: there is room for all.
            let lanes = unsafe { parts(&numbers, &mut of) };
            for i in 0..lanes {
                let [first, second, third] = [of[0][i], of[1][i], of[2][i]];
                assert_eq!(first + (second + third), numbers[i], "{:x}", numbers[i].to_bits());
                for part in [first, second, third] {
                    assert_eq!(part.to_bits() & 0xffff, 0, "{part:e} of {:e}", numbers[i]);
                }
                assert!(second.abs() <= first.abs() / 256.0 && third.abs() <= first.abs() / 65536.0, "{of:?}");
            }
        }
    }

    with_lanes! {
        /// Two vectors as bf16, one after the other, and as pairs; each rounded. Returns how many numbers a vector has.
        unsafe fn as_bf16(numbers: &[f32; 2 * LINE], to: [&mut [Bf16; 2 * LINE]; 2], rounded: &mut [f32; LINE]) -> usize = as_bf16_by
    }

    /// # Safety
    ///
    /// The processor has what `V` needs.
    #[inline(always)]
    unsafe fn as_bf16_by<V: Lanes>(
        numbers: &[f32; 2 * LINE],
        [row, pairs]: [&mut [Bf16; 2 * LINE]; 2],
        rounded: &mut [f32; LINE],
    ) -> usize {
        // SAFETY: no vector is longer than a line.
        unsafe {
            let (first, second) = (V::load(numbers.as_ptr()), V::load(numbers.as_ptr().add(V::LANES)));
            first.rounded().store(rounded.as_mut_ptr());
            let (first, second) = (first.rounded(), second.rounded());
            V::upper_halves(first, second).store(row.as_mut_ptr().cast());
            V::upper_pairs(first, second).store(pairs.as_mut_ptr().cast());
        }
        V::LANES
    }

    #[test]
    fn vectors_are_rounded_as_numbers_are() {
        let odd = [f32::NAN, f32::INFINITY, -0.0, f32::MAX, f32::MIN_POSITIVE / 3.0, f32::from_bits(0xffff_ffff)];
        for seed in 0..100u32 {
            let mut numbers: [f32; 2 * LINE] = std::array::from_fn(|i| {
                let bits = (seed * 64 + i as u32).wrapping_mul(2_654_435_761);
                f32::from_bits(bits)
            });
            numbers[3..][..odd.len()].copy_from_slice(&odd);
            // Half way, below and above an even number and an odd one.
            numbers[9..13].copy_from_slice(&[0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x3f81_7fff].map(f32::from_bits));
            let (mut row, mut pairs) = ([Bf16::default(); 2 * LINE], [Bf16::default(); 2 * LINE]);
            let mut rounded = [0.0; LINE];
            // SAFETY: there is room for all.
            let lanes = unsafe { as_bf16(&numbers, [&mut row, &mut pairs], &mut rounded) };
            let right = numbers.map(Bf16::nearest);
            assert_eq!(row[..2 * lanes], right[..2 * lanes]);
            for i in 0..lanes {
                assert_eq!(pairs[2 * i..2 * i + 2], [right[i], right[lanes + i]], "{i}");
                assert_eq!(rounded[i].to_bits(), right[i].to_f32().to_bits(), "{i}");
            }
        }
    }
}
