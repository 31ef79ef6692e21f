//! Conditioners for images: convolutional nets, plain or residual.

use flow_core::product::conv2d;
use flow_core::{Conditioner, ConditionerKept, dense, gpu};
use flow_dense::Slope;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, nn};

use crate::error::require;
use crate::image::shifted;
use crate::init::uniform;
use crate::{Activation, Result, conv_net_dense, conv_net_gpu};

/// A convolutional net from `[n, inputs, h, w]` to `[n, outputs, h, w]`, all convolutions padded with zeros.
///
/// ```text
/// h_0 = conv3x3(x) + W context
/// plain:     h_1 = a(h_0),  h_i = a(conv1x1(h_{i-1}))             for i = 2 .. blocks + 1    (Glow's code: blocks = 1)
///            y   = conv3x3(h_{blocks+1})
/// residual:  h_i = h_{i-1} + conv_b(a(conv3x3(a(h_{i-1}))))       for i = 1 .. blocks        (RealNVP, section 4.1)
///            y   = conv1x1(a(h_blocks))
/// ```
///
/// `conv_b` is 1x1 where `pointwise`, 3x3 else. The last convolution starts at 0, so that a coupling starts as the
/// identity, one by splines to within a thousandth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConvNetConfig {
    /// Channels of each hidden layer. Default 64.
    pub width: usize,
    /// Number of hidden blocks. Default 1.
    pub blocks: usize,
    /// Whether blocks are residual. Default false.
    pub residual: bool,
    /// Whether the second convolution of a residual block is 1x1 rather than 3x3. Default false.
    pub pointwise: bool,
    /// What follows each hidden layer. Default ReLU.
    pub activation: Activation,
    /// How hidden convolutions are normalised. Default none.
    pub norm: Norm,
}

/// How the hidden convolutions of a net are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// Not at all.
    None,
    /// Each filter is `gain * v / |v|` (Salimans and Kingma 2016, equation 2), with `|v|` no shorter than 1e-12; `gain`
    /// starts at `|v|`.
    Weight,
    /// Batch normalisation behind each, with running moments for evaluation (Ioffe and Szegedy 2015).
    Batch,
}

impl Default for ConvNetConfig {
    fn default() -> Self {
        ConvNetConfig {
            width: 64,
            blocks: 1,
            residual: false,
            pointwise: false,
            activation: Activation::Relu,
            norm: Norm::None,
        }
    }
}

impl ConvNetConfig {
    /// Number of saved numbers for these inputs, outputs and width of the context; known before anything is built.
    pub(crate) fn saved_numbers(&self, inputs: usize, outputs: usize, context: usize) -> u128 {
        let [inputs, outputs, context, width] = [inputs, outputs, context, self.width].map(|n| n as u128);
        let hidden = |from: u128, taps: u128| {
            let extra = match self.norm {
                Norm::None => 0,
                Norm::Weight => width,
                Norm::Batch => 4 * width,
            };
            (from * taps + 1) * width + extra
        };
        let blocks = self.blocks as u128;
        let (between, last) = match self.residual {
            false => (blocks * hidden(width, 1), 9),
            true => (blocks * (hidden(width, 9) + hidden(width, if self.pointwise { 1 } else { 9 })), 1),
        };
        hidden(inputs, 9) + context * width + between + (width * last + 1) * outputs
    }

    /// Checks the fields; errors call them by `field`, the configuration's own name for this net.
    pub(crate) fn validate(&self, field: &str) -> Result<()> {
        let name = |own: &str| format!("{field}.{own}");
        require((1..=1 << 14).contains(&self.width), name("width"), "between 1 and 16384", self.width)?;
        require(self.blocks <= 256, name("blocks"), "at most 256", self.blocks)
    }

    /// Builds the net under `path`: `first`, then `hidden_0`, ... or `block_0.a`, `block_0.b`, ..., and `out`, each with
    /// `weight` and `bias`; and `context.weight` where there is a context.
    pub(crate) fn build(&self, path: &nn::Path, inputs: usize, outputs: usize, context: usize, seed: u64) -> ConvNet {
        let width = self.width;
        let hidden = |name: String, inputs, size| Conv::new(&(path / name), (inputs, width, size), self.norm, seed);
        let blocks = (0..self.blocks)
            .map(|i| match self.residual {
                false => Block::Plain(hidden(format!("hidden_{i}"), width, 1)),
                true => {
                    let part = |name: &str, size| {
                        Conv::new(&(path / format!("block_{i}") / name), (width, width, size), self.norm, seed)
                    };
                    Block::Residual(part("a", 3), part("b", if self.pointwise { 1 } else { 3 }))
                }
            })
            .collect();
        let last = if self.residual { 1 } else { 3 };
        ConvNet {
            first: hidden("first".to_owned(), inputs, 3),
            context: (context > 0).then(|| {
                let bound = (1.0 / context as f64).sqrt();
                uniform(&(path / "context"), "weight", &[width as i64, context as i64], bound, seed)
            }),
            blocks,
            out: Conv::zero(&(path / "out"), width, outputs, last),
            activation: self.activation,
            training: false,
        }
    }
}

