//! A save that is kept in memory, for a training that may go back to it.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::Progress;

/// A copy of everything that a save holds.
#[derive(Debug)]
pub(crate) struct Snapshot {
    tensors: BTreeMap<String, Tensor>,
    pub progress: Progress,
}

impl Snapshot {
    pub fn of(tensors: &BTreeMap<String, Tensor>, progress: &Progress) -> Self {
        let copies = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.detach().copy()));
        Snapshot { tensors: copies.collect(), progress: progress.clone() }
    }

    /// Overwrites `tensors`, of the same names and shapes.
    pub fn put_into(&self, tensors: &BTreeMap<String, Tensor>) {
        flow_core::no_grad(|| tensors.iter().for_each(|(name, own)| own.shallow_clone().copy_(&self.tensors[name])));
    }
}
