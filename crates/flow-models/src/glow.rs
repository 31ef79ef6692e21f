//! Glow: ActNorm, a learned mixing of the channels, a coupling; over and over, at several scales.

use flow_core::{
    ActNorm, Bound, Chain, Conv1x1, Coupling, Flow, ImageCoupling, ImageMask, Law, Level, Mask, Multiscale,
    SqueezeOrder, StandardNormal, TopPrior, rng,
};
use serde::{Deserialize, Serialize};
use tch::nn;

use crate::conv_net::ConvNet;
use crate::error::require;
use crate::head::{Entry, Head, SplineConfig};
use crate::image;
use crate::{BoundConfig, ConvNetConfig, MlpConfig, Result};

/// Glow (Kingma and Dhariwal 2018). A step is
///
/// ```text
/// h = (h + shift) * exp(log_scale)      by channel (ActNorm, section 3.1)
/// h = W h                               at every pixel (1x1 convolution, section 3.2)
/// h_changed = h_changed * exp(log_s) + t   or   h_changed + t,   by the kept half of the channels (section 3.3)
/// ```
///
/// On images, `levels` levels of `depth` steps each, with a squeeze before and a split after them (figure 2); what a level
/// lets go of is a Gaussian given what it keeps, and the last level's a Gaussian given the class. On vectors, `depth` steps
/// in a row.
///
/// Steps by name, data to latent: the head's (`standardize` or `logit`), `spline` and `actnorm` where asked for; on images then for
/// each level `i`, in the first one `level_0.checker_j.actnorm`, `.coupling`, for each step `level_i.step_j.actnorm`, `.mix`, `.coupling`, and `level_i.prior`;
/// on vectors `step_j.actnorm`, `.mix`, `.coupling`, and `prior`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GlowConfig {
    /// The first step. Default none.
    pub head: Head,
    /// A spline of each pixel's value behind the head, images only. Default none.
    pub spline: Option<SplineConfig>,
    /// Whether an ActNorm of each coordinate on its own follows. Default false.
    pub actnorm: bool,
    /// Number of levels on images; 1 on vectors. Default 2.
    pub levels: usize,
    /// Number of steps a level. Default 8.
    pub depth: usize,
    /// Couplings by the squares of a chessboard at the beginning of the first level, behind its squeeze. Default 0, as in
    /// the paper.
    pub checkers: usize,
    /// What these do. Default a spline.
    pub checker: CouplingKind,
    /// The nets of these. Default residual, of one block.
    pub checker_net: ConvNetConfig,
    /// What the coupling of a step does. Default affine.
    pub coupling: CouplingKind,
    /// Number of bins of spline couplings. Default 8.
    pub bins: usize,
    /// The bound on `|log_s|` of affine couplings. Default learned, one a channel, starting at 1.
    pub bound: BoundConfig,
    /// How the matrix of a mixing is parametrised. Default LU.
    pub mixing: Mixing,
    /// Where the four pixels of a block go among the channels. Default channel-major.
    pub squeeze: Order2x2,
    /// The couplings' nets on images.
    pub net: ConvNetConfig,
    /// The couplings' nets on vectors.
    pub vector_net: MlpConfig,
    /// Whether the last level's prior is learned; the others' always are. Default true.
    pub learned_top: bool,
    /// Number of classes that are given as context, one-hot, to every net and to the last prior; 0 for none. Default 0.
    pub classes: usize,
}

/// What a coupling of Glow does to the changed half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CouplingKind {
    /// Adds, and keeps volume.
    Additive,
    /// Scales and adds.
    Affine,
    /// Goes along a monotone rational-quadratic spline (neural spline flows, Durkan et al. 2019).
    Spline,
}

impl CouplingKind {
    /// Parameters a changed coordinate.
    fn parameters(self, bins: usize) -> usize {
        match self {
            CouplingKind::Additive => 1,
            CouplingKind::Affine => 2,
            CouplingKind::Spline => Law::Spline { bins }.parameters(),
        }
    }
}

/// How the matrix of a 1x1 convolution is parametrised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mixing {
    /// As it is.
    Plain,
    /// By its LU decomposition, whose determinant is a product.
    Lu,
}

/// Where the four pixels of a block go among the channels; see [`SqueezeOrder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order2x2 {
    /// The four pixels of a channel side by side.
    ChannelMajor,
    /// The channels of a pixel side by side.
    PositionMajor,
}

impl Order2x2 {
    pub(crate) fn core(self) -> SqueezeOrder {
        match self {
            Order2x2::ChannelMajor => SqueezeOrder::ChannelMajor,
            Order2x2::PositionMajor => SqueezeOrder::PositionMajor,
        }
    }
}

