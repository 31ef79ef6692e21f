//! Steps with a fault planted in them, for the checks that must find it.

use flow_core::{Bijection, Inspection};
use tch::Tensor;

/// What is wrong with a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    Nothing,
    /// Both directions claim the other's log-determinant: they agree with each other.
    WrongSign,
    /// Both directions forget the same part.
    DroppedTerm,
    /// The inverse alone is a little off.
    InverseOff,
}

/// A step that works, with a fault planted.
#[derive(Debug)]
pub struct Planted<B>(pub B, pub Fault);

impl<B> Planted<B> {
    fn log_det(&self, log_det: Tensor, sign: f64) -> Tensor {
        match self.1 {
            Fault::WrongSign => log_det.neg(),
            Fault::DroppedTerm => log_det - 0.25 * sign,
            _ => log_det,
        }
    }
}

impl<B: Bijection> Bijection for Planted<B> {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (z, log_det) = self.0.forward(x, context);
        (z, self.log_det(log_det, 1.0))
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (x, log_det) = self.0.inverse(z, context);
        let x = if self.1 == Fault::InverseOff { x * 1.0001 } else { x };
        (x, self.log_det(log_det, -1.0))
    }

    fn inspect(&self, x: &Tensor, context: Option<&Tensor>) -> Inspection {
        self.0.inspect(x, context)
    }
}
