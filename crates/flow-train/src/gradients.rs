//! The gradients of a step, and the step: map by map, with rows shared out or not, by autograd's tape of the whole flow, or with
//! activations rebuilt from the latent.

use std::fmt;

use flow_core::{Flow, ToParameters};
use tch::{Kind, Tensor};

use crate::TrainConfig;
use crate::adam::Adam;
use crate::batches::{Batch, Pick};
use crate::flat::FlatParameters;
use crate::recorder::Recorder;
use crate::step::{StepAsYouGo, possible};
use crate::twins::Twins;
use crate::{Origin, Place};

/// Why no step was taken, or not wholly.
pub(crate) enum NotFinite {
    /// The mean log-likelihood of the batch is this; nothing was changed.
    Likelihood(f64),
    /// The norm of the gradient is this; nothing was changed.
    Gradient(f64),
    /// The gradient of this variable is not finite; the parameters have taken the rest of the step.
    GradientOf(String),
}

impl NotFinite {
    /// Where, given what the step showed when it was taken again, and how to find the layer of a variable.
    pub(crate) fn place(self, seen: Place, layer_with: impl FnOnce(&str) -> Place) -> Place {
        match self {
            // Weights behind the variable have taken their step meanwhile, so that the same need not be seen again.
            NotFinite::GradientOf(name) if seen.origin != Origin::Gradient => layer_with(&name),
            _ => seen,
        }
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotFinite::Likelihood(nats) => write!(f, "the mean log-likelihood of the batch is {nats}"),
            NotFinite::Gradient(norm) => write!(f, "the norm of the gradient is {norm}"),
            NotFinite::GradientOf(name) => write!(f, "the gradient of {name} is not finite"),
        }
    }
}

/// What a step was about.
pub(crate) struct Taken {
    /// Mean log p(x) of the batch, before the step.
    pub nats: f64,
    /// The norm of its gradient.
    pub norm: f64,
}

/// What a step is taken with: the optimizer, what it moves, the learning rate, and the number of the step, from 1.
pub(crate) struct Stepper<'a> {
    pub train: &'a TrainConfig,
    pub adam: &'a mut Adam,
    pub parameters: &'a FlatParameters,
    pub rate: f64,
    pub t: u64,
    pub recorder: &'a mut Recorder,
    pub twins: &'a Twins,
    /// Becomes the largest of itself and this batch's, where activations are rebuilt.
    pub rebuild_error: &'a mut f64,
}