impl Default for GlowConfig {
    fn default() -> Self {
        GlowConfig {
            head: Head::None,
            spline: None,
            actnorm: false,
            levels: 2,
            depth: 8,
            checkers: 0,
            checker: CouplingKind::Spline,
            checker_net: ConvNetConfig { residual: true, ..ConvNetConfig::default() },
            coupling: CouplingKind::Affine,
            bins: 8,
            bound: BoundConfig::Learned(1.0),
            mixing: Mixing::Lu,
            squeeze: Order2x2::ChannelMajor,
            net: ConvNetConfig::default(),
            vector_net: MlpConfig::default(),
            learned_top: true,
            classes: 0,
        }
    }
}

impl GlowConfig {
    /// Builds the flow under `path` for events of shape `event`, an image `[c, h, w]` or a vector `[D]`; it works on them
    /// flattened, `[n, D]`.
    ///
    /// # Errors
    ///
    /// A field outside its range, by name.
    pub fn build(&self, path: &nn::Path, event: &[usize], seed: u64) -> Result<Flow> {
        let dim = self.validate(event)?;
        let mut chain = Chain::default();
        self.entry().build(&mut chain, path, dim)?;
        match *event {
            [channels, height, width] => {
                let levels = self.image_levels(path, [channels, height, width], seed)?;
                chain.push("", Multiscale::new([channels, height, width], self.squeeze.core(), levels)?)?;
            }
            _ => self.vector_steps(&mut chain, path, dim, seed)?,
        }
        Ok(Flow::new(chain, StandardNormal::new(&[dim as i64]), path.device()))
    }

    /// Which level lets go of each coordinate of the latent, in the order of the flattened event; all 0 for a vector.
    pub fn latent_levels(&self, event: &[usize]) -> Vec<usize> {
        image::latent_levels(event, self.levels, self.squeeze.core())
    }

    fn validate(&self, event: &[usize]) -> Result<usize> {
        let dim = image::dim(event)?;
        self.entry().validate(dim)?;
        self.bound.validate()?;
        require((1..=1024).contains(&self.depth), "depth", "between 1 and 1024", self.depth)?;
        require(self.checkers <= 64, "checkers", "at most 64", self.checkers)?;
        require(self.classes <= 1 << 16, "classes", "at most 65536", self.classes)?;
        require((2..=256).contains(&self.bins), "bins", "between 2 and 256", self.bins)?;
        self.net.validate("net")?;
        self.checker_net.validate("checker_net")?;
        self.vector_net.validate("vector_net")?;
        match *event {
            [_, height, width] => image::validate_levels(self.levels, height, width)?,
            _ => {
                require(self.levels == 1, "levels", "1 for data that is no image", self.levels)?;
                require(self.spline.is_none(), "spline", "none for data that is no image", "one")?;
            }
        }
        Ok(dim)
    }

