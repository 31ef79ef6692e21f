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

/// The log-determinant of a map that has the same for every row: `[n]`, of the kind and on the device of `x`.
pub(crate) fn same_log_det(log_det: f64, x: &Tensor) -> Tensor {
    Tensor::full([x.size()[0]], log_det, (x.kind(), x.device()))
}

/// Places of each channel of `x: [n, c, ..]`.
pub(crate) fn pixels(x: &Tensor) -> usize {
    x.size()[2..].iter().map(|&n| n as usize).product()
}

/// Numbers in a block of [`by_blocks`]: 83 of MNIST's images, 32,768 points of the plane.
const BLOCK: i64 = 1 << 16;

/// `map`, which takes rows on their own, of `x: [n, ..event]` and `context: [n, c]`, a block of rows at a time: what it
/// holds in between is that of a block.
pub(crate) fn by_blocks(
    x: &Tensor,
    context: Option<&Tensor>,
    map: impl Fn(&Tensor, Option<&Tensor>) -> Tensor,
) -> Tensor {
    let (rows, event) = (x.size()[0], x.size()[1..].iter().product::<i64>());
    let block = (BLOCK / event.max(1)).max(1);
    if rows <= block {
        return map(x, context);
    }
    let blocks = (0..rows).step_by(block as usize).map(|start| {
        let of = |whole: &Tensor| whole.narrow(0, start, block.min(rows - start));
        map(&of(x), context.map(of).as_ref())
    });
    Tensor::cat(&blocks.collect::<Vec<_>>(), 0)
}

/// `parameter: [features]` as `[1, features, 1, ..]`, to go with `x: [n, features, ..]`.
pub(crate) fn by_feature(parameter: &Tensor, x: &Tensor) -> Tensor {
    let mut shape = vec![1; x.dim()];
    shape[1] = -1;
    parameter.reshape(&shape)
}

/// The batch as a matrix: `[n, ..event]` to `[n, D]`.
pub(crate) fn flat(x: &Tensor) -> Tensor {
    let size = x.size();
    x.reshape([size[0], size[1..].iter().product()])
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tch::Device;

    use super::*;

    #[test]
    fn blocks_of_rows_keep_their_order_and_their_context() {
        let event = BLOCK / 4;
        let x = Tensor::arange(10, (Kind::Float, Device::Cpu)).reshape([10, 1]).expand([10, event], false);
        let context = Tensor::arange(10, (Kind::Float, Device::Cpu)).reshape([10, 1]) * 100.0;
        let seen = RefCell::new(Vec::new());
        let z = by_blocks(&x, Some(&context), |x, context| {
            seen.borrow_mut().push(x.size()[0]);
            x + context.unwrap()
        });
        assert_eq!(seen.into_inner(), [4, 4, 2]);
        assert_eq!(z, &x + &context);
        assert_eq!(by_blocks(&x.narrow(0, 0, 0), None, |x, _| x.copy()).size(), [0, event]);
    }
}
