//! What the image models have in common: priors between levels, and how levels divide an image.

use flow_core::product::conv2d_exact;
use flow_core::{Bound, Conditioner, ImageCoupling, ImageMask, Law, Level, Multiscale, SqueezeOrder};
use tch::{Tensor, nn};

use crate::Result;
use crate::error::require;

/// The number of coordinates of an event.
pub(crate) fn dim(event: &[usize]) -> Result<usize> {
    let dim = event.iter().try_fold(1usize, |product, &n| product.checked_mul(n)).unwrap_or(usize::MAX);
    require((2..=1 << 24).contains(&dim), "event", "2 to 16777216 coordinates", format!("{event:?}"))?;
    Ok(dim)
}

/// Every level halves the sides, which must be 2 or more before.
pub(crate) fn validate_levels(levels: usize, height: usize, width: usize) -> Result<()> {
    let side = height.min(width);
    let most = side.max(1).ilog2() as usize;
    require(
        (1..=most).contains(&levels),
        "levels",
        format!("between 1 and {most} for images of {height} x {width}"),
        levels,
    )
}

/// `(kept, changed)` channels of a mask, as its conditioner sees them.
pub(crate) fn parts(mask: ImageMask, channels: usize) -> (usize, usize) {
    match mask {
        ImageMask::Channels { first, flipped: false } => (first, channels - first),
        ImageMask::Channels { first, flipped: true } => (channels - first, first),
        ImageMask::Checkerboard { .. } => (channels, channels),
        ImageMask::Diagonal { .. } => (channels / 2, channels / 2),
    }
}

/// The prior of the channels that a level lets go of given those that it keeps: one convolution of 3 x 3 gives mean and
/// scale (Glow's code), both 0 at the start.
pub(crate) fn prior(path: &nn::Path, kept: usize, changed: usize, context: usize) -> Result<ImageCoupling<PriorNet>> {
    let outputs = 2 * changed as i64;
    let net = PriorNet {
        weight: path.zeros("weight", &[outputs, kept as i64, 3, 3]),
        bias: path.zeros("bias", &[outputs]),
        context: (context > 0).then(|| path.zeros("context", &[outputs, context as i64])),
    };
    let law = Law::Affine { bound: Bound::Fixed(PRIOR_BOUND) };
    Ok(ImageCoupling::new(ImageMask::Channels { first: kept, flipped: false }, kept + changed, net, law)?)
}

/// |log σ| of a prior stays below this: wide, for the ActNorms have brought everything near 1.
const PRIOR_BOUND: f64 = 4.0;

pub(crate) fn prior_numbers(kept: usize, changed: usize, context: usize) -> u128 {
    let [kept, changed, context] = [kept, changed, context].map(|n| n as u128);
    2 * changed * (9 * kept + 1 + context)
}

/// One convolution of 3 x 3, shifted by the context.
#[derive(Debug)]
pub(crate) struct PriorNet {
    weight: Tensor,
    bias: Tensor,
    context: Option<Tensor>,
}

impl Conditioner for PriorNet {
    fn forward(&self, kept: &Tensor, context: Option<&Tensor>) -> Tensor {
        let h = conv2d_exact(kept, &self.weight, Some(&self.bias));
        shifted(h, self.context.as_ref(), context)
    }
}

/// `h: [n, channels, h, w]`, and for a net that was built for a context shifted at every pixel by `weight context`, with
/// `weight: [channels, c]` and `context: [n, c]`.
///
/// # Panics
///
/// If such a net is given none, or one without is given one: what it says would be a plausible number, of another
/// model.
pub(crate) fn shifted(h: Tensor, weight: Option<&Tensor>, context: Option<&Tensor>) -> Tensor {
    match (weight, context) {
        (None, None) => h,
        (Some(weight), Some(context)) => h + context.linear(weight, None::<&Tensor>).unsqueeze(2).unsqueeze(3),
        (Some(weight), None) => panic!("a net for a context of width {} was given none", weight.size()[1]),
        (None, Some(context)) => panic!("a net without a context was given one, {:?}", context.size()),
    }
}

/// Which of `levels` levels, each of which keeps half of its channels, lets go of each coordinate of a flattened event.
pub(crate) fn latent_levels(event: &[usize], levels: usize, order: SqueezeOrder) -> Vec<usize> {
    let &[channels, height, width] = event else { return vec![0; event.iter().product()] };
    let mut kept = channels;
    let levels = (0..levels).map(|_| {
        kept *= 2;
        Level { kept, ..Level::default() }
    });
    let multiscale = Multiscale::new([channels, height, width], order, levels.collect()).expect("validated when built");
    let levels = Vec::<i64>::try_from(multiscale.levels().flatten(0, -1)).expect("whole numbers");
    levels.into_iter().map(|level| level as usize).collect()
}
