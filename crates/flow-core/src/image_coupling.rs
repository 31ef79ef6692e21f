//! Coupling layers on images, with convolutional conditioners: by channels, or by the squares of a chessboard.

use tch::{Kind, Tensor};

use crate::law::parameter_gradients;
use crate::law_backward::{LawKept, by_row};
use crate::shape::{sum_event, zero_log_det};
use crate::{
    Backward, Bijection, Conditioner, ConditionerBackward, Edge, Error, Gradients, Inspection, Kept, Law, Result,
    SqueezeOrder,
};

/// Which part of an image `[c, h, w]` a coupling keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageMask {
    /// The first `first` of all channels; flipped, the others.
    Channels {
        /// How many come first.
        first: usize,
        /// Whether these are changed rather than kept.
        flipped: bool,
    },
    /// The pixels whose row plus column is even, in every channel; flipped, the odd ones.
    Checkerboard {
        /// Whether the even ones are changed rather than kept.
        flipped: bool,
    },
    /// The chessboard after a squeeze, `[4c, h, w]`: of every 2 x 2 block the pixels (0, 0) and (1, 1); flipped, the other
    /// two. The same pixels as above, with a conditioner that works on a quarter of the places.
    Diagonal {
        /// How the squeeze ordered the channels.
        order: SqueezeOrder,
        /// Whether these are changed rather than kept.
        flipped: bool,
    },
}

/// A coupling on images `[n, c, h, w]` (RealNVP, sections 3.4 to 3.6; Glow, section 3.3):
///
/// ```text
/// z_kept = x_kept,    z_changed = law(x_changed; conditioner(x_kept, context))
/// ```
///
/// What the conditioner is given and what it must return:
///
/// | mask | kept | parameters |
/// | --- | --- | --- |
/// | channels, diagonal | `[n, kept, h, w]` | `[n, law.parameters() * changed, h, w]` |
/// | checkerboard | `[n, c, h, w]`, zeros where pixels are changed | `[n, law.parameters() * c, h, w]`; those at kept pixels count for nothing |
#[derive(Debug)]
pub struct ImageCoupling<N> {
    mask: ImageMask,
    channels: usize,
    conditioner: N,
    law: Law,
}

/// An image in two parts, as the mask has it.
struct Parts {
    kept: Tensor,
    changed: Tensor,
    /// Where pixels are changed, `[1, 1, h, w]`, of kind bool; for a checkerboard alone.
    squares: Option<Tensor>,
}

impl<N: Conditioner> ImageCoupling<N> {
    /// A coupling of images of `channels` channels.
    ///
    /// # Errors
    ///
    /// [`Error::MaskOneSided`] where all channels would be kept, or none; [`Error::OutOfRange`] where a diagonal mask is
    /// given channels that come from no squeeze.
    pub fn new(mask: ImageMask, channels: usize, conditioner: N, law: Law) -> Result<Self> {
        if let ImageMask::Channels { first, flipped } = mask
            && !(1..channels).contains(&first)
        {
            let first = first.min(channels);
            let changed = if flipped { first } else { channels - first };
            return Err(Error::MaskOneSided { dim: channels, changed });
        }
        if matches!(mask, ImageMask::Diagonal { .. }) && !channels.is_multiple_of(4) {
            return Err(Error::OutOfRange { name: "channels", expected: "a multiple of 4", value: channels as f64 });
        }
        Ok(ImageCoupling { mask, channels, conditioner, law })
    }

    fn split(&self, x: &Tensor) -> Parts {
        let (_, channels, height, width) = x.size4().expect("an image coupling works on images [n, c, h, w]");
        let size = x.size();
        assert!(channels == self.channels as i64, "a coupling of {} channels was given {size:?}", self.channels);
        match self.mask {
            ImageMask::Channels { first, flipped } => {
                let (first, all) = (first as i64, channels);
                let (a, b) = (x.narrow(1, 0, first), x.narrow(1, first, all - first));
                let (kept, changed) = if flipped { (b, a) } else { (a, b) };
                Parts { kept, changed, squares: None }
            }
            ImageMask::Diagonal { order, flipped } => {
                let (shape, at) = order.blocks(&size, 4);
                let blocks = x.reshape(shape);
                let diagonal = Tensor::cat(&[blocks.narrow(at, 0, 1), blocks.narrow(at, 3, 1)], at);
                let halves = [diagonal, blocks.narrow(at, 1, 2)];
                let [a, b] = halves.map(|half| half.reshape([size[0], channels / 2, height, width]));
                let (kept, changed) = if flipped { (b, a) } else { (a, b) };
                Parts { kept, changed, squares: None }
            }
            ImageMask::Checkerboard { flipped } => {
                let along = |n: i64| Tensor::arange(n, (Kind::Int64, x.device()));
                let odd = (along(height).unsqueeze(1) + along(width).unsqueeze(0)).remainder(2).eq(1);
                let squares = if flipped { odd.logical_not() } else { odd };
                let squares = squares.reshape([1, 1, height, width]);
                Parts { kept: x.masked_fill(&squares, 0.0), changed: x.shallow_clone(), squares: Some(squares) }
            }
        }
    }

