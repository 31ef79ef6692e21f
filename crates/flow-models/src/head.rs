//! The head of a model: its first steps, on flat rows.

use flow_core::{ActNorm, Chain, ElementwiseAffine, Logit};
use serde::{Deserialize, Serialize};
use tch::nn;

use crate::Result;
use crate::error::require;

/// The first step of a model, which brings data to where a flow works well. It is inside the model and inside `log_prob`,
/// so likelihoods are always those of the data as read (of the unit cube for images).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Head {
    /// Nothing.
    #[default]
    None,
    /// `(x - mean) / std`, column by column, fixed.
    Standardize {
        /// One mean a column.
        mean: Vec<f64>,
        /// One standard deviation a column.
        std: Vec<f64>,
    },
    /// The logit of the unit cube squeezed by `alpha`.
    Logit {
        /// Margin that keeps the ends finite, between 0 and 1/2.
        alpha: f64,
    },
}

impl Head {
    pub(crate) fn validate(&self, dim: usize) -> Result<()> {
        match self {
            Head::Standardize { mean, .. } => {
                require(mean.len() == dim, "head.mean", format!("{dim} numbers"), mean.len())
            }
            Head::None | Head::Logit { .. } => Ok(()),
        }
    }
}

/// The first steps, on flat rows `[n, D]`.
pub(crate) struct Entry<'a> {
    pub head: &'a Head,
    pub actnorm: bool,
}

impl Entry<'_> {
    pub fn build(&self, chain: &mut Chain, path: &nn::Path, dim: usize) -> Result<()> {
        match self.head {
            Head::None => {}
            Head::Standardize { mean, std } => {
                let standardize = ElementwiseAffine::standardize(&(path / "standardize"), mean, std)?;
                chain.push("standardize", standardize)?;
            }
            Head::Logit { alpha } => chain.push("logit", Logit::new(*alpha)?)?,
        }
        if self.actnorm {
            chain.push("actnorm", ActNorm::new(&(path / "actnorm"), dim))?;
        }
        Ok(())
    }

    pub fn saved_numbers(&self, dim: usize) -> u128 {
        let dim = dim as u128;
        let head = if matches!(self.head, Head::Standardize { .. }) { 2 * dim } else { 0 };
        head + if self.actnorm { 2 * dim + 1 } else { 0 }
    }
}
