//! A check of a whole model, step by step: is it invertible, are its log-determinants right, how many digits does it keep?
//!
//! Where [`crate::testing`] tests the code of a bijection, with parameters at random, this looks at one model with the
//! parameters that it has, on rows that it will meet: data and draws of the base. Every step gets the rows that reach it, so
//! that a fault is found where it is and not where it first hurts. Each is judged by itself and the flow as a whole;
//! `docs/check.md` has every number's formula and bounds.
//!
//! ```
//! use flow_core::check::{Config, Model, Rows, Verdict, check};
//! use flow_core::{Chain, Direction, Conv1x1, Flow, Logit, StandardNormal};
//! use tch::{Device, Kind, Tensor, nn};
//!
//! let build = |vs: &nn::VarStore| {
//!     let mut chain = Chain::default();
//!     chain.push("logit", Logit::new(0.05)?)?;
//!     chain.push("mix", Conv1x1::plain(&(vs.root() / "mix"), 3, 0))?;
//!     Ok::<_, flow_core::Error>(Flow::new(chain, StandardNormal::new(&[3]), Device::Cpu))
//! };
//! let (single, mut double) = (nn::VarStore::new(Device::Cpu), nn::VarStore::new(Device::Cpu));
//! let flows = (build(&single)?, build(&double)?);
//! double.double();
//!
//! let x = Tensor::linspace(0.1, 0.9, 12, (Kind::Float, Device::Cpu)).reshape([4, 3]);
//! let rows = [Rows::new("data", Direction::Forward, x)];
//! let model = Model { single: &flows.0, double: &flows.1, variables: &single.variables().into_iter().collect() };
//! let report = check(&model, &rows, &Config::default());
//! assert_eq!(report.verdict(), Verdict::Ok);
//! # Ok::<(), flow_core::Error>(())
//! ```

mod bounds;
mod latent;
mod log_det;
mod probes;
mod report;
mod rounding;
mod verdict;
mod walk;

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::testing::{Measured, jacobian_log_det};
use crate::{Direction, Flow};

pub use bounds::{
    CONDITION_FAILS, CONDITION_WARNS, EDGE_WARNS, Finding, LATENT_WARNS, LOG_DET_FAILS, NO_DIGITS_LEFT,
    ROUND_TRIP_FAILS, ROUND_TRIP_WARNS, SINGLE_WARNS, STAYS, Verdict,
};
pub use latent::{Coordinate, Latent};
pub use log_det::{LogDet, Method};
pub use report::{Layer, OnRows, Report, Whole};
pub use rounding::{Coarse, Rounded, rounded};
pub use walk::Errors;

/// A model in both precisions, with the same parameters.
#[derive(Debug)]
pub struct Model<'a> {
    /// In f32, as it is used.
    pub single: &'a Flow,
    /// In f64, with the f32's parameters; on another device where that one has no f64, and rows follow it there.
    pub double: &'a Flow,
    /// The variables of the former by name; a variable belongs to the step whose name it begins with.
    pub variables: &'a BTreeMap<String, Tensor>,
}

/// Rows to take a model through.
#[derive(Debug)]
pub struct Rows {
    /// What they are: `data`, `latent, T = 2`.
    pub name: String,
    /// Where they start: forward for data, inverse for latents.
    pub direction: Direction,
    /// `[n, ..event]`, one row or more, in f32.
    pub start: Tensor,
    /// `[n, c]`, for a model with a context.
    pub context: Option<Tensor>,
    /// How many of them, the first ones, go through in f64 as well, 1 or more: convolutions in f64 are many times slower.
    pub doubles: i64,
    /// How many of them, the first ones, are held against the Jacobian; no more than go through in f64.
    pub jacobians: i64,
    /// Whether they lie farther out than the model was made for, as draws at a temperature above 1 do: whatever a round
    /// trip loses or a log-determinant is off by there is no more than worth a warning.
    pub far: bool,
}

impl Rows {
    /// Rows without a context, all of them in f64 as well and held against the Jacobian.
    pub fn new(name: impl Into<String>, direction: Direction, start: Tensor) -> Self {
        let n = start.size()[0];
        Rows { name: name.into(), direction, start, context: None, doubles: n, jacobians: n, far: false }
    }
}

