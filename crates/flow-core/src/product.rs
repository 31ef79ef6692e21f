//! Matrix products of conditioners, in the precision that is asked for.
//!
//! Weights, gradients and everything between two products stay f32; in bf16 both factors of a product are rounded to 8 bits
//! of mantissa, in TF32 to 11, and the result comes back as f32. Log-determinants, bases and losses have no such products in
//! them. bf16 is faster where the processor multiplies it (AVX512-BF16, AMX, CUDA from Ampere on); on other processors the
//! rounded factors are multiplied in f32, which takes somewhat longer than f32 alone.
//!
//! What is here is libtorch's. Nets of dense layers and convolutions ask [`dense::rounding`](crate::dense::rounding) instead, where
//! [`dense`](crate::dense) applies: by AMX, and on processors that do not multiply bf16 at all.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Device, Kind, Tensor};

/// How the factors of a product are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Not at all.
    #[default]
    F32,
    /// To bf16.
    Bf16,
    /// To TF32, by the GPU's own units and at no cost where it has them (NVIDIA, from Ampere on); not at all elsewhere.
    Tf32,
}

impl Precision {
    /// All of them.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Tf32];

    /// The precision of products on this thread.
    pub fn now() -> Self {
        PRECISION.get()
    }

    /// Runs `f`; products on this thread are of this precision meanwhile. TF32 is a switch of the whole process: what other
    /// threads start on a GPU in that time is rounded, too.
    pub fn scope<T>(self, f: impl FnOnce() -> T) -> T {
        /// Puts back what was, also where `f` panics.
        struct Before(Precision);
        impl Drop for Before {
            fn drop(&mut self) {
                PRECISION.set(self.0);
                switch(self.0);
            }
        }
        let _before = Before(PRECISION.replace(self));
        switch(self);
        f()
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Tf32 => "tf32",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = Precision::ALL.into_iter().find(|precision| precision.to_string() == s);
        found.ok_or_else(|| format!("no precision is called {s:?}; there are f32, bf16 and tf32"))
    }
}

thread_local! {
    static PRECISION: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// Has libtorch round on a GPU, or not, where it is not as it should be already.
fn switch(precision: Precision) {
    static ROUNDS: AtomicBool = AtomicBool::new(false);
    let wanted = precision == Precision::Tf32;
    if ROUNDS.swap(wanted, Ordering::SeqCst) != wanted {
        flow_cuda::exact_convolutions();
        flow_cuda::round_to_tf32(wanted);
    }
}

/// `x Wᵀ + b` for `x: [n, inputs]` and `weight: [outputs, inputs]`, with or without a bias.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    match PRECISION.get() {
        Precision::F32 | Precision::Tf32 => x.linear(weight, bias),
        Precision::Bf16 => with_bias(rounded_mm(x, &weight.tr()), bias),
    }
}

/// `a b` for `a: [m, k]` and `b: [k, n]`.
pub fn mm(a: &Tensor, b: &Tensor) -> Tensor {
    match PRECISION.get() {
        Precision::F32 | Precision::Tf32 => a.mm(b),
        Precision::Bf16 => rounded_mm(a, b),
    }
}

/// `sum += a b`.
pub fn add_mm(sum: &mut Tensor, a: &Tensor, b: &Tensor) {
    let _ = match PRECISION.get() {
        Precision::F32 | Precision::Tf32 => sum.addmm_(a, b),
        Precision::Bf16 => sum.g_add_(&rounded_mm(a, b)),
    };
}

/// `out = a b`, in the memory that `out` has.
pub fn mm_into(out: &Tensor, a: &Tensor, b: &Tensor) {
    match PRECISION.get() {
        Precision::F32 | Precision::Tf32 => drop(a.mm_out(out, b)),
        Precision::Bf16 if a.device().is_cuda() => {
            drop(a.to_kind(Kind::BFloat16).mm_dtype_out(out, &b.to_kind(Kind::BFloat16), a.kind()));
        }
        Precision::Bf16 => out.shallow_clone().copy_(&rounded_mm(a, b)),
    }
}

/// A convolution of `x: [n, inputs, h, w]` by `weight: [outputs, inputs, k, k]`, `k` odd, that keeps height and width by
/// padding with zeros; `bias: [outputs]`.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    match PRECISION.get() {
        Precision::F32 | Precision::Tf32 => conv2d_exact(x, weight, Some(bias)),
        Precision::Bf16 => {
            let [rounded_x, weight] = [x, weight].map(rounded);
            conv2d_exact(&rounded_x, &weight, None).to_kind(x.kind()) + bias.reshape([-1, 1, 1])
        }
    }
}

/// The same of whatever kind the factors are, with or without a bias: also on a GPU, where libtorch would round f32 to TF32.
/// The first call there tells it not to, for all of the process ([`flow_cuda::exact_convolutions`]).
pub fn conv2d_exact(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    if x.device().is_cuda() {
        flow_cuda::exact_convolutions();
    }
    let padding = weight.size()[2] / 2;
    x.conv2d(weight, bias, 1, padding, 1, 1)
}

/// Outside of autograd the sums come out as f32 on a GPU, unrounded.
fn rounded_mm(a: &Tensor, b: &Tensor) -> Tensor {
    let [x, y] = [a, b].map(rounded);
    // Autograd has no derivative of the one that gives f32.
    let taped = x.requires_grad() || y.requires_grad();
    if x.device().is_cuda() && x.dim() == 2 && !taped {
        x.mm_dtype(&y, a.kind())
    } else {
        x.matmul(&y).to_kind(a.kind())
    }
}

/// In the kind that is multiplied: what a processor has no bf16 products for comes back as what it was. (Without AVX-512 libtorch
/// would multiply number by number.) On a tape the gradient of a factor is rounded there, in place of the one that it is made of.
fn rounded(factor: &Tensor) -> Tensor {
    let rounded = factor.to_kind(Kind::BFloat16);
    if factor.device() == Device::Cpu && !processor_multiplies_bf16() {
        rounded.to_kind(factor.kind())
    } else {
        rounded
    }
}

/// Whether this processor multiplies bf16. Whoever has AMX has AVX512-BF16, too.
pub fn processor_multiplies_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

fn with_bias(y: Tensor, bias: Option<&Tensor>) -> Tensor {
    match bias {
        None => y,
        Some(bias) => y + bias,
    }
}

#[cfg(test)]
mod tests {
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
