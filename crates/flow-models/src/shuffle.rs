//! A shuffle of the coordinates whose order is saved with the model.

use flow_core::{Bijection, rng};
use tch::{Tensor, nn};

/// `z_i = x_{order(i)}` on `[n, D]`; keeps volume.
///
/// The order is itself a variable, fixed and of kind i64, and the only place that holds it: a loaded model shuffles as
/// the saved one did, whatever libtorch draws from a seed by then, and other languages can read it.
#[derive(Debug)]
pub(crate) struct Shuffle {
    order: Tensor,
}

impl Shuffle {
    /// `path/order`, a permutation of `0..dim` drawn by `seed`.
    pub fn new(path: &nn::Path, dim: usize, seed: u64) -> Self {
        let order = Tensor::from_slice(&rng::permutation(dim, seed)).to_device(path.device());
        Shuffle { order: path.add("order", order, false) }
    }
}

/// Columns `order` of `x`. A gather, for index_select's backward pass on CPU adds column by column.
fn pick(x: &Tensor, order: &Tensor) -> (Tensor, Tensor) {
    let (n, dim) = x.size2().expect("a shuffle is of matrices [n, D]");
    assert_eq!(order.size(), [dim], "a shuffle of {:?} was given {:?}", order.size(), x.size());
    let index = order.unsqueeze(0).expand([n, dim], false);
    (x.gather(1, &index, false), Tensor::zeros([n], (x.kind(), x.device())))
}

impl Bijection for Shuffle {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        pick(x, &self.order)
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        pick(z, &self.order.argsort(0, false))
    }
}
