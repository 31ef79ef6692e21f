//! Batch normalisation as a bijection.

use tch::{Kind, Tensor, nn};

use crate::shape::by_feature;
use crate::{Bijection, Inspection, Scales};

/// Batch normalisation (RealNVP, section 3.7 and appendix E), features along dimension 1 of `[n, features, ..]`:
///
/// ```text
/// z = (x - m) / √(v + ε)        log_det = -(places per feature) / 2 * Σ ln(v + ε)
/// ```
///
/// In evaluation, the mode that a new one is in, `m` and `v` are the running moments, and rows are independent. In training
/// they are the running moments as this batch moves them, `(1 - share) * running + share * batch`, with the gradient
/// going through the batch's part, and the running moments become these: so small batches are normalised steadily.
/// There is no inverse in training mode, for it would have to know the batch that it is to give.
#[derive(Debug)]
pub struct BatchNorm {
    mean: Tensor,
    variance: Tensor,
    share: f64,
    training: bool,
}

/// The ε of the equation: a feature that never varies is not divided by 0.
const EPSILON: f64 = 1e-5;

impl BatchNorm {
    /// Running moments `path/mean` and `path/variance`, `[features]`, fixed variables that are saved with the model; a
    /// batch moves them by `share`, between 0 and 1.
    pub fn new(path: &nn::Path, features: usize, share: f64) -> Self {
        // Not `zeros_no_train`, which makes f32 whatever the kind of the store.
        let start = Tensor::zeros([features as i64], (path.kind(), path.device()));
        BatchNorm {
            variance: path.add("variance", start.ones_like(), false),
            mean: path.add("mean", start, false),
            share,
            training: false,
        }
    }

    /// The moments of `x` by feature, `[features]` each.
    fn moments(x: &Tensor) -> (Tensor, Tensor) {
        let others: Vec<i64> = (0..x.dim() as i64).filter(|&d| d != 1).collect();
        (x.mean_dim(&others[..], false, None::<Kind>), x.var_dim(&others[..], false, false))
    }

    /// The moments that normalise `x`, which in training are those that it leaves behind.
    fn current(&self, x: &Tensor) -> (Tensor, Tensor) {
        if !self.training || x.size()[0] == 0 {
            return (self.mean.shallow_clone(), self.variance.shallow_clone());
        }
        let moved = |running: &Tensor, batch: Tensor| running * (1.0 - self.share) + batch * self.share;
        let (mean, variance) = Self::moments(x);
        let (mean, variance) = (moved(&self.mean, mean), moved(&self.variance, variance));
        self.set(&mean, &variance);
        (mean, variance)
    }

    fn set(&self, mean: &Tensor, variance: &Tensor) {
        crate::no_grad(|| {
            self.mean.shallow_clone().copy_(mean);
            self.variance.shallow_clone().copy_(variance);
        });
    }
}

fn log_det(variance: &Tensor, x: &Tensor) -> Tensor {
    let (features, size) = (variance.size()[0], x.size());
    assert!(size[1] == features, "a BatchNorm of {features} features was given a batch {size:?}");
    let places: i64 = size[2..].iter().product();
    let one = (variance + EPSILON).log().sum(None::<Kind>) * (-0.5 * places as f64);
    one.unsqueeze(0).expand([size[0]], false)
}

impl Bijection for BatchNorm {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (mean, variance) = self.current(x);
        let z = (x - by_feature(&mean, x)) * by_feature(&(&variance + EPSILON).rsqrt(), x);
        (z, log_det(&variance, x))
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        assert!(!self.training, "a BatchNorm has no inverse in training mode: it would have to know the batch");
        let x = z * by_feature(&(&self.variance + EPSILON).sqrt(), z) + by_feature(&self.mean, z);
        (x, log_det(&self.variance, z).neg())
    }

    /// The running moments become those of `x`, also where they have moved or were loaded: no flag says that they have,
    /// as an [`ActNorm`](crate::ActNorm)'s does, and a training moves them anyway.
    fn start_from_data(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        if x.size()[0] > 0 {
            let (mean, variance) = crate::no_grad(|| Self::moments(x));
            self.set(&mean, &variance);
        }
        self.forward(x, context).0
    }

    fn set_training(&mut self, training: bool) {
        self.training = training;
    }

    fn inspect(&self, _x: &Tensor, _context: Option<&Tensor>) -> Inspection {
        Inspection { scales: Some(Scales::diagonal(&(&self.variance + EPSILON).rsqrt())), ..Inspection::default() }
    }
}
