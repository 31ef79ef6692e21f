//! RealNVP for vectors: affine couplings.

use flow_core::{Bound, Flow, Law};
use serde::{Deserialize, Serialize};
use tch::nn;

use crate::error::require;
use crate::stack::{Scaling, Stack};
use crate::{BaseKind, Head, MlpConfig, Order, Pattern, Result};

/// RealNVP (Dinh, Sohl-Dickstein and Bengio 2017), fully connected:
///
/// ```text
/// z_changed = x_changed * exp(log_s) + t,   log_s = bound * tanh(raw),   [raw, t] = m(x_kept)
/// ```
///
/// Steps by name, data to latent: the head's (`standardize` or `logit`), `actnorm` where asked for, then for each `i`
/// `reverse_i` or `shuffle_i` (by `order`) and `coupling_i`, then `scaling` where asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RealNvpConfig {
    /// The first step. Default none.
    pub head: Head,
    /// Whether an ActNorm follows the head. Default false.
    pub actnorm: bool,
    /// Number of affine couplings. Default 6.
    pub couplings: usize,
    /// What a coupling keeps. Default alternating.
    pub pattern: Pattern,
    /// How the kept part changes from coupling to coupling. Default flip.
    pub order: Order,
    /// The couplings' nets, with one output layer for `raw` and `t` together.
    pub conditioner: MlpConfig,
    /// The bound on `|log_s|`. Default learned, starting at 1.
    pub bound: BoundConfig,
    /// The last step. Default none.
    pub scaling: Scaling,
    /// Distribution of the latent. Default normal.
    pub base: BaseKind,
    /// Width of the context that every conditioner is given, 0 for none. Default 0.
    pub context: usize,
}

/// The bound on `|log_s|` of every coupling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoundConfig {
    /// This number, for good.
    Fixed(f64),
    /// One number a changed coordinate, learned, starting at this.
    Learned(f64),
}

impl BoundConfig {
    pub(crate) fn validate(self) -> Result<()> {
        let (BoundConfig::Fixed(bound) | BoundConfig::Learned(bound)) = self;
        require(bound.is_finite() && bound > 0.0, "bound", "finite and positive", bound)
    }
}

impl Default for RealNvpConfig {
    fn default() -> Self {
        RealNvpConfig {
            head: Head::None,
            actnorm: false,
            couplings: 6,
            pattern: Pattern::Alternating,
            order: Order::Flip,
            conditioner: MlpConfig::default(),
            bound: BoundConfig::Learned(1.0),
            scaling: Scaling::None,
            base: BaseKind::Normal,
            context: 0,
        }
    }
}

impl RealNvpConfig {
    /// Builds the flow under `path` for events of shape `event`; it works on them flattened, `[n, D]`.
    ///
    /// # Errors
    ///
    /// A field outside its range, by name.
    pub fn build(&self, path: &nn::Path, event: &[usize], seed: u64) -> Result<Flow> {
        self.stack().require_all_changed(event)?;
        self.build_saved(path, event, seed)
    }

    /// The same for numbers that are known: a file may hold a model of a kind that none is begun of any more.
    pub(crate) fn build_saved(&self, path: &nn::Path, event: &[usize], seed: u64) -> Result<Flow> {
        self.validate()?;
        self.stack().build(path, event, seed, |path, changed| {
            let bound = match self.bound {
                BoundConfig::Fixed(bound) => Bound::Fixed(bound),
                BoundConfig::Learned(start) => Bound::learned(path, changed, start),
            };
            Law::Affine { bound }
        })
    }

    pub(crate) fn saved_numbers(&self, event: &[usize]) -> Result<u128> {
        self.validate()?;
        let learned = matches!(self.bound, BoundConfig::Learned(_));
        self.stack().saved_numbers(event, |changed| if learned { changed as u128 } else { 0 })
    }

    fn validate(&self) -> Result<()> {
        self.bound.validate()
    }

    fn stack(&self) -> Stack<'_> {
        Stack {
            head: &self.head,
            actnorm: self.actnorm,
            couplings: self.couplings,
            pattern: self.pattern,
            order: self.order,
            conditioner: &self.conditioner,
            parameters_each: 2,
            scaling: self.scaling,
            base: self.base,
            context: self.context,
        }
    }
}
