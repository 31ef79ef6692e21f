//! Vectors of 16 numbers, in the instructions that the processor has.
//!
//! What is generic over [`Lanes`] is always inlined, down to the function that was compiled for those instructions
//! ([`with_lanes!`]); that alone makes vectors of registers.

/// Numbers in a vector.
pub(crate) const LANES: usize = 16;

/// A vector of [`LANES`] numbers.
///
/// # Safety of all methods
///
/// The processor has the instructions that the type is for, and pointers are to so many numbers as are read or written.
pub(crate) trait Lanes: Copy {
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The first `count` (at most 16), and zeros.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    /// The first `count` (at most 16) and no other.
    unsafe fn store_first(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * times + plus`, rounded once.
    unsafe fn mul_add(self, times: Self, plus: Self) -> Self;
    /// `plus - self * times`, rounded once.
    unsafe fn mul_sub_from(self, times: Self, plus: Self) -> Self;
    /// The larger of both; `other` where one is not a number.
    unsafe fn max_or(self, other: Self) -> Self;
    /// `self` where `sign > 0`, `otherwise` elsewhere.
    unsafe fn where_positive(self, sign: Self, otherwise: Self) -> Self;
    /// 0 where the bit of `mask` is 0.
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
    unsafe fn sum(self) -> f32;
    /// Sixteen rows of sixteen, to columns.
    unsafe fn transposed(rows: [Self; LANES]) -> [Self; LANES];
    /// A hint that the number will be wanted soon.
    unsafe fn prefetch(at: *const f32);
    /// The same of one that will be written.
    unsafe fn prefetch_to_write(at: *mut f32);
}

/// For every processor.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Portable(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Lanes for Portable {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Portable([x; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: sixteen numbers are there, by the contract; an array has the alignment of its elements.
        Portable(unsafe { from.cast::<[f32; LANES]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { to.cast::<[f32; LANES]>().write(self.0) }
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
    unsafe fn sum(self) -> f32 {
        self.0.iter().sum()
    }

    #[inline(always)]
    unsafe fn transposed(rows: [Self; LANES]) -> [Self; LANES] {
        std::array::from_fn(|i| Portable(std::array::from_fn(|j| rows[j].0[i])))
    }

    #[inline(always)]
    unsafe fn prefetch(_at: *const f32) {}

    #[inline(always)]
    unsafe fn prefetch_to_write(_at: *mut f32) {}
}

/// Defines `fn $name($args) -> $out` as `$body::<V>($args)` for the best `V: Lanes` that this processor has. Calls are unsafe
/// for what they do to memory alone.
macro_rules! with_lanes {
    ($(#[$meta:meta])* unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? = $body:ident) => {
        $(#[$meta])*
        unsafe fn $name($($arg: $ty),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,fma")]
                unsafe fn wide($($arg: $ty),*) $(-> $out)? {
                    // SAFETY: the caller's, and the instructions are those that this function was compiled for.
                    unsafe { $body::<$crate::avx512::Avx512>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                unsafe fn middle($($arg: $ty),*) $(-> $out)? {
                    // SAFETY: the caller's; a compiler makes of these lanes what it can with the instructions.
                    unsafe { $body::<$crate::lanes::Portable>($($arg),*) }
                }
                if $crate::available() {
                    // SAFETY: the caller's, and the processor was just asked.
                    return unsafe { wide($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: as above.
                    return unsafe { middle($($arg),*) };
                }
            }
            // SAFETY: the caller's; these lanes need nothing of a processor.
            unsafe { $body::<$crate::lanes::Portable>($($arg),*) }
        }
    };
}
pub(crate) use with_lanes;
