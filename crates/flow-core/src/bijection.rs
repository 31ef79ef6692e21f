//! The contract of an invertible map, and the probe that watches its steps.

use std::fmt::Debug;

use tch::Tensor;

use crate::Kept;
use crate::backward::Taped;
use crate::plain::PlainMap;
use crate::plain_training::PlainTrained;
use crate::shape::by_blocks;
use crate::step::{Direction, Inspection, Visit, Whole};

/// An invertible map on batches `[n, ..event]`.
///
/// Both directions return `(value, log_det)`: the mapped batch, and `log_det: [n]`, the logarithm of the absolute
/// determinant of *that* direction's Jacobian, in nats, summed over the event. Hence for every `x`
///
/// ```text
/// (z, f) = forward(x);  (y, i) = inverse(z);   y = x,  f + i = 0
/// log p(x) = log p_base(z) + f
/// ```
///
/// `z` has as many coordinates as `x`, and but for [`crate::Squeeze`] the same shape.
///
/// Rules an implementation keeps, all of which [`crate::testing`] checks:
///
/// - rows are independent: row `i` of the result depends on row `i` of the input (and of `context`) alone;
/// - a batch of no rows is mapped to a batch of no rows;
/// - a constant log-determinant is expanded to `[n]`;
/// - `x` is left as it was: no operation in place on an argument.
///
/// A wrong shape inside a bijection is a bug of the caller and may panic with the shapes in the message.
pub trait Bijection: Debug + Send {
    /// Data to latent: `x: [n, ..event]` to `(z: [n, ..event], log_det: [n])`.
    ///
    /// `context: [n, c]`, where given, conditions the map on something known.
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor);

    /// Latent to data: `z: [n, ..event]` to `(x: [n, ..event], log_det: [n])`.
    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor);

    /// [`Bijection::forward`], handing every step to `probe` under `name`. A map made of several steps hands over each
    /// of them instead of itself.
    fn forward_traced(
        &self,
        name: &str,
        x: &Tensor,
        context: Option<&Tensor>,
        probe: &mut dyn Probe,
    ) -> (Tensor, Tensor) {
        let (z, log_det) = self.forward(x, context);
        probe.step(name, &z, &log_det);
        (z, log_det)
    }

    /// [`Bijection::inverse`], handing every step to `probe` under `name`.
    fn inverse_traced(
        &self,
        name: &str,
        z: &Tensor,
        context: Option<&Tensor>,
        probe: &mut dyn Probe,
    ) -> (Tensor, Tensor) {
        let (x, log_det) = self.inverse(z, context);
        probe.step(name, &x, &log_det);
        (x, log_det)
    }

    /// [`Bijection::forward`] for training: what is kept finds the gradients on the way back. A map that knows its own
    /// gradient says it here; as provided, autograd tapes the map on its own. Not to be called with gradients wanted of
    /// `x` or `context` by autograd: what comes back is cut off from both.
    ///
    /// To be called within [`tch::no_grad`], and its way back too: outside, autograd would tape again what is done by
    /// hand, and keep all that it reads.
    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        Taped::run(x, |x| self.forward(x, context))
    }

    /// Backward pass from the output alone: given `z = forward(x)` and the gradients of a loss with respect to `z`
    /// `[n, ..event]` and to the log-determinant `[n]`, rebuilds `x` and returns `(x, grad_x)`. Gradients of parameters
    /// are added to the parameters, as by any backward pass.
    ///
    /// One hook serves rebuilding activations (memory that does not grow with depth) and hand-written backward passes.
    fn vjp(&self, z: &Tensor, context: Option<&Tensor>, grad_z: &Tensor, grad_log_det: &Tensor) -> (Tensor, Tensor) {
        let x = crate::no_grad(|| self.inverse(z, context).0).set_requires_grad(true);
        let (z, log_det) = self.forward(&x, context);
        ((z * grad_z).sum(None) + (log_det * grad_log_det).sum(None)).backward();
        let grad_x = x.grad();
        (x.detach(), grad_x)
    }

    /// Sets what depends on data before training starts (ActNorm's scale and shift), from a batch `x`, and returns
    /// `forward(x)`'s value. What has been set once, or loaded from a file, stays as it is; but for running moments
    /// ([`crate::BatchNorm`]), which become those of `x` each time.
    ///
    /// As provided, for a map that nothing is set in, `x` goes through in blocks of rows: statistics want more rows than a
    /// training step has, and must not need more memory.
    fn start_from_data(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        by_blocks(x, context, |x, context| self.forward(x, context).0)
    }

    /// This map as plain numbers, where it knows how: in evaluation, without a context. What is best may depend on the number of rows.
    fn plain(&self, _rows: usize) -> Option<Box<dyn PlainMap + '_>> {
        None
    }

    /// The same for a training step: what [`Bijection::forward_keeping`] is to [`Bijection::forward`].
    fn plain_in_training(&self) -> Option<Box<dyn PlainTrained<'_> + '_>> {
        None
    }

    /// Switches between training (dropout is on) and evaluation, the mode that a new bijection is in.
    fn set_training(&mut self, _training: bool) {}

    /// Lays out beside the parameters what makes evaluation faster, where there is such. They must not change from here on, until
    /// training is switched on, which ends it.
    fn freeze(&mut self) {}

    /// Takes `input` through the map in `direction` and hands every step to `visit`, under the name that it has in a trace,
    /// with the batch that reaches it; what `visit` returns goes on to the next step, and what the last one returns is
    /// returned. A map made of several steps hands over each of them instead of itself.
    ///
    /// Where a [`Probe`] sees what comes out of a step, this gives the step itself, in the shapes that it works on, to be
    /// run again, backwards, or on something else: [`crate::check`] is made of it.
    fn steps(
        &self,
        name: &str,
        _direction: Direction,
        input: &Tensor,
        _context: Option<&Tensor>,
        visit: &mut Visit,
    ) -> Tensor {
        visit(name, &Whole(self), input)
    }

    /// What can be said of this map by its kind, given a batch `x: [n, ..event]` on its data side: how much a linear map
    /// stretches, how much of `x` is at a bound. Nothing, unless it is said.
    fn inspect(&self, _x: &Tensor, _context: Option<&Tensor>) -> Inspection {
        Inspection::default()
    }
}

