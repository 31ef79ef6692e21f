//! Base distributions: what the latent is distributed as.

use std::f64::consts::PI;
use std::fmt::Debug;
use std::sync::Mutex;

use flow_dense::in_parallel;
use tch::{Device, Kind, Tensor};

use crate::dense::{FEW_NUMBERS, NewTensor, applies, applies_to_few, numbers};
use crate::plain::{lock, threads_for};
use crate::rng::with_seed;
use crate::shape::sum_event;

/// A fixed, parameter-free distribution over latents `[n, ..event]`.
pub trait Base: Debug + Send {
    /// Shape of one latent.
    fn event(&self) -> &[i64];

    /// `z: [n, ..event]` to the log-density `[n]`, in nats, constants included.
    fn log_prob(&self, z: &Tensor) -> Tensor;

    /// The gradient of the log-density with respect to `z`, of its size; as provided, by autograd.
    fn score(&self, z: &Tensor) -> Tensor {
        let leaf = z.detach().set_requires_grad(true);
        tch::with_grad(|| self.log_prob(&leaf).sum(None::<Kind>).backward());
        leaf.grad()
    }

    /// `n` latents `[n, ..event]` in f32, multiplied by `temperature` (1 for the distribution itself).
    fn sample(&self, n: usize, temperature: f64, seed: u64, device: Device) -> Tensor;

    /// The distribution function of a coordinate, P(Z ≤ z), for each of `z`, of any shape.
    fn cdf(&self, z: &Tensor) -> Tensor;

    /// Variance of a coordinate; the mean is 0.
    fn variance(&self) -> f64;
}

impl<B: Base + ?Sized> Base for Box<B> {
    fn event(&self) -> &[i64] {
        (**self).event()
    }

    fn log_prob(&self, z: &Tensor) -> Tensor {
        (**self).log_prob(z)
    }

    fn score(&self, z: &Tensor) -> Tensor {
        (**self).score(z)
    }

    fn sample(&self, n: usize, temperature: f64, seed: u64, device: Device) -> Tensor {
        (**self).sample(n, temperature, seed, device)
    }

    fn cdf(&self, z: &Tensor) -> Tensor {
        (**self).cdf(z)
    }

    fn variance(&self) -> f64 {
        (**self).variance()
    }
}

/// Independent standard normals: `log p(z) = -Σ (z² + ln 2π) / 2`.
#[derive(Debug, Clone)]
pub struct StandardNormal {
    event: Vec<i64>,
}

impl StandardNormal {
    /// Latents of shape `event`.
    pub fn new(event: &[i64]) -> Self {
        StandardNormal { event: event.to_vec() }
    }
}

impl Base for StandardNormal {
    fn event(&self) -> &[i64] {
        &self.event
    }

    fn log_prob(&self, z: &Tensor) -> Tensor {
        assert_event(&self.event, z);
        let constant = 0.5 * (2.0 * PI).ln() * coordinates(&self.event);
        if applies(z) {
            return of_each(z, |z| -0.5 * sum_of_squares(z) - constant);
        }
        sum_event(&z.square()) * -0.5 - constant
    }

    /// `-z`.
    fn score(&self, z: &Tensor) -> Tensor {
        z.neg()
    }

    fn sample(&self, n: usize, temperature: f64, seed: u64, device: Device) -> Tensor {
        let size = batch(n, &self.event);
        let z = with_seed(seed, || Tensor::randn(&size, (Kind::Float, device)));
        if temperature == 1.0 { z } else { z * temperature }
    }

    fn cdf(&self, z: &Tensor) -> Tensor {
        z.special_ndtr()
    }

    fn variance(&self) -> f64 {
        1.0
    }
}

/// Independent standard logistics (NICE, section 3.4): `log p(z) = -Σ [softplus(z) + softplus(-z)]`, variance π²/3.
#[derive(Debug, Clone)]
pub struct Logistic {
    event: Vec<i64>,
}

impl Logistic {
    /// Latents of shape `event`.
    pub fn new(event: &[i64]) -> Self {
        Logistic { event: event.to_vec() }
    }
}

impl Base for Logistic {
    fn event(&self) -> &[i64] {
        &self.event
    }

    fn log_prob(&self, z: &Tensor) -> Tensor {
        assert_event(&self.event, z);
        // softplus(z) + softplus(-z) = |z| + 2 softplus(-|z|), without an overflow on either side.
        if applies_to_few(z) {
            let both = |z: &f32| f64::from(z.abs()) + 2.0 * (-f64::from(z.abs())).exp().ln_1p();
            return of_each(z, |z| -z.iter().map(both).sum::<f64>());
        }
        let a = z.abs();
        sum_event(&(&a + a.neg().exp().log1p() * 2.0)).neg()
    }

    /// `-tanh(z / 2)`.
    fn score(&self, z: &Tensor) -> Tensor {
        (z * -0.5).tanh()
    }

