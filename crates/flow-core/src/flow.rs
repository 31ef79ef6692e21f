//! A flow: a bijection and the base distribution of its latent.

use tch::{Device, Tensor};

use crate::dense::sum;
use crate::{Backward, Base, Bijection, Gradients, Kept, Probe};

/// A density on data, `log p(x) = log p_base(z) + log|det dz/dx|` with `z = bijection.forward(x)`.
///
/// A map that starts from data ([`ActNorm`](crate::ActNorm), [`Spline`](crate::Spline)) is the identity until
/// `flow.bijection().start_from_data(x, context)`, or numbers loaded from a file, say otherwise: a training loop calls it
/// once, with a thousand rows or so, before its first step.
///
/// It can be sent to another thread and not be shared with one, as libtorch's tensors: threads that evaluate at the same
/// time have a flow each, or take turns.
#[derive(Debug)]
pub struct Flow {
    bijection: Box<dyn Bijection>,
    base: Box<dyn Base>,
    device: Device,
}

/// What [`Flow::forward_keeping`] returns: a likelihood, and its way back.
pub struct FlowKept<'a> {
    /// `log p(x)`, `[n]`.
    pub log_prob: Tensor,
    z: Tensor,
    base: &'a dyn Base,
    back: Box<dyn Backward + 'a>,
}

impl FlowKept<'_> {
    /// The backward pass of `-mean log p(x)`.
    pub fn backward(self, gradients: &mut dyn Gradients) {
        let rows = self.log_prob.size()[0];
        self.backward_of(rows, gradients);
    }

    /// The backward pass of `-Σ log p(x) / rows`: this batch's part of the mean over so many rows.
    pub fn backward_of(self, rows: i64, gradients: &mut dyn Gradients) {
        let share = -1.0 / rows as f64;
        crate::no_grad(|| {
            let grad_z = self.base.score(&self.z) * share;
            let grad_log_det = self.log_prob.full_like(share);
            let _ = self.back.backward(&grad_z, &grad_log_det, false, gradients);
        });
    }
}

/// What [`Flow::backward_rebuilding`] returns.
#[derive(Debug)]
pub struct Rebuilt {
    /// `log p(x)`, `[n]`.
    pub log_prob: Tensor,
    /// The largest difference between a coordinate of the batch and the same as rebuilt: gradients are off by as much
    /// as their activations are.
    pub error: f64,
}

impl Flow {
    /// A flow whose parameters live on `device`.
    pub fn new(bijection: impl Bijection + 'static, base: impl Base + 'static, device: Device) -> Self {
        Flow { bijection: Box::new(bijection), base: Box::new(base), device }
    }

    /// The map between data and latent.
    pub fn bijection(&self) -> &dyn Bijection {
        self.bijection.as_ref()
    }

    /// The distribution of the latent.
    pub fn base(&self) -> &dyn Base {
        self.base.as_ref()
    }

    /// Where the parameters live and batches are expected.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Switches between training (dropout is on) and evaluation, the mode that a new flow is in.
    pub fn set_training(&mut self, training: bool) {
        self.bijection.set_training(training);
    }

    /// Prepares a flow for evaluation alone: [`Bijection::freeze`](crate::Bijection::freeze). Parameters must not change from here on: what
    /// was laid out beside them would not follow. [`Flow::set_training`] ends it.
    pub fn freeze(&mut self) {
        self.bijection.freeze();
    }

    /// Log-density of `x: [n, ..event]`, `[n]`, in nats.
    ///
    /// Within [`no_grad`](crate::no_grad) nothing is taped for a backward pass, and the maps are computed by this
    /// project's own loops: several times as fast, in a fraction of the memory. A model of `flow-models` has a
    /// `log_prob` that does so, and returns an error where this one panics.
    ///
    /// # Panics
    ///
    /// If `x` is of another event, kind or device than the parameters, or `context` is none where the maps were built
    /// for one, one where they were not, or of another width.
    pub fn log_prob(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        let (z, log_det) = self.bijection.forward(x, context);
        sum(&self.base.log_prob(&z), &log_det)
    }

    /// [`Flow::log_prob`] for training, with what the way back needs ([`Bijection::forward_keeping`]).
    pub fn forward_keeping(&self, x: &Tensor, context: Option<&Tensor>) -> FlowKept<'_> {
        crate::no_grad(|| {
            let Kept { value, log_det, back } = self.bijection.forward_keeping(x, context);
            FlowKept { log_prob: self.base.log_prob(&value) + log_det, z: value, base: self.base(), back }
        })
    }

    /// The backward pass of `-mean log p(x)` with memory that does not grow with depth: nothing but `z` is kept on the
    /// way to the latent, and the activations are rebuilt from it on the way back, step by step ([`Bijection::vjp`]).
    /// Gradients are added to the parameters', whether gradients are on or off outside.
    ///
    /// The mode in which a step draws noise (dropout) or looks at the batch (BatchNorm in training) cannot be rebuilt.
    pub fn backward_rebuilding(&self, x: &Tensor, context: Option<&Tensor>) -> Rebuilt {
        // The way back tapes each map anew, and is to find the same numbers.
        let forward = || crate::no_grad(|| self.bijection.forward(x, context));
        let (z, log_det) = crate::dense::rounded_by_libtorch(forward);
        let n = x.size()[0];
        let base = crate::no_grad(|| self.base.log_prob(&z));
        let grad_log_det = log_det.full_like(-1.0 / n as f64);
        let grad_z = crate::no_grad(|| self.base.score(&z) / -(n as f64));
        let (rebuilt, _) = tch::with_grad(|| self.bijection.vjp(&z, context, &grad_z, &grad_log_det));
        let error = if n == 0 { 0.0 } else { (rebuilt - x).abs().max().double_value(&[]) };
        Rebuilt { log_prob: base + log_det, error }
    }

    /// `n` draws `[n, ..event]` in f32, without gradients. `temperature` multiplies the latent: below 1 the draws keep
    /// to where the density is high, at 1 they follow the model.
    ///
    /// # Panics
    ///
    /// If the parameters are not f32, as the latent is; if `context` does not fit, as in [`Flow::log_prob`]; and if a
    /// [`BatchNorm`](crate::BatchNorm) is in training mode.
    pub fn sample(&self, n: usize, temperature: f64, seed: u64, context: Option<&Tensor>) -> Tensor {
        crate::no_grad(|| {
            let z = self.base.sample(n, temperature, seed, self.device);
            self.bijection.inverse(&z, context).0
        })
    }

    /// Data to latent, every step handed to `probe`; returns `(z, log p(x))`.
    pub fn trace_forward(&self, x: &Tensor, context: Option<&Tensor>, probe: &mut dyn Probe) -> (Tensor, Tensor) {
        let (z, log_det) = self.bijection.forward_traced("", x, context, probe);
        let log_prob = self.base.log_prob(&z) + log_det;
        (z, log_prob)
    }

    /// Latent to data, every step handed to `probe`; returns `(x, log p(x))`.
    pub fn trace_inverse(&self, z: &Tensor, context: Option<&Tensor>, probe: &mut dyn Probe) -> (Tensor, Tensor) {
        let (x, log_det) = self.bijection.inverse_traced("", z, context, probe);
        let log_prob = self.base.log_prob(z) - log_det;
        (x, log_prob)
    }
}
