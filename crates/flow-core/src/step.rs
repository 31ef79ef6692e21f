//! The steps of a map one by one, each with the batch that reaches it, and what can be said of a step by its kind.

use tch::{Device, Kind, Tensor};

use crate::Bijection;

/// Which way a map is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Data to latent.
    Forward,
    /// Latent to data.
    Inverse,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn turned(self) -> Self {
        match self {
            Direction::Forward => Direction::Inverse,
            Direction::Inverse => Direction::Forward,
        }
    }
}

/// A step of a larger map as [`Bijection::steps`] hands it over, in the shapes that it works on itself.
pub trait Step {
    /// As [`Bijection::forward`].
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor);
    /// As [`Bijection::inverse`].
    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor);
    /// As [`Bijection::inspect`].
    fn inspect(&self, x: &Tensor, context: Option<&Tensor>) -> Inspection;

    /// Either way.
    fn take(&self, direction: Direction, input: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        match direction {
            Direction::Forward => self.forward(input, context),
            Direction::Inverse => self.inverse(input, context),
        }
    }
}

/// Looks at one step: given its name, itself and the batch that reaches it, returns the batch that goes on.
pub type Visit<'a> = dyn FnMut(&str, &dyn Step, &Tensor) -> Tensor + 'a;

/// A whole bijection as one step.
pub(crate) struct Whole<'a, B: ?Sized>(pub &'a B);

impl<B: Bijection + ?Sized> Step for Whole<'_, B> {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.0.forward(x, context)
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.0.inverse(z, context)
    }

    fn inspect(&self, x: &Tensor, context: Option<&Tensor>) -> Inspection {
        self.0.inspect(x, context)
    }
}

/// A step run the other way.
pub(crate) struct Turned<'a>(pub &'a dyn Step);

impl Step for Turned<'_> {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.0.inverse(x, context)
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.0.forward(z, context)
    }

    fn inspect(&self, x: &Tensor, context: Option<&Tensor>) -> Inspection {
        let x = self.0.inverse(x, context).0;
        let inner = self.0.inspect(&x, context);
        Inspection { scales: inner.scales.map(Scales::of_inverse), ..inner }
    }
}

/// What can be said of a step by its kind, besides what it computes. A kind of which nothing can be said has the default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Inspection {
    /// Of a map that is linear up to a shift: how much it stretches.
    pub scales: Option<Scales>,
    /// Of a map with bounds: how much of a batch is at them.
    pub edge: Option<Edge>,
}

/// The smallest and the largest singular value of a linear map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// The smallest.
    pub smallest: f64,
    /// The largest.
    pub largest: f64,
    /// Whether coordinates are mixed. Where each is only scaled, a large condition number costs no digits: nothing of one
    /// coordinate is rounded away by another.
    pub mixes: bool,
}

impl Scales {
    /// Of a map that multiplies coordinate by coordinate by `factors`, of any shape.
    pub fn diagonal(factors: &Tensor) -> Self {
        let factors = on_processor(factors).abs();
        Scales { smallest: factors.min().double_value(&[]), largest: factors.max().double_value(&[]), mixes: false }
    }

    /// Of `matrix: [c, c]`, by its singular values.
    pub fn of_matrix(matrix: &Tensor) -> Self {
        // Numbers that are not finite have no decomposition.
        let values = on_processor(matrix).f_svd(true, false);
        let (smallest, largest) = match values {
            Ok((_, s, _)) => (s.min().double_value(&[]), s.max().double_value(&[])),
            Err(_) => (f64::NAN, f64::NAN),
        };
        Scales { smallest, largest, mixes: true }
    }

    /// Those of the inverse map.
    #[must_use]
    pub fn of_inverse(self) -> Self {
        Scales { smallest: 1.0 / self.largest, largest: 1.0 / self.smallest, mixes: self.mixes }
    }

    /// The condition number, largest over smallest; infinite for a map that has no inverse, or numbers that are not
    /// finite.
    pub fn condition(self) -> f64 {
        let ratio = self.largest / self.smallest;
        if ratio.is_finite() { ratio } else { f64::INFINITY }
    }
}

/// How much of a batch is at the bounds of a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    /// Which bound, in words that follow "share of coordinates": `with |log_s| above 0.99 of its bound`.
    pub what: &'static str,
    /// Share of the coordinates that are changed, from 0 to 1; 0 for an empty batch.
    pub share: f64,
}

impl Edge {
    /// Of `at: [n, ..]` of kind bool.
    pub fn new(what: &'static str, at: &Tensor) -> Self {
        let share = if at.numel() == 0 { 0.0 } else { on_processor(at).mean(None::<Kind>).double_value(&[]) };
        Edge { what, share }
    }
}

/// `t` in f64; first to the processor, for Metal has none.
pub(crate) fn on_processor(t: &Tensor) -> Tensor {
    t.detach().to_device(Device::Cpu).to_kind(Kind::Double)
}
