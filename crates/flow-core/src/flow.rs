//! A flow: a bijection and the base distribution of its latent.

use tch::{Device, Tensor};

use crate::{Base, Bijection, Probe};

/// A density on data, `log p(x) = log p_base(z) + log|det dz/dx|` with `z = bijection.forward(x)`.
#[derive(Debug)]
pub struct Flow {
    bijection: Box<dyn Bijection>,
    base: Box<dyn Base>,
    device: Device,
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

    /// Log-density of `x: [n, ..event]`, `[n]`, in nats.
    pub fn log_prob(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        let (z, log_det) = self.bijection.forward(x, context);
        self.base.log_prob(&z) + log_det
    }

    /// `n` draws `[n, ..event]`, without gradients. `temperature` multiplies the latent: below 1 the draws keep to where
    /// the density is high, at 1 they follow the model.
    pub fn sample(&self, n: usize, temperature: f64, seed: u64, context: Option<&Tensor>) -> Tensor {
        tch::no_grad(|| {
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
