//! ActNorm: a learned scale and shift that start from the first batch.

use tch::{Kind, Tensor, nn};

use flow_cuda::kernels;
use flow_dense::{ChannelScale, exp, scale_channels, scale_channels_back};

use crate::backward::Taped;
use crate::dense::{self, NewTensor, numbers};
use crate::plain::{PlainMap, Scale, in_shares, is_plain};
use crate::shape::{by_feature, pixels, same_log_det};
use crate::{Backward, Bijection, Direction, Gradients, Inspection, Kept, Scales, gpu};

/// Activation normalisation (Glow, section 3.1): `z = (x + shift) * exp(log_scale)`, one scale and one shift a feature,
/// where the features are dimension 1 of `[n, features, ..]`.
///
/// ```text
/// log_det = (coordinates per feature) * Σ log_scale
/// ```
///
/// [`Bijection::start_from_data`] sets both so that a batch comes out with mean 0 and standard deviation 1 a feature (or
/// another: [`ActNorm::starting_at_std`]).
/// That it has been done is itself a saved variable, `started`, so that a loaded model never starts again.
#[derive(Debug)]
pub struct ActNorm {
    log_scale: Tensor,
    shift: Tensor,
    started: Tensor,
    std: f64,
}

/// Features that never vary in the first batch are divided by this, not by 0. A dark pixel of 256 levels, of which only
/// the noise varies, has 1.1e-3.
const SMALLEST_STD: f64 = 1e-4;

impl ActNorm {
    /// Parameters `path/log_scale` and `path/shift`, `[features]`, and the flag `path/started`.
    pub fn new(path: &nn::Path, features: usize) -> Self {
        let size = [features as i64];
        ActNorm {
            log_scale: path.zeros("log_scale", &size),
            shift: path.zeros("shift", &size),
            started: path.zeros_no_train("started", &[1]),
            std: 1.0,
        }
    }

    /// The same, started so that features come out with standard deviation `std` rather than 1: that of the base, where
    /// this is the last step.
    pub fn starting_at_std(self, std: f64) -> Self {
        ActNorm { std, ..self }
    }

    /// Whether the start from data has been done, here or before the parameters were saved.
    pub fn has_started(&self) -> bool {
        self.started.double_value(&[0]) != 0.0
    }

    /// A single feature would broadcast over many, with a log-determinant of only one.
    fn assert_fits(&self, x: &Tensor) {
        let (features, size) = (self.log_scale.size()[0], x.size());
        assert!(size[1] == features, "an ActNorm of {features} features was given a batch {size:?}");
    }

    /// By kernels, where they compute on `x`.
    fn on_gpu(&self, x: &Tensor) -> Option<kernels::ActNorm<'_>> {
        self.assert_fits(x);
        gpu::applies(x).then_some(kernels::ActNorm { log_scale: &self.log_scale, shift: &self.shift })
    }

    /// By [`flow_dense`], where it computes on images `x`.
    fn by_channel(&self, x: &Tensor) -> Option<ByChannel<'_>> {
        self.assert_fits(x);
        let plain = x.dim() == 4 && dense::applies(x) && is_plain(&self.log_scale) && is_plain(&self.shift);
        plain.then(|| ByChannel { log_scale: numbers(&self.log_scale), shift: numbers(&self.shift) })
    }

    fn log_det(&self, x: &Tensor) -> Tensor {
        self.assert_fits(x);
        let size = x.size();
        let places: i64 = size[2..].iter().product();
        let one = self.log_scale.sum(None::<Kind>) * places as f64;
        one.unsqueeze(0).expand([size[0]], false)
    }
}

