//! Convolutions that round to f32, and always the same way.

use std::sync::LazyLock;

/// Has libtorch compute convolutions on a GPU in f32 and by algorithms that give the same bits each time, from the first call
/// on, in all of the process. Whether it could be told so.
///
/// By itself libtorch rounds their factors to TF32, with 10 bits of mantissa: a stack of couplings that is inverted then comes
/// back with an error of a hundredth. (Of matrix products it does not.)
pub fn exact_convolutions() -> bool {
    static TOLD: LazyLock<bool> = LazyLock::new(|| {
        #[allow(unsafe_code, reason = "a function of another language")]
        // SAFETY: it takes nothing, and sets two switches.
        unsafe {
            flow_cuda_exact_convolutions()
        }
    });
    *TOLD
}

/// Has libtorch round the factors of products and convolutions on a GPU to TF32, or not, from now on in all of the process. Call
/// [`exact_convolutions`] before: it would undo it.
pub fn round_to_tf32(rounds: bool) {
    #[allow(unsafe_code, reason = "a function of another language")]
    // SAFETY: it sets two switches.
    unsafe {
        flow_cuda_round_to_tf32(rounds);
    }
}

#[allow(unsafe_code, reason = "functions of another language")]
// SAFETY: these are the functions of exact.cpp, by their types there.
unsafe extern "C" {
    fn flow_cuda_round_to_tf32(allowed: bool);
    fn flow_cuda_exact_convolutions() -> bool;
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    /// On a GPU where there is one, against f64.
    #[test]
    fn convolutions_are_f32() {
        assert!(exact_convolutions(), "the libtorch of this program has other names");
        let draw = |size: &[i64]| Tensor::randn(size, (Kind::Double, Device::cuda_if_available()));
        let (x, weight) = (draw(&[2, 64, 16, 16]), draw(&[64, 64, 3, 3]));
        let conv =
            |kind| x.to_kind(kind).conv2d(&weight.to_kind(kind), None::<&Tensor>, 1, 1, 1, 1).to_kind(Kind::Double);
        let (exact, single) = (conv(Kind::Double), conv(Kind::Float));
        let error = ((single - &exact).square().mean(None).sqrt() / exact.square().mean(None).sqrt()).double_value(&[]);
        assert!(error < 1e-5, "{error}");
    }
}
