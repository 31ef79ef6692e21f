//! Ready configurations by name, for the two models on each kind of data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    Activation, BaseKind, BoundConfig, Head, MlpConfig, ModelConfig, NiceConfig, Order, Pattern, RealNvpConfig,
    WeightInit,
};

/// Which ready configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The nets of the repository `jaekookang/flow_based_models`, to compare with.
    Seed,
    /// The nets of the model's paper.
    Paper,
    /// The best found within minutes on two cores.
    Default,
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "seed" => Ok(Preset::Seed),
            "paper" => Ok(Preset::Paper),
            "default" => Ok(Preset::Default),
            _ => Err(format!("no preset is called {s:?}; there are seed, paper and default")),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Preset::Seed => "seed",
            Preset::Paper => "paper",
            Preset::Default => "default",
        })
    }
}

/// NICE for data of shape `event`: three numbers are an image on the unit cube, one is a vector.
pub fn nice(preset: Preset, event: &[usize]) -> ModelConfig {
    let image = event.len() == 3;
    ModelConfig::Nice(match preset {
        Preset::Seed => NiceConfig {
            couplings: 5,
            pattern: Pattern::Halves,
            order: Order::Reverse,
            conditioner: MlpConfig { zero_last: false, ..seed_net(if image { 4 } else { 2 }) },
            base: BaseKind::Normal,
            ..NiceConfig::default()
        },
        Preset::Paper => NiceConfig {
            conditioner: MlpConfig {
                hidden: 1000,
                layers: 5,
                init: WeightInit::Uniform(0.01),
                zero_last: false,
                ..MlpConfig::default()
            },
            ..NiceConfig::default()
        },
        Preset::Default if image => NiceConfig {
            couplings: 5,
            conditioner: MlpConfig { hidden: 512, layers: 4, ..MlpConfig::default() },
            ..NiceConfig::default()
        },
        Preset::Default => {
            NiceConfig { couplings: 6, conditioner: small_net(), base: BaseKind::Normal, ..NiceConfig::default() }
        }
    })
}

/// RealNVP for data of shape `event`: three numbers are an image on the unit cube, one is a vector. The paper has no
/// fully connected net, so its preset is the default.
pub fn realnvp(preset: Preset, event: &[usize]) -> ModelConfig {
    let image = event.len() == 3;
    ModelConfig::RealNvp(match preset {
        Preset::Seed => RealNvpConfig {
            couplings: 5,
            pattern: Pattern::Halves,
            order: Order::Reverse,
            conditioner: MlpConfig { zero_last: false, ..seed_net(if image { 5 } else { 3 }) },
            bound: BoundConfig::Fixed(1.0),
            ..RealNvpConfig::default()
        },
        Preset::Paper | Preset::Default if image => RealNvpConfig {
            head: Head::Logit { alpha: 0.05 },
            couplings: 6,
            pattern: Pattern::Checkerboard,
            conditioner: MlpConfig { hidden: 512, layers: 3, dropout: 0.1, ..MlpConfig::default() },
            ..RealNvpConfig::default()
        },
        Preset::Paper | Preset::Default => {
            RealNvpConfig { couplings: 6, conditioner: small_net(), ..RealNvpConfig::default() }
        }
    })
}

/// The original's hidden layers: ReLU, 512 wide, Keras' own starting weights.
fn seed_net(layers: usize) -> MlpConfig {
    MlpConfig { hidden: 512, layers, ..MlpConfig::default() }
}

/// Enough for two-dimensional data and small tables.
fn small_net() -> MlpConfig {
    MlpConfig { hidden: 64, layers: 2, activation: Activation::Silu, ..MlpConfig::default() }
}
