//! What a training tells while it runs; the library itself prints nothing.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::Divergence;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step was taken.
    Step {
        /// Steps taken so far.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Mean log p(x) of the batch, in nats.
        nats: f64,
        /// Learning rate.
        rate: f64,
        /// Norm of the gradient before clipping.
        gradient_norm: f64,
        /// Seconds trained so far.
        seconds: f64,
    },
    /// The averaged weights were held against the validation split.
    Validated {
        /// Steps taken so far.
        step: u64,
        /// Mean log p(x) of the validation split, in nats.
        nats: f64,
        /// Whether it is the best so far.
        best: bool,
        /// Seconds trained so far.
        seconds: f64,
    },
    /// Activations that were rebuilt in the backward pass (`train.rebuild`) are further off than they should be, and so
    /// are the gradients; told at most once a line of metrics.
    RebuiltInexactly {
        /// Steps taken so far.
        step: u64,
        /// The largest difference of a coordinate of the batch, in standard deviations of the batch.
        error: f64,
        /// What it should stay below.
        bound: f64,
    },
    /// A number was not finite any more, and training went back to the last good save (`train.on_divergence=rewind`), to
    /// go on from there at half the learning rate. The new rate is saved.
    Rewound {
        /// Steps taken up to that save.
        step: u64,
        /// Where the number was found.
        divergence: Box<Divergence>,
        /// How many times this has happened so far; the rate is halved each time.
        rewinds: u32,
        /// How many times it may (`train.rewinds`).
        most: u32,
    },
    /// Everything needed to go on is on disk; told at the end of a run, too, where its answer changes nothing.
    Saved {
        /// Steps taken so far.
        step: u64,
    },
}

/// Watches a training, and may end it.
pub trait Observer {
    /// Called after each event; `Break` makes the training save and return.
    fn observe(&mut self, event: &Event) -> ControlFlow<()>;
}

/// Any closure of the same arguments observes.
impl<F: FnMut(&Event) -> ControlFlow<()>> Observer for F {
    fn observe(&mut self, event: &Event) -> ControlFlow<()> {
        self(event)
    }
}