/// How much is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Up to so many coordinates the Jacobian is written down, at the cost of a row of it a copy of the row; beyond, it is
    /// estimated from its products with random directions. Default 1,024.
    pub exact_dim: i64,
    /// Number of random directions, 2 or more. Default 8.
    pub probes: i64,
    /// Steps that are taken from each of them, 2 or more. Default 32.
    pub lanczos: i64,
    /// What the directions depend on. Default 0.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { exact_dim: 1024, probes: 8, lanczos: 32, seed: 0 }
    }
}

/// Checks `model` on every batch of `rows`, of which there is at least one.
///
/// The latent of the first rows that go forward, where there are two or more, is held against the base.
pub fn check(model: &Model, rows: &[Rows], config: &Config) -> Report {
    let walks: Vec<_> = rows
        .iter()
        .map(|rows| {
            let [single, double] = [(model.single, Kind::Float), (model.double, Kind::Double)]
                .map(|(flow, kind)| walk::walk(flow, rows, kind, config));
            (rows, single, double)
        })
        .collect();
    let whole = report::Walks { log_det: whole_log_det(model.double, rows, config), walks: &walks };
    let rounded: Vec<Rounded> = model.variables.iter().filter_map(|(name, v)| rounded(name, v)).collect();
    let data = walks.iter().find(|(rows, _, _)| rows.direction == Direction::Forward);
    let latent = data.map(|(_, single, _)| &single.end).filter(|z| z.size()[0] >= 2 && walk::finite(z));
    let latent = latent.map(|z| Latent::of(z, model.double.base()));
    whole.report(rounded, latent)
}

/// The whole flow's log-determinant against its Jacobian, where that can be written down, on the first rows of data.
fn whole_log_det(flow: &Flow, rows: &[Rows], config: &Config) -> Option<LogDet> {
    let rows = rows.iter().find(|rows| rows.direction == Direction::Forward && rows.jacobians > 0)?;
    let few = rows.jacobians.min(rows.doubles.clamp(1, rows.start.size()[0]));
    let first = |t: &Tensor| walk::placed(&t.narrow(0, 0, few), flow, Kind::Double);
    let (x, context) = (first(&rows.start), rows.context.as_ref().map(first));
    let dim: i64 = x.size()[1..].iter().product();
    if dim > config.exact_dim {
        return None;
    }
    let claimed = crate::no_grad(|| flow.bijection().forward(&x, context.as_ref()).1);
    let truth = jacobian_log_det(&x, |x, copies| {
        let context = context.as_ref().map(|c| c.repeat_interleave_self_int(copies, 0, None::<i64>));
        flow.bijection().forward(x, context.as_ref()).0
    });
    Some(LogDet { method: Method::Exact, error: Measured::between(&claimed, &truth) })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::{Bijection, StandardNormal};

    /// The identity, which claims a log-determinant of 1 for rows above 1/2.
    #[derive(Debug)]
    struct WrongAbove;

    impl WrongAbove {
        fn claim(x: &Tensor) -> Tensor {
            x.select(1, 0).gt(0.5).to_kind(x.kind())
        }
    }

    impl Bijection for WrongAbove {
        fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
            (x * 1.0, Self::claim(x))
        }

        fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
            (z * 1.0, Self::claim(z).neg())
        }
    }

    #[test]
    fn no_more_rows_are_held_against_the_jacobian_than_go_through_in_f64() {
        let flow = Flow::new(WrongAbove, StandardNormal::new(&[2]), Device::Cpu);
        let x = Tensor::from_slice(&[0.0f32, 0.0, 1.0, 1.0]).reshape([2, 2]);
        let rows = |doubles| Rows { doubles, ..Rows::new("data", Direction::Forward, x.shallow_clone()) };
        let error = |doubles| whole_log_det(&flow, &[rows(doubles)], &Config::default()).unwrap().error.absolute;
        assert_eq!([error(1), error(2)], [0.0, 1.0]);
    }
}