impl Bijection for ActNorm {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        if let Some(on_gpu) = self.on_gpu(x) {
            return on_gpu.forward(&x.contiguous());
        }
        if let Some(by_channel) = self.by_channel(x) {
            return by_channel.take(x, Direction::Forward);
        }
        let z = (x + by_feature(&self.shift, x)) * by_feature(&self.log_scale, x).exp();
        (z, self.log_det(x))
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        if let Some(on_gpu) = self.on_gpu(z) {
            return on_gpu.inverse(&z.contiguous());
        }
        if let Some(by_channel) = self.by_channel(z) {
            return by_channel.take(z, Direction::Inverse);
        }
        let x = z * by_feature(&self.log_scale, z).neg().exp() - by_feature(&self.shift, z);
        (x, self.log_det(z).neg())
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        if let Some(on_gpu) = self.on_gpu(x) {
            let x = x.contiguous();
            let (value, log_det) = on_gpu.forward(&x);
            return Kept { value, log_det, back: Box::new(OnGpuBack { on_gpu, x }) };
        }
        let Some(by_channel) = self.by_channel(x) else {
            return Taped::run(x, |x| self.forward(x, context));
        };
        let (value, log_det) = by_channel.take(x, Direction::Forward);
        let kept = value.shallow_clone();
        Kept { value, log_det, back: Box::new(ByChannelBack { norm: self, by_channel, value: kept }) }
    }

    fn start_from_data(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        if !self.has_started() && x.size()[0] > 0 {
            crate::no_grad(|| {
                let others: Vec<i64> = (0..x.dim() as i64).filter(|&d| d != 1).collect();
                let mean = x.mean_dim(&others[..], false, None::<Kind>);
                let std = x.std_dim(&others[..], false, false).clamp_min(SMALLEST_STD);
                self.shift.shallow_clone().copy_(&mean.neg());
                self.log_scale.shallow_clone().copy_(&(std.log().neg() + self.std.ln()));
                let _ = self.started.shallow_clone().fill_(1.0);
            });
        }
        self.forward(x, context).0
    }

    fn plain(&self, _rows: usize) -> Option<Box<dyn PlainMap + '_>> {
        let plain = is_plain(&self.log_scale) && is_plain(&self.shift);
        let before = plain.then(|| numbers(&self.shift));
        plain.then(|| Box::new(Scale { log_scale: numbers(&self.log_scale), before, after: None }) as _)
    }

    fn inspect(&self, _x: &Tensor, _context: Option<&Tensor>) -> Inspection {
        Inspection { scales: Some(Scales::diagonal(&self.log_scale.exp())), ..Inspection::default() }
    }
}

/// Scales and shifts of channels as plain numbers.
struct ByChannel<'a> {
    log_scale: &'a [f32],
    shift: &'a [f32],
}

impl ByChannel<'_> {
    /// What is multiplied by.
    fn scale(&self, direction: Direction) -> Vec<f32> {
        let mut scale: Vec<f32> = match direction {
            Direction::Forward => self.log_scale.to_vec(),
            Direction::Inverse => self.log_scale.iter().map(|s| -s).collect(),
        };
        exp(&mut scale);
        scale
    }

    fn take(&self, x: &Tensor, direction: Direction) -> (Tensor, Tensor) {
        let (channels, pixels) = (self.shift.len(), pixels(x));
        let (scale, none) = (self.scale(direction), vec![0.0; channels]);
        let minus: Vec<f32> = self.shift.iter().map(|shift| -shift).collect();
        let (before, after, sign) = match direction {
            Direction::Forward => (self.shift, &none[..], 1.0),
            Direction::Inverse => (&none[..], &minus[..], -1.0),
        };
        let mut value = NewTensor::copy_of(x);
        in_shares(x.size()[0] as usize, [(value.numbers_mut(), channels * pixels)], |_, [images]| {
            scale_channels(images, pixels, ChannelScale { before, scale: &scale, after });
        });
        let log_det: f64 = self.log_scale.iter().map(|&s| f64::from(s)).sum();
        (value.done(), same_log_det(sign * log_det * pixels as f64, x))
    }
}

struct ByChannelBack<'a> {
    norm: &'a ActNorm,
    by_channel: ByChannel<'a>,
    value: Tensor,
}

impl Backward for ByChannelBack<'_> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        _wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let pixels = pixels(grad_value);
        let scale = self.by_channel.scale(Direction::Forward);
        let mut grad = NewTensor::copy_of(grad_value);
        let values = numbers(&self.value);
        let [of_shift, mut of_log_scale] = scale_channels_back(grad.numbers_mut(), values, pixels, &scale);
        let of_log_det = grad_log_det.sum(Kind::Double).double_value(&[]) * pixels as f64;
        of_log_scale.iter_mut().for_each(|of| *of += of_log_det as f32);
        // Not before all of both was read: an optimizer may take its step on the spot.
        gradients.give(&self.norm.shift, &Tensor::from_slice(&of_shift));
        gradients.give(&self.norm.log_scale, &Tensor::from_slice(&of_log_scale));
        Some(grad.done())
    }
}

struct OnGpuBack<'a> {
    on_gpu: kernels::ActNorm<'a>,
    x: Tensor,
}

impl Backward for OnGpuBack<'_> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        _wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let OnGpuBack { on_gpu, x } = *self;
        let places = kernels::ActNormGradients {
            log_scale: gradients.place_of(on_gpu.log_scale),
            shift: gradients.place_of(on_gpu.shift),
        };
        Some(on_gpu.backward(&x, &grad_value.contiguous(), &grad_log_det.contiguous(), &places))
    }
}
