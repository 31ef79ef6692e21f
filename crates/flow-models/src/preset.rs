//! Ready configurations by name, for the two models on each kind of data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    Activation, BaseKind, BoundConfig, Head, MlpConfig, ModelConfig, NiceConfig, Order, Pattern, RealNvpConfig,
    Scaling, WeightInit,
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
            conditioner: seed_net(if image { 4 } else { 2 }),
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
        Preset::Default => NiceConfig {
            couplings: if image { 5 } else { 6 },
            pattern: if image { Pattern::Checkerboard } else { Pattern::Alternating },
            conditioner: if image { image_net(3, event) } else { small_net() },
            base: if image { BaseKind::Logistic } else { BaseKind::Normal },
            scaling: Scaling::Data,
            ..NiceConfig::default()
        },
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
            conditioner: seed_net(if image { 5 } else { 3 }),
            bound: BoundConfig::Fixed(1.0),
            ..RealNvpConfig::default()
        },
        Preset::Paper | Preset::Default => RealNvpConfig {
            // A margin of 1e-6, as in the MAF paper, leaves dark pixels the logarithm of a uniform, which no Gaussian fits.
            head: if image { Head::Logit { alpha: 1e-3 } } else { Head::None },
            actnorm: image,
            couplings: if image { 5 } else { 6 },
            pattern: if image { Pattern::Checkerboard } else { Pattern::Alternating },
            conditioner: if image { image_net(2, event) } else { small_net() },
            bound: BoundConfig::Learned(2.0),
            scaling: Scaling::One,
            ..RealNvpConfig::default()
        },
    })
}

/// The original's hidden layers: ReLU, 512 wide, Keras' own starting weights.
fn seed_net(layers: usize) -> MlpConfig {
    MlpConfig { hidden: 512, layers, zero_last: false, ..MlpConfig::default() }
}

/// Half of the pixels to the other half. The linear skip and the residual layers are worth 0.06 bits/dim against a plain
/// net of the same size after the same number of steps.
fn image_net(layers: usize, event: &[usize]) -> MlpConfig {
    // Images of a few pixels come in small sets, which a wide net learns by heart.
    let tiny = event.iter().product::<usize>() < TINY;
    MlpConfig {
        hidden: if tiny { 128 } else { 512 },
        dropout: if tiny { 0.2 } else { 0.0 },
        layers,
        residual: true,
        skip: true,
        init: WeightInit::He,
        ..MlpConfig::default()
    }
}

/// Images of fewer pixels are tiny: 16 x 16 is not.
const TINY: usize = 256;

/// Enough for two-dimensional data and small tables.
fn small_net() -> MlpConfig {
    MlpConfig { hidden: 64, layers: 2, activation: Activation::Silu, ..MlpConfig::default() }
}
