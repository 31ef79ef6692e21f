//! Ready configurations by name, for each model on each kind of data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    Activation, BaseKind, BoundConfig, ConvNetConfig, GlowConfig, Head, MlpConfig, ModelConfig,
    MultiscaleRealNvpConfig, NiceConfig, Norm, Order, Pattern, RealNvpConfig, Scaling, SplineConfig, WeightInit,
};

/// Which ready configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The nets of the repository `jaekookang/flow_based_models`, to compare with.
    Seed,
    /// The nets of the model's paper, as far as each model's function here says.
    Paper,
    /// For NICE and fully connected RealNVP the best found within minutes on two cores; for image models, which want
    /// more, what hours on a GPU are for.
    Default,
    /// The best found within ten minutes on two cores.
    Cpu,
}

impl Preset {
    /// All of them.
    pub const ALL: [Preset; 4] = [Preset::Seed, Preset::Paper, Preset::Default, Preset::Cpu];
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "seed" => Ok(Preset::Seed),
            "paper" => Ok(Preset::Paper),
            "default" => Ok(Preset::Default),
            "cpu" => Ok(Preset::Cpu),
            _ => Err(format!("no preset is called {s:?}; there are seed, paper, default and cpu")),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Preset::Seed => "seed",
            Preset::Paper => "paper",
            Preset::Default => "default",
            Preset::Cpu => "cpu",
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
            order: seed_order(event),
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
        Preset::Default | Preset::Cpu => NiceConfig {
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
            order: seed_order(event),
            conditioner: seed_net(if image { 5 } else { 3 }),
            bound: BoundConfig::Fixed(1.0),
            ..RealNvpConfig::default()
        },
        Preset::Paper | Preset::Default | Preset::Cpu => RealNvpConfig {
            head: if image { Head::Logit { alpha: IMAGE_ALPHA } } else { Head::None },
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

/// Glow for data of shape `event`, an image on the unit cube or a vector, conditioned on `classes` classes (0 for none).
/// The original has no Glow, so its preset is the default.
///
/// The paper trains on no MNIST; `paper` has the size of its smallest net for images, 3 levels of 32 steps of width 512, with
/// this crate's logit, spline and affine couplings.
pub fn glow(preset: Preset, event: &[usize], classes: usize) -> ModelConfig {
    let image = event.len() == 3;
    if !image {
        return ModelConfig::Glow(GlowConfig {
            levels: 1,
            depth: 6,
            bound: BoundConfig::Learned(2.0),
            vector_net: small_net(),
            classes,
            ..GlowConfig::default()
        });
    }
    let net = |width| ConvNetConfig { width, blocks: 1, ..ConvNetConfig::default() };
    let most = event[1].min(event[2]).max(1).ilog2() as usize;
    let common = GlowConfig {
        head: Head::Logit { alpha: IMAGE_ALPHA },
        spline: Some(SplineConfig::default()),
        bound: BoundConfig::Learned(1.0),
        levels: 2.min(most),
        classes,
        ..GlowConfig::default()
    };
    ModelConfig::Glow(match preset {
        Preset::Paper => GlowConfig { levels: 3.min(most), depth: 32, net: net(512), ..common },
        Preset::Seed | Preset::Default => GlowConfig { levels: 3.min(most), depth: 16, net: net(128), ..common },
        Preset::Cpu => GlowConfig {
            checkers: 2,
            checker_net: ConvNetConfig { blocks: 2, residual: true, pointwise: true, ..net(48) },
            depth: 6,
            net: net(48),
            ..common
        },
    })
}

/// Multi-scale RealNVP for images of shape `event` on the unit cube, conditioned on `classes` classes (0 for none). The
/// original has none, so its preset is the default.
///
/// `paper` has the residual blocks and feature maps that the paper gives its nets on CIFAR-10 (section 4.1: 8 and 64),
/// its margin and batch normalisation, no spline and no learned priors. It is not that net: the paper squeezes CIFAR-10
/// once, which is `levels: 2`, and this has up to 3; the paper doubles the feature maps with every squeeze (section
/// 3.6), and here they are as many on every level; the paper's nets have weight normalisation beside batch
/// normalisation (section 3.7).
pub fn realnvp_image(preset: Preset, event: &[usize], classes: usize) -> ModelConfig {
    let most = event.iter().skip(1).min().copied().unwrap_or(1).max(1).ilog2() as usize;
    let net = |width, blocks, norm| ConvNetConfig { width, blocks, residual: true, norm, ..ConvNetConfig::default() };
    let common = MultiscaleRealNvpConfig {
        head: Head::Logit { alpha: IMAGE_ALPHA },
        spline: Some(SplineConfig::default()),
        levels: 3.min(most),
        bound: BoundConfig::Learned(1.0),
        classes,
        ..MultiscaleRealNvpConfig::default()
    };
    ModelConfig::RealNvpImage(match preset {
        // Section 4.1: 32 hidden maps and 4 residual blocks for small images, 64 and 8 for CIFAR-10, which MNIST takes after.
        Preset::Paper => MultiscaleRealNvpConfig {
            head: Head::Logit { alpha: 0.05 },
            spline: None,
            net: net(64, 8, Norm::Batch),
            priors: false,
            ..common
        },
        Preset::Seed | Preset::Default => MultiscaleRealNvpConfig { net: net(64, 4, Norm::Weight), ..common },
        Preset::Cpu => MultiscaleRealNvpConfig { net: net(24, 1, Norm::None), ..common },
    })
}

/// A margin of 1e-6, as in the MAF paper, leaves dark pixels the logarithm of a uniform, which no Gaussian fits.
const IMAGE_ALPHA: f64 = 1e-3;

/// The original's hidden layers: ReLU, 512 wide, Keras' own starting weights.
fn seed_net(layers: usize) -> MlpConfig {
    MlpConfig { hidden: 512, layers, zero_last: false, ..MlpConfig::default() }
}

/// The original reverses. Of an odd number of coordinates, which it does not take, the one in the middle would stay
/// there.
fn seed_order(event: &[usize]) -> Order {
    if event.iter().product::<usize>().is_multiple_of(2) { Order::Reverse } else { Order::Flip }
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
