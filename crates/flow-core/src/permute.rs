//! Coordinates in another order: `z_i = x_{order(i)}`; keeps volume.

use tch::{Device, Tensor, nn};

use crate::mask::pick;
use crate::plain::{PlainMap, PlainOrder};
use crate::plain_training::PlainTrained;
use crate::shape::{flat, zero_log_det};
use crate::{Backward, Bijection, Error, Gradients, Kept, Result, rng};

/// A fixed permutation of the flattened event, `[n, ..event]` to the same shape.
///
/// Couplings change one part of the coordinates at a time; a permutation between them decides who meets whom.
#[derive(Debug)]
pub struct Permute {
    order: Order,
}

/// An order of the coordinates.
#[derive(Debug)]
enum Order {
    /// Of so many coordinates the last first; its own inverse, and a copy without an index.
    Reverse(i64),
    /// `z[:, i] = x[:, index[i]]`. No inverse is kept beside it: an index that is a variable may be loaded anew.
    Index(Tensor),
}

impl Permute {
    /// `z[:, i] = x[:, order[i]]`.
    ///
    /// # Errors
    ///
    /// [`Error::NotAPermutation`] where an index of `0..order.len()` is missing.
    pub fn new(order: &[i64], device: Device) -> Result<Self> {
        let dim = order.len();
        let mut seen = vec![false; dim];
        for &index in order {
            match usize::try_from(index).ok().and_then(|i| seen.get_mut(i)) {
                None => {
                    let why = format!("it holds {index}");
                    return Err(Error::NotAPermutation { dim, why });
                }
                Some(seen) if *seen => {
                    let why = format!("it holds {index} twice");
                    return Err(Error::NotAPermutation { dim, why });
                }
                Some(seen) => *seen = true,
            }
        }
        Ok(Permute { order: Order::Index(Tensor::from_slice(order).to_device(device)) })
    }

    /// The last coordinate first.
    pub fn reverse(dim: usize) -> Self {
        Permute { order: Order::Reverse(dim as i64) }
    }

    /// A permutation drawn uniformly by `seed`; the same on every device.
    pub fn random(dim: usize, seed: u64, device: Device) -> Self {
        let order = rng::permutation(dim, seed);
        Permute::new(&order, device).expect("a shuffled range is a permutation")
    }

    /// The same, whose order is a variable, `path/order`, fixed and of kind i64, and the only place that holds it: a
    /// loaded model shuffles as the saved one did, whatever libtorch draws from a seed by then, and other languages can
    /// read it.
    pub fn saved(path: &nn::Path, dim: usize, seed: u64) -> Self {
        let order = Tensor::from_slice(&rng::permutation(dim, seed)).to_device(path.device());
        Permute { order: Order::Index(path.add("order", order, false)) }
    }

    /// `x: [n, ..event]` as a matrix, which must have as many columns as there are coordinates.
    fn matrix(&self, x: &Tensor) -> Tensor {
        let matrix = flat(x);
        let dim = matrix.size()[1];
        let expected = match &self.order {
            Order::Reverse(expected) => *expected,
            Order::Index(index) => index.size()[0],
        };
        assert_eq!(expected, dim, "a permutation of {expected} coordinates was given {:?}", x.size());
        matrix
    }

    fn apply(&self, x: &Tensor) -> Tensor {
        let matrix = self.matrix(x);
        let z = match &self.order {
            Order::Reverse(_) => matrix.flip([1]),
            Order::Index(index) => pick(&matrix, index, x.size()[0]),
        };
        z.reshape(x.size())
    }

    fn plain_order(&self) -> PlainOrder {
        match &self.order {
            Order::Reverse(dim) => PlainOrder::Reverse(*dim as usize),
            Order::Index(index) => PlainOrder::Index(Vec::try_from(index).expect("a vector of indices")),
        }
    }

    /// Each coordinate back to where it was taken from.
    fn undo(&self, z: &Tensor) -> Tensor {
        let matrix = self.matrix(z);
        let x = match &self.order {
            Order::Reverse(_) => matrix.flip([1]),
            Order::Index(index) => {
                let index = index.unsqueeze(0).expand(matrix.size(), false);
                matrix.zeros_like().scatter(1, &index, &matrix)
            }
        };
        x.reshape(z.size())
    }
}

impl Bijection for Permute {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        (self.apply(x), zero_log_det(x))
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        (self.undo(z), zero_log_det(z))
    }

    fn plain(&self, _rows: usize) -> Option<Box<dyn PlainMap + '_>> {
        Some(Box::new(self.plain_order()))
    }

    fn plain_in_training(&self) -> Option<Box<dyn PlainTrained<'_> + '_>> {
        Some(Box::new(self.plain_order()))
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, _context: Option<&Tensor>) -> Kept<'a> {
        Kept { value: self.apply(x), log_det: zero_log_det(x), back: Box::new(PermuteBack(self)) }
    }
}

struct PermuteBack<'a>(&'a Permute);

impl Backward for PermuteBack<'_> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        _grad_log_det: &Tensor,
        wanted: bool,
        _gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        wanted.then(|| self.0.undo(grad_value))
    }
}
