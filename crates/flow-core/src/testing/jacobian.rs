//! The log-determinant of a map's Jacobian by automatic differentiation.

use tch::{Kind, Tensor};

use crate::shape::flat;

/// Copies of a row that go through the map at a time: more would take memory and no less time.
const COPIES: i64 = 128;

/// `ln|det df/dx|` for each row of `x: [n, ..event]`, `[n]`, by autograd; `f` must treat rows independently.
///
/// Every row is repeated once a coordinate, so that one backward pass of the sum of the diagonal coordinates gives all `D`
/// rows of its Jacobian; where there are many coordinates, part by part. `f` is given a repeated batch `[n * copies,
/// ..event]` and `copies`.
pub fn jacobian_log_det(x: &Tensor, f: impl Fn(&Tensor, i64) -> Tensor) -> Tensor {
    let dim: i64 = x.size()[1..].iter().product();
    let parts: Vec<Tensor> =
        (0..dim).step_by(COPIES as usize).map(|start| rows(x, start, COPIES.min(dim - start), &f)).collect();
    Tensor::cat(&parts, 1).slogdet().1
}

/// `copies` rows of the Jacobian from `start` on, `[n, copies, D]`.
fn rows(x: &Tensor, start: i64, copies: i64, f: &impl Fn(&Tensor, i64) -> Tensor) -> Tensor {
    let n = x.size()[0];
    let dim: i64 = x.size()[1..].iter().product();
    let repeated = x.detach().repeat_interleave_self_int(copies, 0, None::<i64>).set_requires_grad(true);
    let value = flat(&f(&repeated, copies)).reshape([n, copies, dim]);
    let diagonal = value.narrow(2, start, copies).diagonal(0, 1, 2).sum(None::<Kind>);
    let gradient = if diagonal.requires_grad() {
        Tensor::run_backward(&[diagonal], &[&repeated], false, false).remove(0)
    } else {
        Tensor::new()
    };
    // A value that autograd cannot trace back to x has no Jacobian but 0.
    let gradient = if gradient.defined() { gradient } else { repeated.detach().zeros_like() };
    flat(&gradient).reshape([n, copies, dim])
}
