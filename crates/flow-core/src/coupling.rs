//! Coupling layers: one part of the event is changed by a map whose parameters are computed from the other part.

use std::fmt::Debug;

use tch::{Kind, Tensor};

use crate::law::parameter_gradients;
use crate::shape::{flat, sum_event, zero_log_det};
use crate::{Bijection, Edge, Inspection, Law, Mask};

/// The network of a coupling: from what is kept (and the context) to the parameters of the change.
pub trait Conditioner: Debug + Send {
    /// `kept: [n, kept]` and `context: [n, c]` to `[n, changed * law.parameters()]`; on images as
    /// [`ImageCoupling`](crate::ImageCoupling) says.
    fn forward(&self, kept: &Tensor, context: Option<&Tensor>) -> Tensor;

    /// Switches between training (dropout is on) and evaluation.
    fn set_training(&mut self, _training: bool) {}
}

/// A coupling layer (NICE, section 3.2; RealNVP, section 3.2):
///
/// ```text
/// (x_kept, x_changed) = mask.split(x)
/// z_kept = x_kept,    z_changed = law(x_changed; conditioner(x_kept, context))
/// ```
///
/// The Jacobian is triangular, so its log-determinant is that of the elementwise law.
///
/// Shapes: `[n, ..event]` with `mask.dim()` coordinates in the event, of any shape: the mask counts them flattened.
#[derive(Debug)]
pub struct Coupling<N> {
    mask: Mask,
    conditioner: N,
    law: Law,
}

impl<N: Conditioner> Coupling<N> {
    /// A coupling of `law` with parameters by `conditioner`, which maps `[n, mask.kept().len()]` (and the context) to
    /// `[n, law.parameters() * mask.changed().len()]`.
    pub fn new(mask: Mask, conditioner: N, law: Law) -> Self {
        Coupling { mask, conditioner, law }
    }

    /// Which coordinates are kept and which are changed.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    fn map(
        &self,
        input: &Tensor,
        context: Option<&Tensor>,
        direction: impl Fn(&Law, &Tensor, &Tensor) -> (Tensor, Option<Tensor>),
    ) -> (Tensor, Tensor) {
        let (kept, changed) = self.mask.split(&flat(input));
        let parameters = self.conditioner.forward(&kept, context);
        // A single column would broadcast, and be counted once in the log-determinant.
        let expected = [changed.size()[0], changed.size()[1] * self.law.parameters() as i64];
        assert_eq!(parameters.size(), expected, "a conditioner's output for {:?} kept coordinates", kept.size());
        let (changed, log_scale) = direction(&self.law, &changed, &parameters);
        let log_det = log_scale.map_or_else(|| zero_log_det(input), |s| sum_event(&s));
        (self.mask.merge(&kept, &changed).reshape(input.size()), log_det)
    }
}

impl<N: Conditioner> Bijection for Coupling<N> {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.map(x, context, Law::forward)
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.map(z, context, Law::inverse)
    }

    /// One pass of the conditioner serves both rebuilding and the gradient, for what is kept is known.
    fn vjp(&self, z: &Tensor, context: Option<&Tensor>, grad_z: &Tensor, grad_log_det: &Tensor) -> (Tensor, Tensor) {
        let (kept, z_changed) = self.mask.split(&flat(z));
        let (own, grads) = self.mask.split(&flat(grad_z));
        let kept = kept.detach().copy().set_requires_grad(true);
        let parameters = self.conditioner.forward(&kept, context);
        let (changed, grad_changed, grad_kept) =
            parameter_gradients(&self.law, &z_changed, &parameters, &kept, |z, log_scale| {
                let log_det = log_scale.map_or_else(|| zero_log_det(z), |s| sum_event(&s));
                (z * &grads).sum(None::<Kind>) + (log_det * grad_log_det).sum(None::<Kind>)
            });
        let merge = |kept: &Tensor, changed: &Tensor| self.mask.merge(kept, changed).reshape(z.size());
        (merge(&kept.detach(), &changed), merge(&(own + grad_kept), &grad_changed))
    }

    fn set_training(&mut self, training: bool) {
        self.conditioner.set_training(training);
    }

    fn inspect(&self, x: &Tensor, context: Option<&Tensor>) -> Inspection {
        let (kept, changed) = self.mask.split(&flat(x));
        let edge = self.law.at_edge(&changed, &self.conditioner.forward(&kept, context));
        Inspection { edge: edge.map(|(what, at)| Edge::new(what, &at)), ..Inspection::default() }
    }
}