    /// The whole image, of what `parts` kept and `changed`, which replaces what was changed.
    fn merge(&self, parts: &Parts, kept: &Tensor, changed: &Tensor) -> Tensor {
        match (&parts.squares, self.mask) {
            (Some(squares), _) => changed.where_self(squares, kept),
            (None, ImageMask::Channels { flipped: true, .. }) => Tensor::cat(&[changed, kept], 1),
            (None, ImageMask::Diagonal { order, flipped }) => {
                let (diagonal, others) = if flipped { (changed, kept) } else { (kept, changed) };
                let size = diagonal.size();
                let (shape, at) = order.blocks(&size, 2);
                let [diagonal, others] = [diagonal, others].map(|half| half.reshape(shape));
                let whole = [diagonal.narrow(at, 0, 1), others, diagonal.narrow(at, 1, 1)];
                Tensor::cat(&whole, at).reshape([size[0], 2 * size[1], size[2], size[3]])
            }
            (None, _) => Tensor::cat(&[kept, changed], 1),
        }
    }

    fn parameters(&self, parts: &Parts, kept: &Tensor, context: Option<&Tensor>) -> Tensor {
        let parameters = self.conditioner.forward(kept, context);
        self.assert_fits(parts, &parameters);
        parameters
    }

    fn assert_fits(&self, parts: &Parts, parameters: &Tensor) {
        let mut expected = parts.changed.size();
        expected[1] *= self.law.parameters() as i64;
        assert_eq!(parameters.size(), expected, "a conditioner's output for an image {:?}", parts.kept.size());
    }

    fn log_det(&self, parts: &Parts, log_scale: Option<Tensor>) -> Tensor {
        match (log_scale, &parts.squares) {
            (None, _) => zero_log_det(&parts.changed),
            (Some(log_scale), None) => sum_event(&log_scale),
            (Some(log_scale), Some(squares)) => sum_event(&(log_scale * squares.to_kind(parts.changed.kind()))),
        }
    }

    fn map(
        &self,
        input: &Tensor,
        context: Option<&Tensor>,
        direction: impl Fn(&Law, &Tensor, &Tensor) -> (Tensor, Option<Tensor>),
    ) -> (Tensor, Tensor) {
        let parts = self.split(input);
        let parameters = self.parameters(&parts, &parts.kept, context);
        let (changed, log_scale) = direction(&self.law, &parts.changed, &parameters);
        (self.merge(&parts, &parts.kept, &changed), self.log_det(&parts, log_scale))
    }
}

impl<N: Conditioner> Bijection for ImageCoupling<N> {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.map(x, context, Law::forward)
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.map(z, context, Law::inverse)
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        let parts = self.split(x);
        let conditioner = self.conditioner.forward_keeping(&parts.kept, context);
        self.assert_fits(&parts, &conditioner.parameters);
        let (changed, log_scale, law) = self.law.forward_keeping(&parts.changed, &conditioner.parameters);
        let (value, log_det) = (self.merge(&parts, &parts.kept, &changed), self.log_det(&parts, log_scale));
        Kept {
            value,
            log_det,
            back: Box::new(ImageCouplingBack { coupling: self, law, conditioner: conditioner.back }),
        }
    }

    /// One pass of the conditioner serves both rebuilding and the gradient, for what is kept is known.
    fn vjp(&self, z: &Tensor, context: Option<&Tensor>, grad_z: &Tensor, grad_log_det: &Tensor) -> (Tensor, Tensor) {
        let parts = self.split(z);
        let grads = self.split(grad_z);
        let kept = parts.kept.detach().copy().set_requires_grad(true);
        let parameters = self.parameters(&parts, &kept, context);
        let (changed, grad_changed, grad_kept) =
            parameter_gradients(&self.law, &parts.changed, &parameters, &kept, |z, log_scale| {
                let grad = match &parts.squares {
                    None => grads.changed.shallow_clone(),
                    // What a chessboard changes is the whole image here: the gradient at kept pixels is not the law's.
                    Some(squares) => grads.changed.masked_fill(&squares.logical_not(), 0.0),
                };
                (z * grad).sum(None::<Kind>) + (self.log_det(&parts, log_scale) * grad_log_det).sum(None::<Kind>)
            });
        let x = self.merge(&parts, &parts.kept, &changed);
        (x, self.merge(&parts, &(grads.kept + grad_kept), &grad_changed))
    }

    fn set_training(&mut self, training: bool) {
        self.conditioner.set_training(training);
    }

    fn freeze(&mut self) {
        self.conditioner.freeze();
    }

    fn inspect(&self, x: &Tensor, context: Option<&Tensor>) -> Inspection {
        let parts = self.split(x);
        let edge = self.law.at_edge(&parts.changed, &self.parameters(&parts, &parts.kept, context));
        let edge = edge.map(|(what, at)| match &parts.squares {
            None => Edge::new(what, &at),
            // The kept squares were given parameters too, which count for nothing.
            Some(squares) => Edge::new(what, &at.masked_select(squares)),
        });
        Inspection { edge, ..Inspection::default() }
    }
}

