//! Layers, convolutions and laws by this toolkit's own kernels on a GPU ([`flow_cuda::kernels`]): when, and how rounded.

use flow_cuda::kernels::{self, Rounding};
use tch::Tensor;

use crate::dense::taped;
use crate::product::Precision;

/// Whether kernels of our own compute on `x`: f32 on a GPU that can run them, outside of autograd. It is the same mathematics
/// as libtorch's, summed in another order: last bits differ.
pub fn applies(x: &Tensor) -> bool {
    kernels::applies(x) && !taped()
}

/// How they round factors, by the precision of products on this thread.
pub fn rounding() -> Rounding {
    match Precision::now() {
        Precision::F32 => Rounding::None,
        Precision::Bf16 => Rounding::Bf16,
        Precision::Tf32 => Rounding::Tf32,
    }
}
