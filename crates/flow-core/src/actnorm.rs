//! ActNorm: a learned scale and shift that start from the first batch.

use tch::{Kind, Tensor, nn};

use flow_cuda::kernels;

use crate::backward::Taped;
use crate::dense::numbers;
use crate::plain::{PlainMap, Scale, is_plain};
use crate::shape::by_feature;
use crate::{Backward, Bijection, Gradients, Inspection, Kept, Scales, gpu};

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
        let z = (x + by_feature(&self.shift, x)) * by_feature(&self.log_scale, x).exp();
        (z, self.log_det(x))
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        if let Some(on_gpu) = self.on_gpu(z) {
            return on_gpu.inverse(&z.contiguous());
        }
        let x = z * by_feature(&self.log_scale, z).neg().exp() - by_feature(&self.shift, z);
        (x, self.log_det(z).neg())
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        let Some(on_gpu) = self.on_gpu(x) else {
            return Taped::run(x, |x| self.forward(x, context));
        };
        let x = x.contiguous();
        let (value, log_det) = on_gpu.forward(&x);
        Kept { value, log_det, back: Box::new(OnGpuBack { on_gpu, x }) }
    }

    fn start_from_data(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        if !self.has_started() && x.size()[0] > 0 {
            tch::no_grad(|| {
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

    fn plain(&self) -> Option<Box<dyn PlainMap + '_>> {
        let plain = is_plain(&self.log_scale) && is_plain(&self.shift);
        let before = plain.then(|| numbers(&self.shift));
        plain.then(|| Box::new(Scale { log_scale: numbers(&self.log_scale), before, after: None }) as _)
    }

    fn inspect(&self, _x: &Tensor, _context: Option<&Tensor>) -> Inspection {
        Inspection { scales: Some(Scales::diagonal(&self.log_scale.exp())), ..Inspection::default() }
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
