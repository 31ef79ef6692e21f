//! The gradients of a coupling's law: by hand, but for splines that neither kernels nor [`flow_dense`] compute, which autograd tapes.

use flow_cuda::kernels::{SplineGradients, spline_backward};
use tch::Tensor;

use crate::backward::{gradient_or_zeros, pull_back};
use crate::law::by_kernel;
use crate::spline_dense;
use crate::{Bound, Gradients, Law};

/// What a law has kept for its way back.
pub(crate) enum LawKept {
    /// `z = x + t` needs nothing.
    Additive,
    /// `z = x * scale + t`, with `scale = exp(log_s)` and `log_s = bound * tanh`.
    Affine { x: Tensor, tanh: Tensor, scale: Tensor },
    /// Both inputs, where what is needed of the way is computed anew.
    Spline { bins: usize, x: Tensor, parameters: Tensor },
    /// Both inputs and both outputs, taped.
    Taped { x: Tensor, parameters: Tensor, z: Tensor, log_s: Option<Tensor> },
}

impl Law {
    /// [`Law::forward`] outside of autograd, and what its way back needs.
    pub(crate) fn forward_keeping(&self, x: &Tensor, parameters: &Tensor) -> (Tensor, Option<Tensor>, LawKept) {
        match self {
            Law::Additive => (x + parameters, None, LawKept::Additive),
            Law::Affine { bound } => {
                let changed = parameters.size()[1] / 2;
                let tanh = parameters.narrow(1, 0, changed).tanh();
                let log_s = bound.times(&tanh).detach();
                let scale = log_s.exp();
                let z = parameters.narrow(1, changed, changed).addcmul(x, &scale);
                (z, Some(log_s), LawKept::Affine { x: x.shallow_clone(), tanh, scale })
            }
            Law::Spline { bins } if by_kernel(x, *bins) || spline_dense::applies(x, *bins) => {
                let (z, log_s) = self.forward(x, parameters);
                let kept =
                    LawKept::Spline { bins: *bins, x: x.shallow_clone(), parameters: parameters.shallow_clone() };
                (z, log_s, kept)
            }
            Law::Spline { .. } => {
                let [x, parameters] = [x, parameters].map(|t| t.detach().set_requires_grad(true));
                let (z, log_s) = tch::with_grad(|| self.forward(&x, &parameters));
                let (outside, log_s_outside) = (z.detach(), log_s.as_ref().map(Tensor::detach));
                (outside, log_s_outside, LawKept::Taped { x, parameters, z, log_s })
            }
        }
    }

    /// From the gradients of a loss with respect to `z: [n, changed, ..]` and to `log_s`, of the same shape or one that broadcasts
    /// to it ([`by_row`]), to those with respect to `x` and to the parameters. That of a learned bound is given to `gradients`.
    ///
    /// ```text
    /// affine:  g_x = g_z scale,   g_t = g_z,   g_s = g_x x + g_log_s,   g_raw = g_s bound (1 - tanh²),   g_bound = Σ g_s tanh
    /// ```
    pub(crate) fn backward(
        &self,
        kept: LawKept,
        grad_z: &Tensor,
        grad_log_s: &Tensor,
        gradients: &mut dyn Gradients,
    ) -> (Tensor, Tensor) {
        match (self, kept) {
            (Law::Affine { bound }, LawKept::Affine { x, tanh, scale }) => {
                let grad_x = grad_z * scale;
                let grad_log_s = grad_log_s.addcmul(&grad_x, &x);
                let grad_raw = Tensor::tanh_backward(&bound.times(&grad_log_s).detach(), &tanh);
                if let Bound::Learned(parameter) = bound {
                    gradients.give(parameter, &(grad_log_s * tanh).sum_to_size(parameter.size()));
                }
                (grad_x, Tensor::cat(&[grad_raw, grad_z.shallow_clone()], 1))
            }
            (_, LawKept::Spline { bins, x, parameters }) if !by_kernel(&x, bins) => {
                spline_dense::backward(&x, &parameters, bins, grad_z, grad_log_s)
            }
            (_, LawKept::Spline { bins, x, parameters }) => {
                spline_backward(&x, &parameters, bins, SplineGradients { z: grad_z, log_slope: grad_log_s })
            }
            (_, LawKept::Taped { x, parameters, z, log_s }) => {
                let outputs: Vec<_> = log_s.iter().map(|log_s| (log_s, grad_log_s)).collect();
                tch::with_grad(|| pull_back(&[vec![(&z, grad_z)], outputs].concat()));
                (gradient_or_zeros(&x), gradient_or_zeros(&parameters))
            }
            _ => (grad_z.shallow_clone(), grad_z.shallow_clone()),
        }
    }
}

/// `[n]` as `[n, 1, ..]`, to go with `[n, changed, ..]`.
pub(crate) fn by_row(rows: &Tensor, like: &Tensor) -> Tensor {
    let mut size = vec![1; like.dim()];
    size[0] = rows.size()[0];
    rows.reshape(size)
}
