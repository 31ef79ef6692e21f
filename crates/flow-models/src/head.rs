//! The head of a model: its first steps, on flat rows.

use flow_core::{ActNorm, Chain, ElementwiseAffine, Logit, Spline};
use serde::{Deserialize, Deserializer, Serialize};
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
    #[serde(deserialize_with = "nothing_more")]
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

/// Refuses fields beside a kind that has none: of a variant without fields serde looks at no others.
fn nothing_more<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(deserializer).map(|Nothing {}| ())
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

/// An elementwise spline behind the head of an image model, one for all pixels; it starts from data as two Gaussians, the
/// background's and the rest's. See [`flow_core::Spline`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplineConfig {
    /// Number of bins. Default 32.
    pub bins: usize,
    /// Values of the unit cube below this are background: the lowest level's cell. Default 1/256.
    pub background: f64,
}

impl Default for SplineConfig {
    fn default() -> Self {
        SplineConfig { bins: 32, background: 1.0 / 256.0 }
    }
}

impl SplineConfig {
    fn validate(&self, head: &Head) -> Result<()> {
        require((2..=4096).contains(&self.bins), "spline.bins", "between 2 and 4096", self.bins)?;
        let inside = self.background > 0.0 && self.background < 1.0;
        require(inside, "spline.background", "between 0 and 1", self.background)?;
        let image = !matches!(head, Head::Standardize { .. });
        require(image, "spline", "none behind a standardisation", "one")
    }

    fn build(&self, path: &nn::Path, head: &Head) -> Result<Spline> {
        let place = |x: f64| match head {
            Head::Logit { alpha } => {
                let y = alpha + (1.0 - 2.0 * alpha) * x;
                (y / (1.0 - y)).ln()
            }
            Head::None | Head::Standardize { .. } => x,
        };
        Ok(Spline::new(path, self.bins, place(0.0), place(1.0), place(self.background))?)
    }
}

/// The first steps, on flat rows `[n, D]`.
pub(crate) struct Entry<'a> {
    pub head: &'a Head,
    pub spline: Option<SplineConfig>,
    pub actnorm: bool,
}

impl Entry<'_> {
    pub fn validate(&self, dim: usize) -> Result<()> {
        self.head.validate(dim)?;
        self.spline.map_or(Ok(()), |spline| spline.validate(self.head))
    }

    pub fn build(&self, chain: &mut Chain, path: &nn::Path, dim: usize) -> Result<()> {
        match self.head {
            Head::None => {}
            Head::Standardize { mean, std } => {
                let standardize = ElementwiseAffine::standardize(&(path / "standardize"), mean, std)?;
                chain.push("standardize", standardize)?;
            }
            Head::Logit { alpha } => chain.push("logit", Logit::new(*alpha)?)?,
        }
        if let Some(spline) = &self.spline {
            chain.push("spline", spline.build(&(path / "spline"), self.head)?)?;
        }
        if self.actnorm {
            chain.push("actnorm", ActNorm::new(&(path / "actnorm"), dim))?;
        }
        Ok(())
    }

    pub fn saved_numbers(&self, dim: usize) -> u128 {
        let dim = dim as u128;
        let head = if matches!(self.head, Head::Standardize { .. }) { 2 * dim } else { 0 };
        let spline = self.spline.map_or(0, |spline| 3 * spline.bins as u128 + 2);
        head + spline + if self.actnorm { 2 * dim + 1 } else { 0 }
    }
}
