//! Where a number stopped being finite.

use flow_core::Flow;
use flow_core::rng::derive_seed;
use tch::Tensor;

use crate::batches::{Batch, DeviceRows};
use crate::evaluate::{ROWS, evaluation_batch};

/// The first layer whose output or log-determinant is not finite on `batch`, in words.
pub(crate) fn first_wrong(flow: &Flow, batch: &Batch) -> String {
    let finite = |t: &Tensor| t.isfinite().all().int64_value(&[]) == 1;
    let mut found = None;
    let mut probe = |name: &str, value: &Tensor, log_det: &Tensor| {
        if found.is_none() {
            found = match (finite(value), finite(log_det)) {
                (false, _) => Some(format!("the first layer with an output that is not finite is {name:?}")),
                (true, false) => Some(format!("the first layer with a log-determinant that is not finite is {name:?}")),
                (true, true) => None,
            };
        }
    };
    if !finite(&batch.x) {
        return "the batch itself holds a number that is not finite".to_owned();
    }
    let _ = tch::no_grad(|| flow.trace_forward(&batch.x, batch.context.as_ref(), &mut probe));
    found.unwrap_or_else(|| {
        "every layer's output and log-determinant are finite: the base or the gradient is not".to_owned()
    })
}

/// Row `row` with the noise that it had in [`log_probs`](crate::evaluate::log_probs), as a batch of one.
pub(crate) fn validation_row(rows: &DeviceRows, row: usize, seed: u64) -> Batch {
    let Batch { x, context } = evaluation_batch(rows, row / ROWS * ROWS, derive_seed(seed, "evaluation", 0));
    let row = |part: Tensor| part.narrow(0, (row % ROWS) as i64, 1);
    Batch { x: row(x), context: context.map(row) }
}
