//! A bijection run the other way: `forward` and `inverse` change places.

use tch::Tensor;

use crate::step::{Turned, Whole};
use crate::{Bijection, Direction, Inspection, Probe, Step, Visit};

/// `B` backwards. Useful where the cheap direction of a map is wanted for sampling rather than for likelihoods.
#[derive(Debug)]
pub struct Inverse<B>(pub B);

impl<B: Bijection> Bijection for Inverse<B> {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.0.inverse(x, context)
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.0.forward(z, context)
    }

    fn forward_traced(
        &self,
        name: &str,
        x: &Tensor,
        context: Option<&Tensor>,
        probe: &mut dyn Probe,
    ) -> (Tensor, Tensor) {
        self.0.inverse_traced(name, x, context, probe)
    }

    fn inverse_traced(
        &self,
        name: &str,
        z: &Tensor,
        context: Option<&Tensor>,
        probe: &mut dyn Probe,
    ) -> (Tensor, Tensor) {
        self.0.forward_traced(name, z, context, probe)
    }

    fn start_from_data(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        // The start of the inner map is defined on its own inputs, which are this one's outputs: nothing to learn from x.
        self.forward(x, context).0
    }

    fn set_training(&mut self, training: bool) {
        self.0.set_training(training);
    }

    fn freeze(&mut self) {
        self.0.freeze();
    }

    fn steps(
        &self,
        name: &str,
        direction: Direction,
        input: &Tensor,
        context: Option<&Tensor>,
        visit: &mut Visit,
    ) -> Tensor {
        let turned: &mut Visit = &mut |name, step, input| visit(name, &Turned(step), input);
        self.0.steps(name, direction.turned(), input, context, turned)
    }

    fn inspect(&self, x: &Tensor, context: Option<&Tensor>) -> Inspection {
        Turned(&Whole(&self.0)).inspect(x, context)
    }
}
