//! The gradients of a step: with activations kept by autograd, or rebuilt from the latent.

use flow_core::Flow;
use tch::Tensor;

use crate::batches::Batch;
use crate::flat::FlatParameters;

/// Mean log p(x) of a batch in nats, and the gradients of its negative in the order of the places.
pub(crate) fn gradients(flow: &Flow, batch: &Batch, parameters: &FlatParameters) -> (f64, Vec<Tensor>) {
    let loss = flow.log_prob(&batch.x, batch.context.as_ref()).mean(None).neg();
    let nats = -loss.double_value(&[]);
    (nats, Tensor::run_backward(&[loss], parameters.variables(), false, false))
}

/// The same with memory that does not grow with depth; `error` becomes the largest of itself and this batch's.
pub(crate) fn rebuilt_gradients(
    flow: &Flow,
    batch: &Batch,
    parameters: &FlatParameters,
    error: &mut f64,
) -> (f64, Vec<Tensor>) {
    for variable in parameters.variables() {
        variable.shallow_clone().zero_grad();
    }
    let rebuilt = flow.backward_rebuilding(&batch.x, batch.context.as_ref());
    let own = rebuilt.error / batch.x.std(true).double_value(&[]);
    // A number that is not finite must not be lost in the maximum.
    *error = if own.is_finite() { error.max(own) } else { own };
    let nats = rebuilt.log_prob.mean(None).double_value(&[]);
    (nats, parameters.variables().iter().map(Tensor::grad).collect())
}
