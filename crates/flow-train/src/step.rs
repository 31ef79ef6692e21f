//! Adam's step for each weight as soon as its gradient is there.
//!
//! A weight's gradient then needs no place of its own: it is computed into a buffer that is used again for the next one,
//! and is still in the processor's cache when it is read. What it costs is that no gradient's length is known before the
//! last of them, so nothing can be cut to a norm.

use flow_core::dense::numbers;
use flow_core::product::mm_into;
use flow_core::{Gradients, ToParameters};
use flow_dense::{Coefficients, OfLayer, Panels};
use tch::{Kind, Tensor};

use crate::adam::Adam;
use crate::flat::FlatParameters;

/// Takes Adam's steps during one backward pass.
pub(crate) struct StepAsYouGo<'a> {
    adam: &'a mut Adam,
    parameters: &'a FlatParameters,
    /// Of each place.
    coefficients: Vec<Coefficients>,
    done: Vec<bool>,
    /// Σ g² of the places that are done.
    squares: f64,
    /// The first place whose gradient was not finite.
    wrong: Option<usize>,
}

/// What a step leaves to tell.
pub(crate) struct Stepped {
    /// The norm of all gradients together.
    pub norm: f64,
    /// The first variable, on the way back, whose gradient was not finite: it has not moved where that is so, others have.
    pub wrong: Option<String>,
}

impl<'a> StepAsYouGo<'a> {
    /// For the `t`-th step (from 1) at this learning rate.
    pub(crate) fn new(adam: &'a mut Adam, parameters: &'a FlatParameters, rate: f64, t: u64) -> Self {
        let coefficients = adam.coefficients_by_place(parameters, rate, t);
        let done = vec![false; parameters.places().len()];
        StepAsYouGo { adam, parameters, coefficients, done, squares: 0.0, wrong: None }
    }

    /// The step of every variable that has not taken it yet, by the gradients in its own place, which are 0 afterwards.
    pub(crate) fn finish(mut self) -> Stepped {
        for place in 0..self.done.len() {
            if !self.done[place] {
                let gradient = self.parameters.gradient(place);
                self.step(place, numbers(&gradient));
                let _ = flow_core::no_grad(|| gradient.shallow_clone().zero_());
            }
        }
        let wrong = self.wrong.map(|place| self.parameters.places()[place].name.clone());
        Stepped { norm: self.squares.sqrt(), wrong }
    }

    fn step(&mut self, place: usize, gradient: &[f32]) {
        let squares = self.adam.step_place(self.parameters, place, gradient, &self.coefficients[place]);
        self.note(place, squares);
    }

    fn assert_first(&self, place: usize) {
        assert!(!self.done[place], "{} is given a second gradient in one step", self.parameters.places()[place].name);
    }

    /// That the step of `place` was taken, by a gradient whose squares come to this.
    fn note(&mut self, place: usize, squares: f64) {
        if !squares.is_finite() && self.wrong.is_none() {
            self.wrong = Some(place);
        }
        self.squares += squares;
        self.done[place] = true;
    }
}

impl Gradients for StepAsYouGo<'_> {
    fn give_product(&mut self, weight: &Tensor, grad: &Tensor, x: &Tensor) {
        let Some(place) = self.parameters.place_of(weight) else { return };
        if weight.numel() < WORTH_IT {
            return ToParameters.give_product(weight, grad, x);
        }
        self.assert_first(place);
        let gradient = self.adam.scratch(weight.numel() as i64);
        let out = gradient.view(&weight.size()[..]);
        mm_into(&out, &grad.tr(), x);
        self.step(place, numbers(&gradient));
    }

    fn give_dense(&mut self, weight: &Tensor, bias: Option<&Tensor>, grad: &Panels, input: &Panels) {
        let Some(place) = self.parameters.place_of(weight) else {
            return ToParameters.give_dense(weight, bias, grad, input);
        };
        self.assert_first(place);
        let coefficients = &self.coefficients[place];
        let OfLayer { squares, bias: sums } =
            self.adam.step_place_dense(self.parameters, place, (grad, input), coefficients);
        self.note(place, squares);
        if let Some(bias) = bias {
            match self.parameters.place_of(bias) {
                Some(place) => {
                    self.assert_first(place);
                    self.step(place, &sums);
                }
                None => ToParameters.give(bias, &Tensor::from_slice(&sums)),
            }
        }
    }

    /// On the spot where the numbers lie as the parameter's do; else it waits with what autograd finds.
    fn give(&mut self, parameter: &Tensor, gradient: &Tensor) {
        match self.parameters.place_of(parameter) {
            Some(place) if gradient.is_contiguous() => {
                self.assert_first(place);
                self.step(place, numbers(gradient));
            }
            _ => ToParameters.give(parameter, gradient),
        }
    }
}

/// Numbers of a weight from which on a step by libtorch's product is worth the calls.
const WORTH_IT: usize = 1 << 12;

/// Whether a step can be taken so: on the processor, where memory is ours to walk through, and uncut.
pub(crate) fn possible(parameters: &FlatParameters, clip: f64) -> bool {
    let buffer = parameters.buffer();
    clip == 0.0 && buffer.device() == tch::Device::Cpu && buffer.kind() == Kind::Float
}
