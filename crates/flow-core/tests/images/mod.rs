//! The lines of the table that are about images: couplings with convolutional conditioners, and multi-scale stacks.

mod layers;
mod masks;

use flow_core::{
    ActNorm, Bijection, Bound, Chain, Conditioner, Conv1x1, ImageCoupling, ImageMask, Law, Level, Logit, Multiscale,
    SqueezeOrder, TopPrior, rng,
};
use tch::{Tensor, nn};

use crate::Inputs::{self, Cube, Space};
use crate::common::CONTEXT;

/// A smooth net for images: convolutions of 3 x 3, one hidden layer of 6 channels, which listens to a context.
#[derive(Debug)]
pub struct TestConv {
    hidden: nn::Conv2D,
    context: nn::Linear,
    output: nn::Conv2D,
}

impl TestConv {
    pub fn new(path: &nn::Path, kept: usize, outputs: usize) -> Self {
        let conv = |name: &str, inputs, outputs| {
            let config = nn::ConvConfig { padding: 1, ..nn::ConvConfig::default() };
            rng::with_seed(0, || nn::conv2d(path / name, inputs, outputs, 3, config))
        };
        TestConv {
            hidden: conv("hidden", kept as i64, 6),
            context: rng::with_seed(0, || nn::linear(path / "context", CONTEXT, 6, nn::LinearConfig::default())),
            output: conv("output", 6, outputs as i64),
        }
    }
}

impl Conditioner for TestConv {
    fn forward(&self, kept: &Tensor, context: Option<&Tensor>) -> Tensor {
        let hidden = kept.apply(&self.hidden);
        let hidden = match context {
            None => hidden,
            Some(context) => hidden + context.apply(&self.context).unsqueeze(2).unsqueeze(3),
        };
        hidden.tanh().apply(&self.output)
    }
}

type Build = fn(&nn::Path) -> Box<dyn Bijection>;

fn affine(path: &nn::Path, changed: usize) -> Law {
    Law::Affine { bound: Bound::learned_by_channel(path, changed, 1.0) }
}

pub fn by_channels(path: &nn::Path, channels: usize, first: usize, flipped: bool) -> ImageCoupling<TestConv> {
    let (kept, changed) = if flipped { (channels - first, first) } else { (first, channels - first) };
    let net = TestConv::new(path, kept, 2 * changed);
    ImageCoupling::new(ImageMask::Channels { first, flipped }, channels, net, affine(path, changed)).unwrap()
}

pub fn by_squares(path: &nn::Path, channels: usize, flipped: bool) -> ImageCoupling<TestConv> {
    let net = TestConv::new(path, channels, 2 * channels);
    ImageCoupling::new(ImageMask::Checkerboard { flipped }, channels, net, affine(path, channels)).unwrap()
}

fn additive(path: &nn::Path, mask: ImageMask, kept: usize, changed: usize) -> Box<dyn Bijection> {
    let channels = if matches!(mask, ImageMask::Checkerboard { .. }) { kept } else { kept + changed };
    let net = TestConv::new(path, kept, changed);
    Box::new(ImageCoupling::new(mask, channels, net, Law::Additive).unwrap())
}

/// A fifth of what the net says: random splines are so steep in places that f32 has few digits left there.
#[derive(Debug)]
struct Gentle(TestConv);

impl Conditioner for Gentle {
    fn forward(&self, kept: &Tensor, context: Option<&Tensor>) -> Tensor {
        self.0.forward(kept, context) * 0.2
    }
}

/// Curves in place of lines, by the chessboard of a squeezed image.
fn by_diagonal(path: &nn::Path, order: SqueezeOrder, flipped: bool) -> ImageCoupling<Gentle> {
    let law = Law::Spline { bins: 3 };
    let net = Gentle(TestConv::new(path, 2, 2 * law.parameters()));
    ImageCoupling::new(ImageMask::Diagonal { order, flipped }, 4, net, law).unwrap()
}

