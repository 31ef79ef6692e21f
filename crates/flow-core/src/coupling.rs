//! Coupling layers: one part of the event is changed by a map whose parameters are computed from the other part.

use std::fmt::Debug;

use flow_cuda::kernels::Change;
use tch::{Kind, Tensor};

use crate::backward::{gradient_or_zeros, pull_back};
use crate::coupling_gpu::{self, OnGpu};
use crate::law::parameter_gradients;
use crate::law_backward::{LawKept, by_row};
use crate::plain::{PlainConditioner, PlainCoupling, PlainMap};
use crate::plain_training::{PlainTrained, PlainTrainedConditioner, TrainedCoupling};
use crate::shape::{flat, sum_event, zero_log_det};
use crate::{Backward, Bijection, Direction, Edge, Gradients, Inspection, Kept, Law, Mask};

/// The network of a coupling: from what is kept (and the context) to the parameters of the change.
pub trait Conditioner: Debug + Send {
    /// `kept: [n, kept]` and `context: [n, c]` to `[n, changed * law.parameters()]`; on images as
    /// [`ImageCoupling`](crate::ImageCoupling) says.
    fn forward(&self, kept: &Tensor, context: Option<&Tensor>) -> Tensor;

    /// [`Conditioner::forward`] for training, as [`Bijection::forward_keeping`], and like it within [`tch::no_grad`];
    /// as provided, by autograd.
    fn forward_keeping<'a>(&'a self, kept: &Tensor, context: Option<&Tensor>) -> ConditionerKept<'a> {
        ConditionerKept::taped(kept, |kept| self.forward(kept, context))
    }

    /// The same as plain numbers, where it knows how: in evaluation, without a context, of so many rows.
    fn plain(&self, _rows: usize) -> Option<Box<dyn PlainConditioner + '_>> {
        None
    }

    /// The same for a training step.
    fn plain_in_training(&self) -> Option<Box<dyn PlainTrainedConditioner<'_> + '_>> {
        None
    }

    /// Switches between training (dropout is on) and evaluation.
    fn set_training(&mut self, _training: bool) {}

    /// [`Bijection::freeze`].
    fn freeze(&mut self) {}
}

/// A conditioner's output and its way back.
pub struct ConditionerKept<'a> {
    /// What [`Conditioner::forward`] returns.
    pub parameters: Tensor,
    /// The way back.
    pub back: Box<dyn ConditionerBackward + 'a>,
}

impl ConditionerKept<'_> {
    /// By autograd's tape of `map` alone.
    pub fn taped(kept: &Tensor, map: impl FnOnce(&Tensor) -> Tensor) -> Self {
        let kept = kept.detach().set_requires_grad(true);
        let parameters = tch::with_grad(|| map(&kept));
        ConditionerKept { parameters: parameters.detach(), back: Box::new(Taped { kept, parameters }) }
    }
}

/// The way back of a conditioner, once, within [`tch::no_grad`].
pub trait ConditionerBackward {
    /// From the gradient with respect to the output to that with respect to `kept`, which need not be computed where it is
    /// not `wanted`. Those of parameters are given to `gradients`.
    fn backward(self: Box<Self>, grad: &Tensor, wanted: bool, gradients: &mut dyn Gradients) -> Option<Tensor>;
}

/// A conditioner taped by autograd.
struct Taped {
    kept: Tensor,
    parameters: Tensor,
}

impl ConditionerBackward for Taped {
    fn backward(self: Box<Self>, grad: &Tensor, wanted: bool, _gradients: &mut dyn Gradients) -> Option<Tensor> {
        tch::with_grad(|| pull_back(&[(&self.parameters, grad)]));
        wanted.then(|| gradient_or_zeros(&self.kept))
    }
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

    fn map(&self, input: &Tensor, context: Option<&Tensor>, direction: Direction) -> (Tensor, Tensor) {
        if let Some(change) = coupling_gpu::change(&self.law, input) {
            let (rows, kept) = self.in_rows(input);
            let parameters = self.conditioner.forward(&kept, context);
            return self.on_gpu(change, rows, &kept, &parameters).take(direction, input);
        }
        let (kept, changed) = self.mask.split(&flat(input));
        let parameters = self.conditioner.forward(&kept, context);
        self.assert_fits(&parameters, &kept);
        let (changed, log_scale) = match direction {
            Direction::Forward => self.law.forward(&changed, &parameters),
            Direction::Inverse => self.law.inverse(&changed, &parameters),
        };
        let log_det = log_scale.map_or_else(|| zero_log_det(input), |s| sum_event(&s));
        (self.mask.merge(&kept, &changed).reshape(input.size()), log_det)
    }