impl Stepper<'_> {
    /// One step of Adam on `-mean log p(x)` of the batch of `pick`.
    pub(crate) fn step(self, flow: &Flow, pick: &Pick) -> Result<Taken, NotFinite> {
        let by_hand = !self.train.rebuild && !self.train.taped;
        let uncut = by_hand && possible(self.parameters, self.train.clip);
        let on_gpu = by_hand && self.recorder.can_run();
        self.train.precision.scope(|| {
            if on_gpu {
                return self.on_gpu(flow, pick);
            }
            let batch = pick.batch();
            if self.twins.are_there() {
                self.shared_out(&batch)
            } else if uncut {
                self.at_once(flow, &batch)
            } else {
                self.at_the_end(flow, &batch)
            }
        })
    }

    /// Each weight's step as soon as its gradient is there.
    fn at_once(self, flow: &Flow, batch: &Batch) -> Result<Taken, NotFinite> {
        let kept = flow.forward_keeping(&batch.x, batch.context.as_ref());
        let nats = finite_mean(&kept.log_prob)?;
        let mut steps = StepAsYouGo::new(self.adam, self.parameters, self.rate, self.t);
        kept.backward(&mut steps);
        let stepped = steps.finish();
        match stepped.wrong {
            None => Ok(Taken { nats, norm: stepped.norm }),
            Some(name) => Err(NotFinite::GradientOf(name)),
        }
    }

    /// Gradients of rows that threads have shared out, then one pass over all parameters.
    fn shared_out(self, batch: &Batch) -> Result<Taken, NotFinite> {
        let nats = finite(self.twins.gradients(batch, self.parameters))?;
        let taken = with_norm(nats, self.parameters)?;
        Ok(self.one_pass(taken))
    }

    /// All gradients first, then one pass over all parameters.
    fn at_the_end(self, flow: &Flow, batch: &Batch) -> Result<Taken, NotFinite> {
        let taken = gradients(self.train, flow, batch, self.parameters, self.rebuild_error)?;
        Ok(self.one_pass(taken))
    }

    /// Adam by the gradients that are there.
    fn one_pass(self, taken: Taken) -> Taken {
        let clip = self.train.clip;
        let shorten = if clip > 0.0 && taken.norm > clip { clip / taken.norm } else { 1.0 };
        self.adam.step(self.parameters, self.rate, self.t, shorten);
        taken
    }

    /// The same on a GPU, recorded or not, with one wait for it: for what is told of the step.
    fn on_gpu(self, flow: &Flow, pick: &Pick) -> Result<Taken, NotFinite> {
        let Stepper { adam, parameters, recorder, .. } = self;
        let clip = self.train.clip;
        let told = recorder.run(pick, self.rate, self.t, |batch, rate, step| {
            parameters.zero_gradients();
            let kept = flow.forward_keeping(&batch.x, batch.context.as_ref());
            let nats = kept.log_prob.mean(None);
            kept.backward(&mut ToParameters);
            let norm = parameters.gradients().norm();
            let told = Tensor::stack(&[&nats, &norm], 0);
            // 0 times a number is 0, and NaN where that is not finite.
            let skip = (&told * 0.0).sum(None::<Kind>).ne_(0.0);
            let shrink = (clip > 0.0).then(|| (norm / clip).clamp_min_(1.0));
            adam.step_on_gpu(
                parameters,
                &flow_cuda::Numbers { rate, step, shrink: shrink.as_ref(), skip: Some(&skip) },
            );
            told
        });
        let [nats, norm] = [0, 1].map(|i| told.double_value(&[i]));
        match (nats.is_finite(), norm.is_finite()) {
            (true, true) => Ok(Taken { nats, norm }),
            (false, _) => Err(NotFinite::Likelihood(nats)),
            _ => Err(NotFinite::Gradient(norm)),
        }
    }
}

/// The gradients of `-mean log p(x)` of `batch`, left in `parameters`, whose numbers stay as they are. Whoever takes steps
/// afterwards sets them to 0 first.
pub(crate) fn gradients(
    train: &TrainConfig,
    flow: &Flow,
    batch: &Batch,
    parameters: &FlatParameters,
    rebuild_error: &mut f64,
) -> Result<Taken, NotFinite> {
    parameters.zero_gradients();
    let (x, context) = (&batch.x, batch.context.as_ref());
    let nats = if train.rebuild {
        let rebuilt = flow.backward_rebuilding(x, context);
        let own = rebuilt.error / x.std(true).double_value(&[]);
        // Not infinity, and lost in no maximum: it is saved as JSON, which has none.
        *rebuild_error = rebuild_error.max(if own.is_finite() { own } else { f64::MAX });
        finite_mean(&rebuilt.log_prob)?
    } else if train.taped {
        let log_prob = flow.log_prob(x, context);
        log_prob.mean(None).neg().backward();
        finite_mean(&log_prob)?
    } else {
        let kept = flow.forward_keeping(x, context);
        let nats = finite_mean(&kept.log_prob)?;
        kept.backward(&mut ToParameters);
        nats
    };
    with_norm(nats, parameters)
}

/// With the norm of the gradients that are there, if it is finite.
fn with_norm(nats: f64, parameters: &FlatParameters) -> Result<Taken, NotFinite> {
    let norm = parameters.gradient_norm();
    if norm.is_finite() { Ok(Taken { nats, norm }) } else { Err(NotFinite::Gradient(norm)) }
}

fn finite_mean(log_prob: &Tensor) -> Result<f64, NotFinite> {
    finite(log_prob.mean(None).double_value(&[]))
}

fn finite(nats: f64) -> Result<f64, NotFinite> {
    if nats.is_finite() { Ok(nats) } else { Err(NotFinite::Likelihood(nats)) }
}
