//! The learned prior of a top level, as the affine step that makes it a standard normal.

use tch::{Tensor, nn};

use crate::shape::sum_event;
use crate::{Bijection, Inspection, Scales};

/// A Gaussian with a learned mean and scale for each coordinate, shifted by the context where there is one (Glow's learned
/// top, with a class as context):
///
/// ```text
/// [μ, log σ] = [loc, log_scale] + W context
/// z = (x - μ) exp(-log σ)          log_det = -Σ log σ
/// ```
///
/// Without a context it is what it is at a context of 0; one that was built without leaves it to the other steps of its chain.
///
/// So the base stays the standard normal, without parameters, and a temperature scales what is left. Shapes: `[n, ..event]`
/// to the same; all starts at 0, as the identity.
#[derive(Debug)]
pub struct TopPrior {
    loc: Tensor,
    log_scale: Tensor,
    /// `[2 D, width of the context]`.
    by_context: Option<Tensor>,
}

impl TopPrior {
    /// Parameters `path/loc` and `path/log_scale` of shape `event`, and `path/by_context`, `[2 D, context]`, unless
    /// `context` is 0.
    pub fn new(path: &nn::Path, event: &[i64], context: usize) -> Self {
        let dim: i64 = event.iter().product();
        TopPrior {
            loc: path.zeros("loc", event),
            log_scale: path.zeros("log_scale", event),
            by_context: (context > 0).then(|| path.zeros("by_context", &[2 * dim, context as i64])),
        }
    }

    /// `(μ, log σ)`, each `[n, ..event]`.
    fn moments(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (event, size) = (self.loc.size(), x.size());
        assert!(size[1..] == event, "a prior of events {event:?} was given a batch {size:?}");
        let expand = |parameter: &Tensor| parameter.unsqueeze(0).expand(&size, false);
        let (loc, log_scale) = (expand(&self.loc), expand(&self.log_scale));
        match (&self.by_context, context) {
            (Some(weight), Some(context)) => {
                let shift = context.linear(weight, None::<&Tensor>);
                let dim = shift.size()[1] / 2;
                let part = |i: i64| shift.narrow(1, i * dim, dim).reshape(&size);
                (loc + part(0), log_scale + part(1))
            }
            _ => (loc, log_scale),
        }
    }
}

impl Bijection for TopPrior {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (loc, log_scale) = self.moments(x, context);
        let minus = log_scale.neg();
        ((x - loc) * minus.exp(), sum_event(&minus))
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (loc, log_scale) = self.moments(z, context);
        (z * log_scale.exp() + loc, sum_event(&log_scale))
    }

    fn inspect(&self, x: &Tensor, context: Option<&Tensor>) -> Inspection {
        if x.numel() == 0 {
            return Inspection::default();
        }
        let (_, log_scale) = self.moments(x, context);
        Inspection { scales: Some(Scales::diagonal(&log_scale.neg().exp())), ..Inspection::default() }
    }
}