    /// What kernels take of `input`: all of it in rows, and what is kept.
    fn in_rows(&self, input: &Tensor) -> (Tensor, Tensor) {
        let input = flat(input).contiguous();
        let kept = self.mask.kept_of(&input);
        (input, kept)
    }

    fn on_gpu<'a>(&'a self, change: Change<'a>, input: Tensor, kept: &Tensor, parameters: &Tensor) -> OnGpu<'a> {
        self.assert_fits(parameters, kept);
        OnGpu { mask: &self.mask, change, input, parameters: parameters.contiguous() }
    }

    /// A single column would broadcast, and be counted once in the log-determinant.
    fn assert_fits(&self, parameters: &Tensor, kept: &Tensor) {
        let expected = [kept.size()[0], (self.mask.changed().len() * self.law.parameters()) as i64];
        assert_eq!(parameters.size(), expected, "a conditioner's output for {:?} kept coordinates", kept.size());
    }
}

impl<N: Conditioner> Bijection for Coupling<N> {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.map(x, context, Direction::Forward)
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.map(z, context, Direction::Inverse)
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        if let Some(change) = coupling_gpu::change(&self.law, x) {
            let (rows, kept) = self.in_rows(x);
            let conditioner = self.conditioner.forward_keeping(&kept, context);
            return self.on_gpu(change, rows, &kept, &conditioner.parameters).keep(x, conditioner.back);
        }
        let (kept, changed) = self.mask.split(&flat(x));
        let conditioner = self.conditioner.forward_keeping(&kept, context);
        self.assert_fits(&conditioner.parameters, &kept);
        let (changed, log_scale, law) = self.law.forward_keeping(&changed, &conditioner.parameters);
        let log_det = log_scale.map_or_else(|| zero_log_det(x), |s| sum_event(&s));
        let value = self.mask.merge(&kept, &changed).reshape(x.size());
        Kept { value, log_det, back: Box::new(CouplingBack { coupling: self, law, conditioner: conditioner.back }) }
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

    fn plain(&self, rows: usize) -> Option<Box<dyn PlainMap + '_>> {
        let coupling = PlainCoupling::new(&self.mask, &self.law, self.conditioner.plain(rows)?)?;
        Some(Box::new(coupling))
    }

    fn plain_in_training(&self) -> Option<Box<dyn PlainTrained<'_> + '_>> {
        let conditioner = self.conditioner.plain_in_training()?;
        let coupling = TrainedCoupling::new(&self.mask, &self.law, conditioner)?;
        Some(Box::new(coupling))
    }

    fn set_training(&mut self, training: bool) {
        self.conditioner.set_training(training);
    }

    fn freeze(&mut self) {
        self.conditioner.freeze();
    }

    fn inspect(&self, x: &Tensor, context: Option<&Tensor>) -> Inspection {
        let (kept, changed) = self.mask.split(&flat(x));
        let edge = self.law.at_edge(&changed, &self.conditioner.forward(&kept, context));
        Inspection { edge: edge.map(|(what, at)| Edge::new(what, &at)), ..Inspection::default() }
    }
}

struct CouplingBack<'a, N> {
    coupling: &'a Coupling<N>,
    law: LawKept,
    conditioner: Box<dyn ConditionerBackward + 'a>,
}

impl<N: Conditioner> Backward for CouplingBack<'_, N> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let Coupling { mask, law, .. } = self.coupling;
        let (own, grad_changed) = mask.split(&flat(grad_value));
        let (grad_changed, grad_parameters) =
            law.backward(self.law, &grad_changed, &by_row(grad_log_det, &grad_changed), gradients);
        let grad_kept = self.conditioner.backward(&grad_parameters, wanted, gradients)?;
        wanted.then(|| mask.merge(&(own + grad_kept), &grad_changed).reshape(grad_value.size()))
    }
}
