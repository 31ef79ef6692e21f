//! Likelihoods by the protocol: every row counted, standard errors given, the unit named. `docs/evaluation.md` derives
//! the formulas.

mod draws;
mod likelihood;
mod mean;
mod protocol;
mod summed_out;

use flow_core::Flow;
use flow_data::{Part, Split, Toy};

use self::draws::Draws;
use self::likelihood::Evaluated;
pub use self::likelihood::{BetweenDraws, ClassLikelihood, Floor, ImportanceWeighted, Likelihood};
pub use self::mean::Mean;
pub use self::protocol::Protocol;
pub use self::summed_out::SummedOut;
use crate::batches::{Batch, DeviceRows};
use crate::{Error, Result};

/// Rows evaluated at a time. Noise is seeded by such a part, so the number belongs to the protocol.
pub(crate) const ROWS: usize = 500;

/// The rows that are evaluated together from `start` on, with the noise of `seed`.
pub(crate) fn evaluation_batch(rows: &DeviceRows, start: usize, seed: u64) -> Batch {
    rows.dequantized(start, ROWS.min(rows.len() - start), seed)
}

/// log p(x) of every row in order, in nats, averaged over `draws` of the dequantization noise; log p(x | class) where the
/// rows have a class as context.
pub fn log_probs(flow: &Flow, rows: &DeviceRows, draws: usize, seed: u64) -> Vec<f64> {
    let told = |_, batch: &Batch| flow.log_prob(&batch.x, batch.context.as_ref());
    let draws = Draws::of(rows, draws, seed, Protocol::UnitCube, told).expect("the unit cube needs no conversion");
    draws.native.iter().map(|row| row.mean).collect()
}

/// How a likelihood is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Draws of the dequantization noise a row, K. Default 1.
    pub draws: usize,
    /// What the noise depends on. Default 0.
    pub seed: u64,
    /// In which space images are reported. Default the unit cube; real numbers are taken as read, and have none.
    pub protocol: Option<Protocol>,
}

impl Default for Evaluation {
    fn default() -> Self {
        Evaluation { draws: 1, seed: 0, protocol: None }
    }
}

impl Evaluation {
    /// Evaluates `flow` on a split. `toy` is what the data were drawn from, where that is known. A flow of `classes`
    /// classes is told the class of each row.
    ///
    /// # Errors
    ///
    /// [`Error::LikelihoodNotFinite`] where a row's likelihood is not finite: none is dropped from the mean.
    /// [`Error::Config`] where there is no row, or not the labels that the flow wants, or a protocol for what is no image.
    pub fn of(&self, flow: &Flow, classes: usize, split: &Split, part: Part, toy: Option<Toy>) -> Result<Likelihood> {
        let rows = self.rows(flow, classes, split, part)?;
        let told = |_, batch: &Batch| flow.log_prob(&batch.x, batch.context.as_ref());
        let draws = Draws::of(&rows, self.draws, self.seed, self.protocol(), told)?;
        // The true density is that of x; given the class it would be another.
        let toy = toy.filter(|_| classes == 0);
        Evaluated { toy, given_class: classes > 0, ..self.evaluated(flow, split, part, &rows) }.likelihood(&draws)
    }

    fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or_default()
    }

    fn rows(&self, flow: &Flow, classes: usize, split: &Split, part: Part) -> Result<DeviceRows> {
        let rows = DeviceRows::with_classes(split, classes, flow.device())?;
        match self.protocol {
            _ if rows.is_empty() => Err(Error::Config(format!("the {part} split has no rows"))),
            Some(protocol) if rows.levels().is_none() => Err(Error::Config(format!(
                "protocol {protocol} is for rows of levels, such as images; these are real numbers, evaluated as read"
            ))),
            _ => Ok(rows),
        }
    }

    fn evaluated<'a>(&self, flow: &Flow, split: &'a Split, part: Part, rows: &DeviceRows) -> Evaluated<'a> {
        Evaluated {
            split,
            part,
            levels: rows.levels(),
            dim: flow.base().event().iter().product::<i64>() as usize,
            protocol: self.protocol(),
            given_class: false,
            toy: None,
        }
    }
}

/// [`Evaluation::of`] with `draws` dequantization draws a row, noise by `seed`, images on the unit cube.
///
/// # Errors
///
/// As there.
pub fn evaluate(
    flow: &Flow,
    classes: usize,
    split: &Split,
    part: Part,
    toy: Option<Toy>,
    draws: usize,
    seed: u64,
) -> Result<Likelihood> {
    Evaluation { draws, seed, protocol: None }.of(flow, classes, split, part, toy)
}
