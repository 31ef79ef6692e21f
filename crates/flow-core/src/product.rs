//! Matrix products of conditioners, in the precision that is asked for.
//!
//! Weights, gradients and everything between two products stay f32; in bf16 both factors of a product are rounded to 8 bits
//! of mantissa and the result comes back as f32. Log-determinants, bases and losses have no such products in them. It is
//! faster where the processor multiplies bf16 (AVX512-BF16, AMX, CUDA from Ampere on), and slower elsewhere.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

use tch::{Kind, Tensor};

/// How the factors of a product are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Not at all.
    #[default]
    F32,
    /// To bf16.
    Bf16,
}

impl Precision {
    /// Both, by name.
    pub const ALL: [Precision; 2] = [Precision::F32, Precision::Bf16];

    /// Runs `f`; products on this thread are of this precision meanwhile.
    pub fn scope<T>(self, f: impl FnOnce() -> T) -> T {
        /// Puts back what was, also where `f` panics.
        struct Before(Precision);
        impl Drop for Before {
            fn drop(&mut self) {
                PRECISION.set(self.0);
            }
        }
        let _before = Before(PRECISION.replace(self));
        f()
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = Precision::ALL.into_iter().find(|precision| precision.to_string() == s);
        found.ok_or_else(|| format!("no precision is called {s:?}; there are f32 and bf16"))
    }
}

thread_local! {
    static PRECISION: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// `x Wᵀ + b` for `x: [n, inputs]` and `weight: [outputs, inputs]`, with or without a bias.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    match PRECISION.get() {
        Precision::F32 => x.linear(weight, bias),
        Precision::Bf16 => with_bias(rounded(x, weight, |x, weight| x.linear(weight, None::<&Tensor>)), bias),
    }
}

/// `a b` for `a: [m, k]` and `b: [k, n]`.
pub fn mm(a: &Tensor, b: &Tensor) -> Tensor {
    match PRECISION.get() {
        Precision::F32 => a.mm(b),
        Precision::Bf16 => rounded(a, b, Tensor::mm),
    }
}

/// `sum += a b`.
pub fn add_mm(sum: &mut Tensor, a: &Tensor, b: &Tensor) {
    let _ = match PRECISION.get() {
        Precision::F32 => sum.addmm_(a, b),
        Precision::Bf16 => sum.g_add_(&rounded(a, b, Tensor::mm)),
    };
}

/// `out = a b`, in the memory that `out` has.
pub fn mm_into(out: &Tensor, a: &Tensor, b: &Tensor) {
    match PRECISION.get() {
        Precision::F32 => drop(a.mm_out(out, b)),
        Precision::Bf16 => out.shallow_clone().copy_(&rounded(a, b, Tensor::mm)),
    }
}

/// A convolution of `x: [n, inputs, h, w]` by `weight: [outputs, inputs, k, k]`, `k` odd, that keeps height and width by
/// padding with zeros; `bias: [outputs]`.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let padding = weight.size()[2] / 2;
    let conv = |x: &Tensor, weight: &Tensor, bias: Option<&Tensor>| x.conv2d(weight, bias, 1, padding, 1, 1);
    match PRECISION.get() {
        Precision::F32 => conv(x, weight, Some(bias)),
        Precision::Bf16 => rounded(x, weight, |x, weight| conv(x, weight, None)) + bias.reshape([-1, 1, 1]),
    }
}

fn rounded(a: &Tensor, b: &Tensor, product: impl FnOnce(&Tensor, &Tensor) -> Tensor) -> Tensor {
    product(&a.to_kind(Kind::BFloat16), &b.to_kind(Kind::BFloat16)).to_kind(a.kind())
}

fn with_bias(y: Tensor, bias: Option<&Tensor>) -> Tensor {
    match bias {
        None => y,
        Some(bias) => y + bias,
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::rng::with_seed;

    #[test]
    fn a_scope_holds_for_its_own_time_and_thread() {
        let now = || PRECISION.get();
        Precision::Bf16.scope(|| {
            assert_eq!(now(), Precision::Bf16);
            Precision::F32.scope(|| assert_eq!(now(), Precision::F32));
            assert_eq!(now(), Precision::Bf16);
            std::thread::scope(|threads| {
                threads.spawn(|| assert_eq!(now(), Precision::F32));
            });
        });
        assert_eq!(now(), Precision::F32);
        let caught = std::panic::catch_unwind(|| Precision::Bf16.scope(|| panic!("inside")));
        assert!(caught.is_err() && now() == Precision::F32);
    }

    /// A factor is off by 2^-9 of itself at most, and so is the result; what is summed is not rounded.
    #[test]
    fn products_of_rounded_factors_are_those_of_the_factors_to_eight_bits() {
        let draw = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        let (x, w, b) = with_seed(1, || (draw(&[7, 300]), draw(&[5, 300]), draw(&[5])));
        let (image, filter) = with_seed(2, || (draw(&[2, 3, 6, 5]), draw(&[4, 3, 3, 3])));
        let bias = with_seed(3, || draw(&[4]));
        let all = || {
            let mut sum = Tensor::ones([7, 5], (Kind::Float, Device::Cpu));
            let into = sum.zeros_like();
            add_mm(&mut sum, &x, &w.tr());
            mm_into(&into, &x, &w.tr());
            [linear(&x, &w, Some(&b)), linear(&x, &w, None), mm(&x, &w.tr()), sum, into, conv2d(&image, &filter, &bias)]
        };
        for (exact, rounded) in all().iter().zip(Precision::Bf16.scope(all)) {
            assert_eq!((rounded.kind(), rounded.size()), (Kind::Float, exact.size()));
            let off =
                ((rounded - exact).square().mean(None).sqrt() / exact.square().mean(None).sqrt()).double_value(&[]);
            assert!((1e-5..1e-2).contains(&off), "{off}");
        }
    }
}