/// A conditioner built from a [`ConvNetConfig`].
#[derive(Debug)]
pub(crate) struct ConvNet {
    first: Conv,
    pub(crate) context: Option<Tensor>,
    blocks: Vec<Block>,
    out: Conv,
    activation: Activation,
    training: bool,
}

#[derive(Debug)]
pub(crate) enum Block {
    Plain(Conv),
    Residual(Conv, Conv),
}

/// By whose products a net is computed.
enum Hand {
    /// [`flow_dense`]'s.
    Processor,
    /// [`flow_cuda::kernels`]'.
    Gpu,
}

/// Multiply-adds of an image from which on libtorch's threads together are faster than one alone, where there are not as many
/// images as threads.
const ONE_THREAD: usize = 1 << 25;

impl ConvNet {
    /// The convolutions, in the order in which they follow one another.
    pub(crate) fn convs(&self) -> impl Iterator<Item = &Conv> {
        let between = self.blocks.iter().flat_map(|block| match block {
            Block::Plain(hidden) => vec![hidden],
            Block::Residual(a, b) => vec![a, b],
        });
        std::iter::once(&self.first).chain(between).chain(std::iter::once(&self.out))
    }

    pub(crate) fn residual(&self) -> bool {
        matches!(self.blocks.first(), Some(Block::Residual(..)))
    }

    /// The slope of the activation, where layers can be computed by hand: all are convolutions with an activation of two lines.
    fn slope(&self, kept: &Tensor, context: Option<&Tensor>) -> Option<Slope> {
        // What does not fit libtorch will complain of.
        let fits = match (&self.context, context) {
            (None, None) => true,
            (Some(weight), Some(context)) => {
                context.kind() == Kind::Float && context.size() == [kept.size()[0], weight.size()[1]]
            }
            _ => false,
        };
        let plain = fits && !self.convs().any(|conv| matches!(conv.norm, ConvNorm::Batch { .. }));
        self.activation.slope().filter(|_| plain).map(Slope)
    }

    /// Who computes the layers of this batch.
    fn by_hand(&self, kept: &Tensor, context: Option<&Tensor>) -> Option<(Hand, Slope)> {
        let slope = self.slope(kept, context)?;
        if gpu::applies(kept) {
            return Some((Hand::Gpu, slope));
        }
        let for_all = || kept.size()[0] >= dense::threads() as i64;
        let worth_it = dense::applies_to_images(kept) && (for_all() || self.operations(kept) < ONE_THREAD);
        worth_it.then_some((Hand::Processor, slope))
    }

    /// Multiply-adds of an image.
    fn operations(&self, kept: &Tensor) -> usize {
        let pixels: i64 = kept.size()[2..].iter().product();
        self.convs().map(|conv| conv.weight.numel()).sum::<usize>() * pixels as usize
    }

    /// The same by libtorch.
    fn run(&self, kept: &Tensor, context: Option<&Tensor>) -> Tensor {
        let conv = |conv: &Conv, h: &Tensor| conv.apply(h, self.training);
        let act = |h: &Tensor| self.activation.apply(h);
        let first = shifted(conv(&self.first, &channels_last(kept)), self.context.as_ref(), context);
        let residual = self.residual();
        let mut h = if residual { first } else { act(&first) };
        for block in &self.blocks {
            h = match block {
                Block::Plain(hidden) => act(&conv(hidden, &h)),
                Block::Residual(a, b) => {
                    let change = conv(b, &act(&conv(a, &act(&h))));
                    h + change
                }
            };
        }
        if residual {
            h = act(&h);
        }
        conv(&self.out, &h)
    }
}

impl Conditioner for ConvNet {
    fn forward(&self, kept: &Tensor, context: Option<&Tensor>) -> Tensor {
        match self.by_hand(kept, context) {
            Some((Hand::Processor, slope)) => conv_net_dense::forward(self, slope, kept, context),
            Some((Hand::Gpu, slope)) if conv_net_gpu::are_few(kept) => {
                conv_net_gpu::forward(self, slope, kept, context)
            }
            _ => self.run(kept, context),
        }
    }

    fn forward_keeping<'a>(&'a self, kept: &Tensor, context: Option<&Tensor>) -> ConditionerKept<'a> {
        match self.by_hand(kept, context) {
            Some((Hand::Processor, slope)) => conv_net_dense::forward_keeping(self, slope, kept, context),
            Some((Hand::Gpu, slope)) => conv_net_gpu::forward_keeping(self, slope, kept, context),
            None => ConditionerKept::taped(kept, |kept| self.run(kept, context)),
        }
    }

    fn set_training(&mut self, training: bool) {
        self.training = training;
    }
}

