//! NICE: additive couplings and one final scaling.

use flow_core::{Flow, Law};
use serde::{Deserialize, Serialize};
use tch::nn;

use crate::stack::{Scaling, Stack};
use crate::{BaseKind, Head, MlpConfig, Order, Pattern, Result};

/// NICE (Dinh, Krueger and Bengio 2014):
///
/// ```text
/// z_changed = x_changed + m(x_kept)   once per coupling,   then   z = exp(s) * h   elementwise
/// ```
///
/// Steps by name, data to latent: the head's (`standardize` or `logit`), then for each `i` `reverse_i` or `shuffle_i`
/// (by `order`) and `coupling_i`, then `scaling`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NiceConfig {
    /// The first step. Default none.
    pub head: Head,
    /// Number of additive couplings. Default 4, as in the paper.
    pub couplings: usize,
    /// What a coupling keeps. Default alternating, the paper's even and odd.
    pub pattern: Pattern,
    /// How the kept part changes from coupling to coupling. Default flip.
    pub order: Order,
    /// The couplings' nets.
    pub conditioner: MlpConfig,
    /// Distribution of the latent. Default logistic.
    pub base: BaseKind,
    /// The last step. Default one, as in the paper.
    pub scaling: Scaling,
    /// Width of the context that every conditioner is given, 0 for none. Default 0.
    pub context: usize,
}

impl Default for NiceConfig {
    fn default() -> Self {
        NiceConfig {
            head: Head::None,
            couplings: 4,
            pattern: Pattern::Alternating,
            order: Order::Flip,
            conditioner: MlpConfig::default(),
            base: BaseKind::Logistic,
            scaling: Scaling::One,
            context: 0,
        }
    }
}

impl NiceConfig {
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
        self.stack().build(path, event, seed, |_, _| Law::Additive)
    }

    pub(crate) fn saved_numbers(&self, event: &[usize]) -> Result<u128> {
        self.stack().saved_numbers(event, |_| 0)
    }

    fn stack(&self) -> Stack<'_> {
        Stack {
            head: &self.head,
            actnorm: false,
            couplings: self.couplings,
            pattern: self.pattern,
            order: self.order,
            conditioner: &self.conditioner,
            parameters_each: 1,
            scaling: self.scaling,
            base: self.base,
            context: self.context,
        }
    }
}