impl<B: Bijection + ?Sized> Bijection for Box<B> {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        (**self).forward(x, context)
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        (**self).inverse(z, context)
    }

    fn forward_traced(
        &self,
        name: &str,
        x: &Tensor,
        context: Option<&Tensor>,
        probe: &mut dyn Probe,
    ) -> (Tensor, Tensor) {
        (**self).forward_traced(name, x, context, probe)
    }

    fn inverse_traced(
        &self,
        name: &str,
        z: &Tensor,
        context: Option<&Tensor>,
        probe: &mut dyn Probe,
    ) -> (Tensor, Tensor) {
        (**self).inverse_traced(name, z, context, probe)
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        (**self).forward_keeping(x, context)
    }

    fn vjp(&self, z: &Tensor, context: Option<&Tensor>, grad_z: &Tensor, grad_log_det: &Tensor) -> (Tensor, Tensor) {
        (**self).vjp(z, context, grad_z, grad_log_det)
    }

    fn start_from_data(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        (**self).start_from_data(x, context)
    }

    fn plain(&self, rows: usize) -> Option<Box<dyn PlainMap + '_>> {
        (**self).plain(rows)
    }

    fn plain_in_training(&self) -> Option<Box<dyn PlainTrained<'_> + '_>> {
        (**self).plain_in_training()
    }

    fn set_training(&mut self, training: bool) {
        (**self).set_training(training);
    }

    fn freeze(&mut self) {
        (**self).freeze();
    }

    fn steps(
        &self,
        name: &str,
        direction: Direction,
        input: &Tensor,
        context: Option<&Tensor>,
        visit: &mut Visit,
    ) -> Tensor {
        (**self).steps(name, direction, input, context, visit)
    }

    fn inspect(&self, x: &Tensor, context: Option<&Tensor>) -> Inspection {
        (**self).inspect(x, context)
    }
}

/// Something that watches the steps of a map as they are taken.
///
/// The engine pushes and stores nothing: what a viewer wants to keep, its probe keeps. Any closure of the same
/// arguments is a probe.
pub trait Probe {
    /// Called after each step with its name, its output `[n, ..event]` and its own log-determinant `[n]`.
    fn step(&mut self, name: &str, value: &Tensor, log_det: &Tensor);
}

impl<F: FnMut(&str, &Tensor, &Tensor)> Probe for F {
    fn step(&mut self, name: &str, value: &Tensor, log_det: &Tensor) {
        self(name, value, log_det);
    }
}
