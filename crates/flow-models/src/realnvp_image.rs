//! RealNVP as its paper has it: multi-scale, convolutional.

use flow_core::{
    ActNorm, BatchNorm, Bound, Chain, Flow, ImageCoupling, ImageMask, Law, Level, Multiscale, StandardNormal, TopPrior,
};
use serde::{Deserialize, Serialize};
use tch::nn;

use crate::conv_net::ConvNet;
use crate::error::require;
use crate::glow::Order2x2;
use crate::head::{Entry, Head, SplineConfig};
use crate::image;
use crate::{BoundConfig, ConvNetConfig, Norm, Result};

/// RealNVP (Dinh, Sohl-Dickstein and Bengio 2017), section 3.6 and figure 4. A level is
///
/// ```text
/// `checkers` couplings by the squares of a chessboard, kept squares taking turns
/// squeeze
/// `channels` couplings by halves of the channels, kept halves taking turns
/// half of the channels is let go of, the other half goes on
/// ```
///
/// and the last one ends with couplings by the squares alone, one more than the others (the paper's four). Couplings are
/// affine with residual nets. Each is followed by a BatchNorm where nets have batch normalisation (section 3.7), and
/// preceded by an ActNorm else.
///
/// Steps by name, data to latent: the head's (`standardize` or `logit`), `spline` and `actnorm` where asked for, then for each level `i`
/// `level_i.checker_j`, `level_i.channel_j` and, with `priors`, `level_i.prior`; each of the couplings' is `.actnorm`,
/// `.coupling`, or `.coupling`, `.batchnorm`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultiscaleRealNvpConfig {
    /// The first step. Default the logit with a margin of 0.05, as in the paper.
    pub head: Head,
    /// A spline of each pixel's value behind the head, images only. Default none.
    pub spline: Option<SplineConfig>,
    /// Whether an ActNorm of each coordinate on its own follows. Default false.
    pub actnorm: bool,
    /// Number of levels, the last one included. Default 3.
    pub levels: usize,
    /// Couplings by squares a level; the last has one more. Default 3.
    pub checkers: usize,
    /// Couplings by channels a level. Default 3.
    pub channels: usize,
    /// The couplings' nets. Default residual, 4 blocks of 32 channels with weight normalisation.
    pub net: ConvNetConfig,
    /// The bound on `|log_s|`. Default learned, one a channel, starting at 1.
    pub bound: BoundConfig,
    /// Where the four pixels of a block go among the channels. Default channel-major.
    pub squeeze: Order2x2,
    /// Whether what a level lets go of has a learned prior given what it keeps, and the last level one too; the paper's
    /// are standard normals. Default true.
    pub priors: bool,
    /// Number of classes that are given as context, one-hot, to every net and prior; 0 for none. Default 0.
    pub classes: usize,
}

impl Default for MultiscaleRealNvpConfig {
    fn default() -> Self {
        MultiscaleRealNvpConfig {
            head: Head::Logit { alpha: 0.05 },
            spline: None,
            actnorm: false,
            levels: 3,
            checkers: 3,
            channels: 3,
            net: ConvNetConfig { width: 32, blocks: 4, residual: true, norm: Norm::Weight, ..ConvNetConfig::default() },
            bound: BoundConfig::Learned(1.0),
            squeeze: Order2x2::ChannelMajor,
            priors: true,
            classes: 0,
        }
    }
}

/// A coupling of the model: where, by what mask, on how many channels.
struct Place {
    name: String,
    mask: ImageMask,
    channels: usize,
}

impl MultiscaleRealNvpConfig {
    /// Builds the flow under `path` for images of shape `event`, `[c, h, w]`; it works on them flattened, `[n, D]`.
    ///
    /// # Errors
    ///
    /// A field outside its range, by name, or an event that is no image.
    pub fn build(&self, path: &nn::Path, event: &[usize], seed: u64) -> Result<Flow> {
        let event = self.validate(event)?;
        let dim = event.iter().product();
        let mut chain = Chain::default();
        self.entry().build(&mut chain, path, dim)?;
        let [mut channels, mut height, mut width] = event;
        let mut levels = Vec::new();
        for i in 0..self.levels {
            let path = path / format!("level_{i}");
            let stack = |places: Vec<Place>| {
                places.into_iter().try_fold(Chain::default(), |mut chain, place| {
                    let step = self.step(&(&path / &place.name), &place, seed)?;
                    chain.push(place.name, step)?;
                    Ok::<_, crate::Error>(chain)
                })
            };
            let (mut before, mut steps) = (stack(self.squares(i, channels))?, stack(self.halves(i, channels))?);
            let (all, kept) = (4 * channels, 2 * channels);
            if self.priors && self.is_last(i) {
                let event = [channels as i64, height as i64, width as i64];
                before.push("prior", TopPrior::new(&(&path / "prior"), &event, self.classes))?;
            } else if self.priors {
                steps.push("prior", image::prior(&(&path / "prior"), kept, all - kept, self.classes)?)?;
            }
            levels.push(Level { before, steps, kept });
            (channels, height, width) = (kept, height / 2, width / 2);
        }
        chain.push("", Multiscale::new(event, self.squeeze.core(), levels)?)?;
        Ok(Flow::new(chain, StandardNormal::new(&[dim as i64]), path.device()))
    }

