//! The likelihood of a split, as it is reported.

use flow_data::{Part, Split, Toy};
use serde::Serialize;

use super::draws::{Draws, Moments};
use super::{Mean, Protocol};
use crate::{Error, Result};

/// The likelihood of one split. `docs/evaluation.md` derives every number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Likelihood {
    /// Which split.
    pub split: String,
    /// Number of rows.
    pub count: usize,
    /// Dequantization draws a row, K; 1 where nothing is dequantized.
    pub draws: usize,
    /// By which protocol images are reported; `None` for real numbers, which are taken as read.
    pub protocol: Option<Protocol>,
    /// What `nats` is the density of: `unit cube`, `logit space, alpha 1e-6`, `as read`.
    pub unit: String,
    /// Whether it is the likelihood given the class of each row, log p(x | class).
    pub given_class: bool,
    /// Mean over the rows of each row's mean over its draws of log p(x), in nats, with the standard error over the rows.
    pub nats: Mean,
    /// How far `nats` would move with other noise; `None` for one draw.
    pub between_draws: Option<BetweenDraws>,
    /// `log2 L - nats / (D ln 2)` for images of L levels, `nats` on the unit cube whatever the protocol: the bits that a
    /// channel of a pixel takes.
    pub bits_per_dim: Option<Mean>,
    /// A tighter bound on the probability of the levels themselves; `None` for one draw.
    pub importance_weighted: Option<ImportanceWeighted>,
    /// The same by class, where the split has labels, in their order.
    pub by_class: Vec<ClassLikelihood>,
    /// Distance to the best possible, where that is known.
    pub floor: Option<Floor>,
}

/// What the noise alone does to a mean over a split, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BetweenDraws {
    /// Standard deviation of the mean over the split from one draw to another.
    pub sd: f64,
    /// The same for the mean over all K draws that is reported: `sd / √K`.
    pub se: f64,
}

/// The importance-weighted bound of K draws (Burda et al. 2016, equation 8, with uniform noise as the proposal):
/// `ln (1/K) Σ_k p((k + u_k) / L)`, in the mean a lower bound of `ln P(k) + D ln L` that rises with K.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ImportanceWeighted {
    /// Its mean over the rows in nats, on the unit cube whatever the protocol, with the standard error over the rows.
    pub nats: Mean,
    /// `log2 L - nats / (D ln 2)`: an upper bound of `-log2 P(k) / D`.
    pub bits_per_dim: Mean,
}

/// The rows of one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassLikelihood {
    /// The label.
    pub class: u8,
    /// Number of rows.
    pub count: usize,
    /// As [`Likelihood::nats`].
    pub nats: Mean,
    /// As [`Likelihood::bits_per_dim`].
    pub bits_per_dim: Option<Mean>,
}

/// How far a model is from the true density.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Floor {
    /// Entropy of the true density in nats: the least mean negative log-likelihood there is.
    pub nats: f64,
    /// Mean of log p_true - log p over the same rows, an estimate of the Kullback-Leibler divergence.
    pub gap: f64,
    /// Its standard error.
    pub gap_se: f64,
}

/// What was evaluated.
pub(super) struct Evaluated<'a> {
    pub split: &'a Split,
    pub part: Part,
    pub levels: Option<u32>,
    /// D.
    pub dim: usize,
    pub protocol: Protocol,
    pub given_class: bool,
    pub toy: Option<Toy>,
}

impl Evaluated<'_> {
    /// Sums it up.
    ///
    /// # Errors
    ///
    /// [`Error::LikelihoodNotFinite`].
    pub fn likelihood(&self, draws: &Draws) -> Result<Likelihood> {
        let means = |moments: &[Moments]| -> Vec<f64> { moments.iter().map(|row| row.mean).collect() };
        let (native, reported) = (means(&draws.native), means(draws.reported()));
        self.require_finite(&reported)?;
        let weighted = draws.importance_weighted();
        Ok(Likelihood {
            split: self.part.to_string(),
            count: reported.len(),
            draws: draws.number,
            protocol: self.levels.map(|_| self.protocol),
            unit: self.levels.map_or("as read".to_owned(), |_| self.protocol.unit()),
            given_class: self.given_class,
            nats: Mean::of(&reported),
            between_draws: draws.sd().map(|sd| BetweenDraws { sd, se: sd / (draws.number as f64).sqrt() }),
            bits_per_dim: self.bits(Mean::of(&native)),
            importance_weighted: self
                .bits(Mean::of(&weighted))
                .filter(|_| draws.number > 1)
                .map(|bits_per_dim| ImportanceWeighted { nats: Mean::of(&weighted), bits_per_dim }),
            by_class: self.by_class(&native, &reported),
            floor: self.toy.map(|toy| self.floor(toy, &native)),
        })
    }

    /// `log2 L - nats / (D ln 2)`, where there are levels.
    fn bits(&self, nats: Mean) -> Option<Mean> {
        let levels = f64::from(self.levels?);
        Some(nats.scaled(-1.0 / (self.dim as f64 * std::f64::consts::LN_2), levels.log2()))
    }

    fn by_class(&self, native: &[f64], reported: &[f64]) -> Vec<ClassLikelihood> {
        let Some(labels) = &self.split.labels else { return Vec::new() };
        let of = |class: u8| {
            let own = |values: &[f64]| -> Vec<f64> {
                values.iter().zip(labels).filter(|(_, label)| **label == class).map(|(value, _)| *value).collect()
            };
            let rows = own(reported);
            (!rows.is_empty()).then(|| ClassLikelihood {
                class,
                count: rows.len(),
                nats: Mean::of(&rows),
                bits_per_dim: self.bits(Mean::of(&own(native))),
            })
        };
        (0..=u8::MAX).filter_map(of).collect()
    }

    fn floor(&self, toy: Toy, values: &[f64]) -> Floor {
        let truth = toy.log_prob(self.split.to_reals().view());
        let gaps: Vec<f64> = truth.iter().zip(values).map(|(truth, value)| truth - value).collect();
        let gap = Mean::of(&gaps);
        Floor { nats: toy.entropy(), gap: gap.mean, gap_se: gap.se }
    }

    fn require_finite(&self, values: &[f64]) -> Result<()> {
        let mut wrong = values.iter().enumerate().filter(|(_, value)| !value.is_finite()).map(|(row, _)| row);
        let first: Vec<usize> = wrong.by_ref().take(NAMED).collect();
        match first.len() + wrong.count() {
            0 => Ok(()),
            count => {
                let (rows, part) = (values.len(), self.part.to_string());
                Err(Error::LikelihoodNotFinite { count, rows, part, first })
            }
        }
    }
}

/// So many of the rows whose likelihood is not finite are named, the others are counted.
const NAMED: usize = 10;