struct ImageCouplingBack<'a, N> {
    coupling: &'a ImageCoupling<N>,
    law: LawKept,
    conditioner: Box<dyn ConditionerBackward + 'a>,
}

impl<N: Conditioner> Backward for ImageCouplingBack<'_, N> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let coupling = self.coupling;
        let grads = coupling.split(grad_value);
        let of_rows = by_row(grad_log_det, &grads.changed);
        let (grad_changed, grad_log_s) = match &grads.squares {
            None => (grads.changed.shallow_clone(), of_rows),
            // What a chessboard changes is the whole image here: gradients at kept pixels are not the law's.
            Some(squares) => {
                let kept = squares.logical_not();
                (grads.changed.masked_fill(&kept, 0.0), of_rows.expand_as(&grads.changed).masked_fill(&kept, 0.0))
            }
        };
        let (grad_changed, grad_parameters) = coupling.law.backward(self.law, &grad_changed, &grad_log_s, gradients);
        let grad_kept = self.conditioner.backward(&grad_parameters, wanted, gradients)?;
        wanted.then(|| coupling.merge(&grads, &(&grads.kept + grad_kept), &grad_changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[derive(Debug)]
    struct Nothing;

    impl Conditioner for Nothing {
        fn forward(&self, _kept: &Tensor, _context: Option<&Tensor>) -> Tensor {
            unreachable!("the tests only split and merge")
        }
    }

    #[test]
    fn masks_that_keep_all_channels_or_none_are_refused() {
        let new = |first, flipped| {
            let mask = ImageMask::Channels { first, flipped };
            ImageCoupling::new(mask, 3, Nothing, Law::Additive).unwrap_err()
        };
        for (first, flipped, expected) in [(0, false, 3), (0, true, 0), (3, false, 0), (3, true, 3), (5, true, 3)] {
            let error = new(first, flipped);
            let right = matches!(error, Error::MaskOneSided { dim: 3, changed } if changed == expected);
            assert!(right, "{first} of 3, flipped: {flipped}: {error:?}");
        }
    }

    #[test]
    fn a_diagonal_of_channels_from_no_squeeze_is_refused() {
        for channels in [1, 2, 6] {
            let mask = ImageMask::Diagonal { order: SqueezeOrder::ChannelMajor, flipped: false };
            let error = ImageCoupling::new(mask, channels, Nothing, Law::Additive).unwrap_err();
            let right = matches!(error, Error::OutOfRange { name: "channels", value, .. } if value == channels as f64);
            assert!(right, "{channels}: {error:?}");
        }
    }

    /// The two masks of a chessboard are one: before the squeeze, and after it in either order.
    #[test]
    fn a_diagonal_keeps_the_squares_of_the_chessboard() {
        let x = Tensor::arange(2 * 4 * 6, (Kind::Float, Device::Cpu)).reshape([1, 2, 4, 6]) + 1.0;
        for order in [SqueezeOrder::ChannelMajor, SqueezeOrder::PositionMajor] {
            for flipped in [false, true] {
                let of = |mask, channels| ImageCoupling::new(mask, channels, Nothing, Law::Additive).unwrap();
                let squares = of(ImageMask::Checkerboard { flipped }, 2);
                let diagonal = of(ImageMask::Diagonal { order, flipped }, 8);
                let squeezed = order.squeeze(&x);
                let parts = diagonal.split(&squeezed);
                assert_eq!(diagonal.merge(&parts, &parts.kept, &parts.changed), squeezed);
                let kept = diagonal.merge(&parts, &parts.kept, &parts.changed.zeros_like());
                assert_eq!(order.unsqueeze(&kept), squares.split(&x).kept);
            }
        }
    }
}
