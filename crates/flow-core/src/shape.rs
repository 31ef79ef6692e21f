//! Small helpers about batches `[n, ..event]`.

use tch::{Kind, Tensor};

/// Sum over everything but the batch: `[n, ..event]` to `[n]`.
pub(crate) fn sum_event(x: &Tensor) -> Tensor {
    // Explicit sizes, for libtorch cannot infer a dimension of an empty batch.
    flat(x).sum_dim_intlist(1i64, false, None::<Kind>)
}

/// The log-determinant of a map that keeps volume: zeros `[n]`, of the kind and on the device of `x`.
pub(crate) fn zero_log_det(x: &Tensor) -> Tensor {
    Tensor::zeros([x.size()[0]], (x.kind(), x.device()))
}

/// The batch as a matrix: `[n, ..event]` to `[n, D]`.
pub(crate) fn flat(x: &Tensor) -> Tensor {
    let size = x.size();
    x.reshape([size[0], size[1..].iter().product()])
}
