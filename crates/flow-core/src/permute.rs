//! Coordinates in another order: `z_i = x_{order(i)}`; keeps volume.

use tch::{Device, Tensor};

use crate::mask::{invert, pick};
use crate::shape::{flat, zero_log_det};
use crate::{Backward, Bijection, Error, Gradients, Kept, Result, rng};

/// A fixed permutation of the flattened event, `[n, ..event]` to the same shape.
///
/// Couplings change one part of the coordinates at a time; a permutation between them decides who meets whom.
#[derive(Debug)]
pub struct Permute {
    forward: Order,
    inverse: Order,
}

/// An order of the coordinates, and how a batch is brought into it.
#[derive(Debug)]
enum Order {
    /// Of so many coordinates the last first; its own inverse, and a copy without an index.
    Reverse(i64),
    /// `z[:, i] = x[:, index[i]]`.
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
        let tensor = |indices: &[i64]| Order::Index(Tensor::from_slice(indices).to_device(device));
        Ok(Permute { forward: tensor(order), inverse: tensor(&invert(order)) })
    }

    /// The last coordinate first.
    pub fn reverse(dim: usize) -> Self {
        let reverse = || Order::Reverse(dim as i64);
        Permute { forward: reverse(), inverse: reverse() }
    }

    /// A permutation drawn uniformly by `seed`; the same on every device.
    pub fn random(dim: usize, seed: u64, device: Device) -> Self {
        let order = rng::permutation(dim, seed);
        Permute::new(&order, device).expect("a shuffled range is a permutation")
    }
}

fn apply(x: &Tensor, order: &Order) -> (Tensor, Tensor) {
    let matrix = flat(x);
    let (n, dim) = matrix.size2().expect("a matrix");
    let expected = match order {
        Order::Reverse(expected) => *expected,
        Order::Index(index) => index.size()[0],
    };
    assert_eq!(expected, dim, "a permutation of {expected} coordinates was given {:?}", x.size());
    let z = match order {
        Order::Reverse(_) => matrix.flip([1]),
        Order::Index(index) => pick(&matrix, index, n),
    };
    (z.reshape(x.size()), zero_log_det(x))
}

impl Bijection for Permute {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        apply(x, &self.forward)
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        apply(z, &self.inverse)
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, _context: Option<&Tensor>) -> Kept<'a> {
        let (value, log_det) = apply(x, &self.forward);
        Kept { value, log_det, back: Box::new(PermuteBack(&self.inverse)) }
    }
}

struct PermuteBack<'a>(&'a Order);

impl Backward for PermuteBack<'_> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        _grad_log_det: &Tensor,
        wanted: bool,
        _gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        wanted.then(|| apply(grad_value, self.0).0)
    }
}
