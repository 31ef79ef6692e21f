//! A step whose rows are shared out: each thread takes its own through a model of its own, forward and back.
//!
//! libtorch shares out each operation instead, if it is large enough for that; the layers of an image model on a batch of 32
//! are not, nor is anything shared between two operations. Vector models do not gain by it: their weights are what takes time,
//! and each thread would read all of them.

use std::sync::{Mutex, PoisonError};

use flow_core::ToParameters;
use flow_core::dense::in_parts;
use flow_core::plain::lock;
use flow_core::product::Precision;
use flow_models::{Model, ModelConfig};
use tch::{Device, Tensor};

use crate::batches::Batch;
use crate::flat::FlatParameters;
use crate::{Result, RunConfig};

/// Fewer rows than this are not worth a thread of their own.
const ROWS_EACH: usize = 8;

/// Bytes that all twins' gradients have at most.
const MOST_BYTES: usize = 1 << 30;

/// Models that have the numbers of a trained one, a thread's each.
#[derive(Debug)]
pub(crate) struct Twins(Vec<Mutex<Twin>>);

#[derive(Debug)]
struct Twin {
    model: Model,
    parameters: FlatParameters,
}

/// A thread's rows, and what it says of them.
struct Share {
    x: Tensor,
    context: Option<Tensor>,
    log_prob: f64,
}

impl Twins {
    /// For the threads of `config`, where its steps are worth it; none elsewhere. `model`, whose trained numbers are those
    /// of `parameters`, must not be moved elsewhere afterwards.
    pub(crate) fn new(config: &RunConfig, model: &Model, parameters: &FlatParameters) -> Result<Self> {
        let count = if worth(config, model, parameters) { config.threads } else { 0 };
        let twins = (0..count).map(|i| {
            let model = model.twin()?;
            let parameters = parameters.of_twin(&model, i == 0);
            Ok(Mutex::new(Twin { model, parameters }))
        });
        Ok(Twins(twins.collect::<Result<_>>()?))
    }

    /// Whether there are any.
    pub(crate) fn are_there(&self) -> bool {
        !self.0.is_empty()
    }

    /// The mean log-likelihood of `batch`, and the gradient of its negative in `parameters`, whose numbers stay as they are.
    /// Where the likelihood is not finite the gradients mean nothing.
    pub(crate) fn gradients(&self, batch: &Batch, parameters: &FlatParameters) -> f64 {
        let rows = batch.x.size()[0];
        let parts = self.0.len() as i64;
        let shares: Vec<Mutex<Share>> = (0..parts)
            .map(|part| {
                let (start, end) = (part * rows / parts, (part + 1) * rows / parts);
                let own = |t: &Tensor| t.narrow(0, start, end - start);
                Mutex::new(Share { x: own(&batch.x), context: batch.context.as_ref().map(own), log_prob: 0.0 })
            })
            .collect();
        // What a thread of its own does not know of this one; of the others one is f32 on a processor, and one is.
        let bf16 = Precision::now() == Precision::Bf16;
        in_parts(self.0.len(), &|part| {
            let (twin, mut share) = (lock(&self.0[part]), lock(&shares[part]));
            let Share { x, context, log_prob } = &mut *share;
            let gradients = || twin.gradients(x, context.as_ref(), rows);
            *log_prob = if bf16 { Precision::Bf16.scope(gradients) } else { gradients() };
        });
        for twin in &self.0[1..] {
            let twin = lock(twin);
            let _ = flow_core::no_grad(|| parameters.gradients().shallow_clone().g_add_(twin.parameters.gradients()));
        }
        let sums = shares.into_iter().map(|share| share.into_inner().unwrap_or_else(PoisonError::into_inner).log_prob);
        sums.sum::<f64>() / rows as f64
    }
}

impl Twin {
    /// Σ log p(x); the gradient of its negative by `rows` is in the twin's own place.
    fn gradients(&self, x: &Tensor, context: Option<&Tensor>, rows: i64) -> f64 {
        self.parameters.zero_gradients();
        let kept = self.model.flow().forward_keeping(x, context);
        let sum = kept.log_prob.sum(tch::Kind::Double).double_value(&[]);
        if sum.is_finite() {
            kept.backward_of(rows, &mut ToParameters);
        }
        sum
    }
}

/// Whether steps of `config` gain by it, and are the same: rows must not know of each other. Where there are not rows for all
/// threads, some of them would be idle; where there are threads for more than [`MOST_BYTES`] of gradients, too much would be added.
fn worth(config: &RunConfig, model: &Model, parameters: &FlatParameters) -> bool {
    let bytes = config.threads.saturating_mul(parameters.buffer().numel() * size_of::<f32>());
    let enough = config.threads > 1 && config.threads <= config.train.batch / ROWS_EACH && bytes <= MOST_BYTES;
    let by_hand = !config.train.rebuild && !config.train.taped;
    let images =
        matches!(config.model, ModelConfig::Glow(_) | ModelConfig::RealNvpImage(_)) && model.event().len() == 3;
    let here = model.flow().device() == Device::Cpu && flow_dense::available() && flow_dense::on_its_threads();
    enough && by_hand && images && here && config.model.can_rebuild()
}