    /// Which level lets go of each coordinate of the latent, in the order of the flattened event.
    pub fn latent_levels(&self, event: &[usize]) -> Vec<usize> {
        image::latent_levels(event, self.levels, self.squeeze.core())
    }

    fn validate(&self, event: &[usize]) -> Result<[usize; 3]> {
        let dim = image::dim(event)?;
        let image = <[usize; 3]>::try_from(event);
        require(image.is_ok(), "event", "an image: channels, height, width", format!("{event:?}"))?;
        let image = image.expect("required above");
        self.entry().validate(dim)?;
        self.bound.validate()?;
        image::validate_levels(self.levels, image[1], image[2])?;
        require((1..=64).contains(&self.checkers), "checkers", "between 1 and 64", self.checkers)?;
        require(self.channels <= 64, "channels", "at most 64", self.channels)?;
        require(self.classes <= 1 << 16, "classes", "at most 65536", self.classes)?;
        self.net.validate("net")?;
        Ok(image)
    }

    fn entry(&self) -> Entry<'_> {
        Entry { head: &self.head, spline: self.spline, actnorm: self.actnorm }
    }

    /// Number of saved numbers, trained or fixed; known before anything is allocated.
    pub(crate) fn saved_numbers(&self, event: &[usize]) -> Result<u128> {
        let image = self.validate(event)?;
        let dim: usize = image.iter().product();
        let mut total = self.entry().saved_numbers(dim);
        let [mut channels, mut height, mut width] = image;
        for i in 0..self.levels {
            for place in self.squares(i, channels).iter().chain(&self.halves(i, channels)) {
                let (kept, changed) = image::parts(place.mask, place.channels);
                total += self.net.saved_numbers(kept, 2 * changed, self.classes);
                total += if matches!(self.bound, BoundConfig::Learned(_)) { changed as u128 } else { 0 };
                // A BatchNorm's two moments; an ActNorm's two parameters and its flag.
                total += 2 * place.channels as u128 + if self.net.norm == Norm::Batch { 0 } else { 1 };
            }
            if self.priors {
                total += match self.is_last(i) {
                    true => 2 * (channels * height * width) as u128 * (1 + self.classes as u128),
                    false => image::prior_numbers(2 * channels, 2 * channels, self.classes),
                };
            }
            (channels, height, width) = (2 * channels, height / 2, width / 2);
        }
        Ok(total)
    }

    fn is_last(&self, level: usize) -> bool {
        level + 1 == self.levels
    }

    fn squares(&self, level: usize, channels: usize) -> Vec<Place> {
        let number = self.checkers + usize::from(self.is_last(level));
        let place = |j: usize| Place {
            name: format!("checker_{j}"),
            mask: ImageMask::Checkerboard { flipped: j % 2 == 1 },
            channels,
        };
        (0..number).map(place).collect()
    }

    fn halves(&self, level: usize, channels: usize) -> Vec<Place> {
        let number = if self.is_last(level) { 0 } else { self.channels };
        let place = |j: usize| Place {
            name: format!("channel_{j}"),
            mask: ImageMask::Channels { first: 2 * channels, flipped: j % 2 == 1 },
            channels: 4 * channels,
        };
        (0..number).map(place).collect()
    }

    fn step(&self, path: &nn::Path, place: &Place, seed: u64) -> Result<Chain> {
        let (kept, changed) = image::parts(place.mask, place.channels);
        let own = path / "coupling";
        let net: ConvNet = self.net.build(&own, kept, 2 * changed, self.classes, seed);
        let bound = match self.bound {
            BoundConfig::Fixed(bound) => Bound::Fixed(bound),
            BoundConfig::Learned(start) => Bound::learned_by_channel(&own, changed, start),
        };
        let coupling = ImageCoupling::new(place.mask, place.channels, net, Law::Affine { bound })?;
        let mut step = Chain::default();
        if self.net.norm == Norm::Batch {
            step.push("coupling", coupling)?;
            step.push("batchnorm", BatchNorm::new(&(path / "batchnorm"), place.channels, BATCH_SHARE))?;
        } else {
            step.push("actnorm", ActNorm::new(&(path / "actnorm"), place.channels))?;
            step.push("coupling", coupling)?;
        }
        Ok(step)
    }
}

/// Share by which a batch moves the running moments of a BatchNorm between couplings.
const BATCH_SHARE: f64 = 0.1;