    fn sample(&self, n: usize, temperature: f64, seed: u64, device: Device) -> Tensor {
        let size = batch(n, &self.event);
        // In f64, so that the tails reach past what a 24-bit uniform could give; Metal has no f64, so its are drawn here.
        let place = if device == Device::Mps { Device::Cpu } else { device };
        let u = with_seed(seed, || Tensor::rand(&size, (Kind::Double, place)));
        if device == Device::Cpu && u.numel() <= FEW_NUMBERS && flow_dense::available() {
            let u = Vec::<f64>::try_from(u.flatten(0, -1)).expect("f64 on the processor");
            let u = u.into_iter().map(|u| u.clamp(f64::EPSILON, 1.0 - f64::EPSILON));
            return NewTensor::empty(&size).filled_with(u.map(|u| ((u / (1.0 - u)).ln() * temperature) as f32));
        }
        let u = u.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        (u.logit(None) * temperature).to_kind(Kind::Float).to_device(device)
    }

    fn cdf(&self, z: &Tensor) -> Tensor {
        z.sigmoid()
    }

    fn variance(&self) -> f64 {
        PI * PI / 3.0
    }
}

/// In several sums, of which none waits for another.
fn sum_of_squares(z: &[f32]) -> f64 {
    let mut sums = [0.0; 16];
    for some in z.chunks(sums.len()) {
        sums.iter_mut().zip(some).for_each(|(sum, &z)| *sum += f64::from(z).powi(2));
    }
    sums.iter().sum()
}

/// A number of each of the latents `[n, ..event]`, in f32, from its coordinates: `[n]`.
fn of_each(z: &Tensor, log_prob: impl Fn(&[f32]) -> f64 + Sync) -> Tensor {
    // To ask takes less than to have libtorch see that there is nothing to do.
    if !z.is_contiguous() {
        return of_each(&z.contiguous(), log_prob);
    }
    let n = z.size()[0] as usize;
    let (each, own) = (z.numel() / n, n.div_ceil(threads_for(z.numel())));
    let mut all = NewTensor::empty(&[n as i64]);
    let shares = all.numbers_mut().chunks_mut(own).zip(numbers(z).chunks(own * each));
    let shares: Vec<_> = shares.map(Mutex::new).collect();
    in_parallel(shares.len(), &|part, _| {
        let (all, z) = &mut *lock(&shares[part]);
        all.iter_mut().zip(z.chunks_exact(each)).for_each(|(one, z)| *one = log_prob(z) as f32);
    });
    drop(shares);
    all.done()
}

/// A latent of another shape would get the constant of this one.
fn assert_event(event: &[i64], z: &Tensor) {
    let size = z.size();
    assert!(size[1..] == *event, "a base over events {event:?} was given a batch {size:?}");
}

fn coordinates(event: &[i64]) -> f64 {
    event.iter().product::<i64>() as f64
}

fn batch(n: usize, event: &[i64]) -> Vec<i64> {
    std::iter::once(n as i64).chain(event.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against libtorch's f64, which is always its own; as many as are few, one more, and enough for threads.
    #[test]
    fn numbers_have_the_density_that_libtorch_finds() {
        let extremes = Tensor::from_slice(&[0.0f32, -0.0, 1e-30, 88.0, -300.0, f32::INFINITY, f32::NAN, -1.0]);
        for (n, event) in [(8, vec![]), (1, vec![2, 3]), (8, vec![128]), (9, vec![114]), (61, vec![5, 70])] {
            let size = batch(n, &event);
            let mut all = vec![with_seed(2, || Tensor::randn(&size, (Kind::Float, Device::Cpu))) * 3.0];
            if event.is_empty() {
                all.push(extremes.shallow_clone());
            } else {
                // Not side by side.
                all.push(all[0].transpose(0, -1).contiguous().transpose(0, -1));
            }
            let bases: [&dyn Base; 2] = [&StandardNormal::new(&event), &Logistic::new(&event)];
            for (base, z) in bases.iter().flat_map(|base| all.iter().map(move |z| (base, z))) {
                let own = tch::no_grad(|| base.log_prob(z));
                let right = base.log_prob(&z.to_kind(Kind::Double)).to_kind(Kind::Float);
                assert_eq!((own.kind(), own.size()), (Kind::Float, vec![n as i64]));
                assert!(own.allclose(&right, 1e-6, 1e-6, true), "{base:?}: {own:?} {right:?}");
            }
        }
    }

    /// The same numbers as libtorch's `logit` of the same draws, whether they are few or one more.
    #[test]
    fn few_draws_are_those_of_many() {
        for n in [0, 1, 512, 513] {
            let base = Logistic::new(&[2]);
            let z = base.sample(n, 0.5, 7, Device::Cpu);
            let u = with_seed(7, || Tensor::rand([n as i64, 2], (Kind::Double, Device::Cpu)));
            let right = (u.logit(Some(f64::EPSILON)) * 0.5).to_kind(Kind::Float);
            assert_eq!(z.size(), [n as i64, 2]);
            assert!(z.allclose(&right, 1e-6, 1e-7, false), "{n}");
        }
    }

    #[test]
    fn scores_are_gradients_of_the_log_density() {
        let z = with_seed(1, || Tensor::randn([9, 2, 3], (Kind::Double, Device::Cpu))) * 5.0;
        let bases: [&dyn Base; 2] = [&StandardNormal::new(&[2, 3]), &Logistic::new(&[2, 3])];
        for base in bases {
            let leaf = z.copy().set_requires_grad(true);
            base.log_prob(&leaf).sum(None::<Kind>).backward();
            let off = (base.score(&z) - leaf.grad()).abs().max().double_value(&[]);
            assert!(off < 1e-14, "{base:?}: {off}");
        }
    }
}
