//! The log-determinant of a map's Jacobian by automatic differentiation.

use tch::{Kind, Tensor};

use crate::shape::flat;

/// `ln|det df/dx|` for each row of `x: [n, ..event]`, `[n]`, by autograd; `f` must treat rows independently.
///
/// Every row is repeated `D` times, so that one backward pass of the sum of the diagonal coordinates gives all `D` rows
/// of its Jacobian. `f` is given the repeated batch `[n * D, ..event]` and `D`.
pub fn jacobian_log_det(x: &Tensor, f: impl Fn(&Tensor, i64) -> Tensor) -> Tensor {
    let n = x.size()[0];
    let dim: i64 = x.size()[1..].iter().product();
    let repeated = x.detach().repeat_interleave_self_int(dim, 0, None::<i64>).set_requires_grad(true);
    let value = flat(&f(&repeated, dim)).reshape([n, dim, dim]);
    let diagonal = value.diagonal(0, 1, 2).sum(None::<Kind>);
    let gradient = if diagonal.requires_grad() {
        Tensor::run_backward(&[diagonal], &[&repeated], false, false).remove(0)
    } else {
        Tensor::new()
    };
    // A value that autograd cannot trace back to x has no Jacobian but 0.
    let gradient = if gradient.defined() { gradient } else { repeated.detach().zeros_like() };
    flat(&gradient).reshape([n, dim, dim]).slogdet().1
}