/// A convolution with `weight: [outputs, inputs, k, k]` and its normalisation.
#[derive(Debug)]
pub(crate) struct Conv {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    norm: ConvNorm,
}

#[derive(Debug)]
enum ConvNorm {
    None,
    Weight { gain: Tensor },
    Batch { gain: Tensor, shift: Tensor, mean: Tensor, variance: Tensor },
}

/// Share by which a batch moves the running moments of a net.
const SHARE: f64 = 0.1;
/// What keeps a channel that does not vary from being divided by 0.
const EPSILON: f64 = 1e-5;

impl Conv {
    fn new(path: &nn::Path, (inputs, outputs, size): (usize, usize, i64), norm: Norm, seed: u64) -> Self {
        let taps = inputs as i64 * size * size;
        let bound = (6.0 / taps as f64).sqrt();
        let channels = [outputs as i64];
        let weight = uniform(path, "weight", &[outputs as i64, inputs as i64, size, size], bound, seed);
        let norm = match norm {
            Norm::None => ConvNorm::None,
            Norm::Weight => {
                let length = flow_core::no_grad(|| length(&weight).flatten(0, -1).copy());
                ConvNorm::Weight { gain: path.add("gain", length, true) }
            }
            Norm::Batch => {
                // Not `zeros_no_train`, which makes f32 whatever the kind of the store.
                let start = Tensor::zeros(channels, (path.kind(), path.device()));
                ConvNorm::Batch {
                    gain: path.ones("gain", &channels),
                    shift: path.zeros("shift", &channels),
                    variance: path.add("variance", start.ones_like(), false),
                    mean: path.add("mean", start, false),
                }
            }
        };
        Conv { weight, bias: path.zeros("bias", &channels), norm }
    }

    fn zero(path: &nn::Path, inputs: usize, outputs: usize, size: i64) -> Self {
        let weight = path.zeros("weight", &[outputs as i64, inputs as i64, size, size]);
        Conv { weight, bias: path.zeros("bias", &[outputs as i64]), norm: ConvNorm::None }
    }

    /// What is convolved with.
    pub(crate) fn weight(&self) -> Tensor {
        match &self.norm {
            ConvNorm::Weight { gain } => &self.weight * (gain.reshape([-1, 1, 1, 1]) / length(&self.weight)),
            ConvNorm::None | ConvNorm::Batch { .. } => self.weight.shallow_clone(),
        }
    }

    /// Whether what is convolved with is made of other parameters.
    pub(crate) fn is_normalised(&self) -> bool {
        matches!(self.norm, ConvNorm::Weight { .. })
    }

    fn apply(&self, x: &Tensor, training: bool) -> Tensor {
        let h = conv2d(x, &self.weight(), &self.bias);
        match &self.norm {
            ConvNorm::None | ConvNorm::Weight { .. } => h,
            ConvNorm::Batch { gain, shift, mean, variance } => {
                // Of no rows there are no moments.
                let training = training && h.size()[0] > 0;
                h.batch_norm(Some(gain), Some(shift), Some(mean), Some(variance), training, SHARE, EPSILON, false)
            }
        }
    }
}

/// The same numbers with the channels of a pixel side by side in memory: libtorch's convolutions keep to the layout of what
/// they are given, and on a processor small images with few channels are faster in this one. On a GPU they are not, in f32.
fn channels_last(x: &Tensor) -> Tensor {
    if x.device().is_cuda() {
        return x.shallow_clone();
    }
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// What the length of a filter is at least: a filter of zeros has no direction, and stays zeros rather than become 0/0.
/// Nothing that is trained comes near it: gradients are at right angles to the filter, so that a step lengthens it. It
/// is no smaller because a gradient is divided by it, and has to be squared by an optimizer, in f32.
const SHORTEST: f64 = 1e-12;

/// The length of each filter, `[outputs, 1, 1, 1]`.
fn length(weight: &Tensor) -> Tensor {
    // The floor is under the root, whose slope at 0 is infinite; what is above passes as it is, and so do gradients.
    let square = weight.square().sum_dim_intlist(&[1i64, 2, 3][..], true, None::<Kind>);
    square.clamp_min(SHORTEST * SHORTEST).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_filter_of_next_to_nothing_is_taken_for_longer_than_it_is() {
        let of = |filters: &[f32]| {
            let weight = Tensor::from_slice(filters).reshape([-1, 1, 1, 1]);
            Vec::<f32>::try_from(length(&weight).flatten(0, -1)).unwrap()
        };
        let filters = [3e-12f32, 1e-6, 0.3, 1.0, 7e5];
        assert_eq!(of(&filters), filters);
        for short in of(&[0.0, -0.0, 1e-40, 5e-13]) {
            assert!((f64::from(short) / SHORTEST - 1.0).abs() < 1e-6, "{short:e}");
        }
    }
}