/// A step of Glow on `channels`.
fn glow_step(path: &nn::Path, channels: usize) -> Chain {
    let mut step = Chain::default();
    step.push("actnorm", ActNorm::new(&(path / "actnorm"), channels)).unwrap();
    step.push("mix", Conv1x1::lu(&(path / "mix"), channels, 3)).unwrap();
    step.push("coupling", by_channels(&(path / "coupling"), channels, channels / 2, false)).unwrap();
    step
}

/// A level with a chessboard before the squeeze, a step of Glow behind it, and the prior of what it lets go of.
fn level(path: &nn::Path, channels: usize) -> Level {
    let mut before = Chain::default();
    before.push("squares", by_squares(&(path / "squares"), channels, true)).unwrap();
    let mut steps = Chain::default();
    steps.push("step_0", glow_step(&(path / "step_0"), 4 * channels)).unwrap();
    steps.push("prior", by_channels(&(path / "prior"), 4 * channels, 2 * channels, false)).unwrap();
    Level { before, steps, kept: 2 * channels }
}

fn top(path: &nn::Path, event: &[i64; 3]) -> Level {
    let mut steps = Chain::default();
    steps.push("step_0", glow_step(&(path / "step_0"), event[0] as usize)).unwrap();
    steps.push("prior", TopPrior::new(&(path / "prior"), event, CONTEXT as usize)).unwrap();
    Level { steps, ..Level::default() }
}

/// Two levels, and a logit in front.
fn two_levels(path: &nn::Path) -> Chain {
    let levels = vec![level(&(path / "level_0"), 1), top(&(path / "level_1"), &[8, 1, 1])];
    let mut chain = Chain::default();
    chain.push("logit", Logit::new(0.05).unwrap()).unwrap();
    chain.push("levels", Multiscale::new([1, 4, 4], SqueezeOrder::ChannelMajor, levels).unwrap()).unwrap();
    chain
}

pub fn add_to(add: &mut impl FnMut(&'static str, &'static [i64], Inputs, Build)) {
    add("image additive channels", &[3, 2, 2], Space, |p| {
        additive(p, ImageMask::Channels { first: 1, flipped: false }, 1, 2)
    });
    add("image additive checkerboard", &[2, 3, 2], Space, |p| {
        additive(p, ImageMask::Checkerboard { flipped: false }, 2, 2)
    });
    add("image affine channels", &[3, 2, 2], Space, |p| Box::new(by_channels(p, 3, 2, false)));
    add("image affine channels flipped", &[4, 1, 3], Space, |p| Box::new(by_channels(p, 4, 1, true)));
    add("image affine checkerboard", &[1, 3, 4], Space, |p| Box::new(by_squares(p, 1, false)));
    add("image affine checkerboard flipped", &[2, 2, 3], Space, |p| Box::new(by_squares(p, 2, true)));
    add("image spline diagonal", &[4, 2, 1], Space, |p| Box::new(by_diagonal(p, SqueezeOrder::ChannelMajor, false)));
    add("image spline diagonal flipped", &[4, 1, 2], Space, |p| {
        Box::new(by_diagonal(p, SqueezeOrder::PositionMajor, true))
    });
    add("image spline checkerboard", &[1, 3, 2], Space, |p| {
        let law = Law::Spline { bins: 2 };
        let net = Gentle(TestConv::new(p, 1, law.parameters()));
        Box::new(ImageCoupling::new(ImageMask::Checkerboard { flipped: false }, 1, net, law).unwrap())
    });
    add("one level", &[1, 2, 4], Space, |p| {
        let levels = vec![top(&(p / "level_0"), &[4, 1, 2])];
        Box::new(Multiscale::new([1, 2, 4], SqueezeOrder::PositionMajor, levels).unwrap())
    });
    add("two levels", &[1, 4, 4], Cube, |p| Box::new(two_levels(p)));
    add("two levels of flat rows", &[16], Cube, |p| Box::new(two_levels(p)));
    add("two levels with odd sides", &[1, 5, 6], Space, |p| {
        let levels = vec![level(&(p / "level_0"), 1), top(&(p / "level_1"), &[8, 1, 1])];
        Box::new(Multiscale::new([1, 5, 6], SqueezeOrder::ChannelMajor, levels).unwrap())
    });
}