    fn entry(&self) -> Entry<'_> {
        Entry { head: &self.head, spline: self.spline, actnorm: self.actnorm }
    }

    /// Number of saved numbers, trained or fixed; known before anything is allocated.
    pub(crate) fn saved_numbers(&self, event: &[usize]) -> Result<u128> {
        let dim = self.validate(event)?;
        let mut total = self.entry().saved_numbers(dim);
        let [mut channels, mut height, mut width] = match *event {
            [channels, height, width] => [channels, height, width],
            _ => {
                let (kept, changed) = (dim.div_ceil(2), dim / 2);
                let outputs = changed * self.coupling.parameters(self.bins);
                let net = self.vector_net.parameters(kept + self.classes, outputs);
                let step = self.step_numbers(dim) + net + self.bound_numbers(self.coupling, changed);
                return Ok(total + self.depth as u128 * step + self.top_numbers(dim));
            }
        };
        let net = |net: &ConvNetConfig, kind: CouplingKind, changed: usize| {
            // Half of the channels is kept everywhere, and as many are changed.
            let outputs = changed * kind.parameters(self.bins);
            net.saved_numbers(changed, outputs, self.classes) + self.bound_numbers(kind, changed)
        };
        let checker = net(&self.checker_net, self.checker, 2 * channels) + 8 * channels as u128 + 1;
        total += self.checkers as u128 * checker;
        for level in 0..self.levels {
            (height, width) = (height / 2, width / 2);
            let (all, kept) = (4 * channels, 2 * channels);
            total += self.depth as u128 * (self.step_numbers(all) + net(&self.net, self.coupling, all - kept));
            total += match level + 1 == self.levels {
                true => self.top_numbers(all * height * width),
                false => image::prior_numbers(kept, all - kept, self.classes),
            };
            channels = kept;
        }
        Ok(total)
    }

    /// What a step saves besides its coupling: ActNorm and mixing.
    fn step_numbers(&self, channels: usize) -> u128 {
        let c = channels as u128;
        let mixing = match self.mixing {
            Mixing::Plain => c * c,
            Mixing::Lu => 2 * c * c + 3 * c,
        };
        2 * c + 1 + mixing
    }

    fn bound_numbers(&self, kind: CouplingKind, changed: usize) -> u128 {
        let learned = kind == CouplingKind::Affine && matches!(self.bound, BoundConfig::Learned(_));
        if learned { changed as u128 } else { 0 }
    }

    fn top_numbers(&self, dim: usize) -> u128 {
        if self.learned_top { 2 * dim as u128 * (1 + self.classes as u128) } else { 0 }
    }

    fn image_levels(&self, path: &nn::Path, event: [usize; 3], seed: u64) -> Result<Vec<Level>> {
        let [mut channels, mut height, mut width] = event;
        let mut levels = Vec::new();
        for i in 0..self.levels {
            let path = path / format!("level_{i}");
            (height, width) = (height / 2, width / 2);
            let (all, kept) = (4 * channels, 2 * channels);
            let mut steps = Chain::default();
            for j in 0..if i == 0 { self.checkers } else { 0 } {
                let path = &path / format!("checker_{j}");
                let mut step = Chain::default();
                step.push("actnorm", ActNorm::new(&(&path / "actnorm"), all))?;
                let mask = ImageMask::Diagonal { order: self.squeeze.core(), flipped: j % 2 == 1 };
                let (net, kind) = (&self.checker_net, self.checker);
                step.push("coupling", self.image_coupling(&(&path / "coupling"), net, kind, mask, all, seed)?)?;
                steps.push(format!("checker_{j}"), step)?;
            }
            for j in 0..self.depth {
                let path = &path / format!("step_{j}");
                let mut step = self.before_coupling(&path, all, seed)?;
                let mask = ImageMask::Channels { first: kept, flipped: false };
                let (net, kind) = (&self.net, self.coupling);
                step.push("coupling", self.image_coupling(&(&path / "coupling"), net, kind, mask, all, seed)?)?;
                steps.push(format!("step_{j}"), step)?;
            }
            if i + 1 < self.levels {
                steps.push("prior", image::prior(&(&path / "prior"), kept, all - kept, self.classes)?)?;
            } else if self.learned_top {
                let event = [all as i64, height as i64, width as i64];
                steps.push("prior", TopPrior::new(&(&path / "prior"), &event, self.classes))?;
            }
            levels.push(Level { steps, kept, ..Level::default() });
            channels = kept;
        }
        Ok(levels)
    }

    fn vector_steps(&self, chain: &mut Chain, path: &nn::Path, dim: usize, seed: u64) -> Result<()> {
        for j in 0..self.depth {
            let path = path / format!("step_{j}");
            let mut step = self.before_coupling(&path, dim, seed)?;
            let path = &path / "coupling";
            let mask = Mask::halves(dim, false)?;
            let (kept, changed) = (mask.kept().len(), mask.changed().len());
            let outputs = changed * self.coupling.parameters(self.bins);
            let net = self.vector_net.build(&path, kept + self.classes, outputs, seed)?;
            let law = self.law(self.coupling, &path, changed, Bound::learned);
            step.push("coupling", Coupling::new(mask, net, law))?;
            chain.push(format!("step_{j}"), step)?;
        }
        if self.learned_top {
            chain.push("prior", TopPrior::new(&(path / "prior"), &[dim as i64], self.classes))?;
        }
        Ok(())
    }

    /// ActNorm and mixing.
    fn before_coupling(&self, path: &nn::Path, channels: usize, seed: u64) -> Result<Chain> {
        let mix = path / "mix";
        let seed = rng::derive_seed(seed, &mix.components().collect::<Vec<_>>().join("."), 0);
        let mixing = match self.mixing {
            Mixing::Plain => Conv1x1::plain(&mix, channels, seed),
            Mixing::Lu => Conv1x1::lu(&mix, channels, seed),
        };
        let mut step = Chain::default();
        step.push("actnorm", ActNorm::new(&(path / "actnorm"), channels))?;
        step.push("mix", mixing)?;
        Ok(step)
    }

    fn image_coupling(
        &self,
        path: &nn::Path,
        net: &ConvNetConfig,
        kind: CouplingKind,
        mask: ImageMask,
        channels: usize,
        seed: u64,
    ) -> Result<ImageCoupling<ConvNet>> {
        let (kept, changed) = image::parts(mask, channels);
        let net = net.build(path, kept, changed * kind.parameters(self.bins), self.classes, seed);
        Ok(ImageCoupling::new(mask, channels, net, self.law(kind, path, changed, Bound::learned_by_channel))?)
    }

    fn law(
        &self,
        kind: CouplingKind,
        path: &nn::Path,
        changed: usize,
        learned: fn(&nn::Path, usize, f64) -> Bound,
    ) -> Law {
        match (kind, self.bound) {
            (CouplingKind::Additive, _) => Law::Additive,
            (CouplingKind::Spline, _) => Law::Spline { bins: self.bins },
            (CouplingKind::Affine, BoundConfig::Fixed(bound)) => Law::Affine { bound: Bound::Fixed(bound) },
            (CouplingKind::Affine, BoundConfig::Learned(start)) => Law::Affine { bound: learned(path, changed, start) },
        }
    }
}
