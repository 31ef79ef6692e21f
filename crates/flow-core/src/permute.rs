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
    forward: Tensor,
    inverse: Tensor,
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
        let tensor = |indices: &[i64]| Tensor::from_slice(indices).to_device(device);
        Ok(Permute { forward: tensor(order), inverse: tensor(&invert(order)) })
    }

    /// The last coordinate first.
    pub fn reverse(dim: usize, device: Device) -> Self {
        let order: Vec<i64> = (0..dim as i64).rev().collect();
        Permute::new(&order, device).expect("a reversal is a permutation")
    }

    /// A permutation drawn uniformly by `seed`; the same on every device.
    pub fn random(dim: usize, seed: u64, device: Device) -> Self {
        let order = rng::permutation(dim, seed);
        Permute::new(&order, device).expect("a shuffled range is a permutation")
    }
}

fn apply(x: &Tensor, order: &Tensor) -> (Tensor, Tensor) {
    let matrix = flat(x);
    let (n, dim) = matrix.size2().expect("a matrix");
    assert_eq!(order.size()[0], dim, "a permutation of {:?} was given {:?}", order.size(), x.size());
    (pick(&matrix, order, n).reshape(x.size()), zero_log_det(x))
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

struct PermuteBack<'a>(&'a Tensor);

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
