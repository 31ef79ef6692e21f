//! Space to channels: every 2 x 2 block of pixels becomes one pixel of four times the channels.

use tch::Tensor;

use crate::Bijection;
use crate::shape::zero_log_det;

/// Where the four pixels of a block come to lie among the channels. With `d = 2 dy + dx` for the pixel at `(dy, dx)` of its
/// block, and `c` of `C` channels:
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SqueezeOrder {
    /// Channel `4 c + d`: the four pixels of a channel side by side. Glow's code, nflows, PyTorch's `pixel_unshuffle`.
    #[default]
    ChannelMajor,
    /// Channel `C d + c`: the channels of a pixel side by side. RealNVP's code, TensorFlow's `space_to_depth`.
    PositionMajor,
}

impl SqueezeOrder {
    /// The shape in which the `pixels` of each block (4, or 2 where half of each is left) have an axis of their own, and
    /// which axis that is; for images of `size`, `[n, channels, h, w]`.
    pub(crate) fn blocks(self, size: &[i64], pixels: i64) -> ([i64; 5], i64) {
        let &[n, channels, h, w] = size else { unreachable!("images have 4 dimensions") };
        match self {
            SqueezeOrder::ChannelMajor => ([n, channels / pixels, pixels, h, w], 2),
            SqueezeOrder::PositionMajor => ([n, pixels, channels / pixels, h, w], 1),
        }
    }

    /// `[n, c, h, w]` to `[n, 4c, h/2, w/2]`.
    ///
    /// # Panics
    ///
    /// If `h` or `w` is odd.
    pub fn squeeze(self, x: &Tensor) -> Tensor {
        let (n, c, h, w) = x.size4().expect("images [n, c, h, w] are squeezed");
        assert!(h % 2 == 0 && w % 2 == 0, "images of {h} x {w} have no blocks of 2 x 2");
        let blocks = x.reshape([n, c, h / 2, 2, w / 2, 2]);
        let blocks = match self {
            SqueezeOrder::ChannelMajor => blocks.permute([0, 1, 3, 5, 2, 4]),
            SqueezeOrder::PositionMajor => blocks.permute([0, 3, 5, 1, 2, 4]),
        };
        blocks.reshape([n, 4 * c, h / 2, w / 2])
    }

    /// `[n, 4c, h, w]` to `[n, c, 2h, 2w]`.
    ///
    /// # Panics
    ///
    /// If the number of channels is no multiple of 4.
    pub fn unsqueeze(self, z: &Tensor) -> Tensor {
        let (n, c, h, w) = z.size4().expect("images [n, c, h, w] are unsqueezed");
        assert!(c % 4 == 0, "{c} channels are no blocks of 2 x 2");
        let blocks = match self {
            SqueezeOrder::ChannelMajor => z.reshape([n, c / 4, 2, 2, h, w]).permute([0, 1, 4, 2, 5, 3]),
            SqueezeOrder::PositionMajor => z.reshape([n, 2, 2, c / 4, h, w]).permute([0, 3, 4, 1, 5, 2]),
        };
        blocks.reshape([n, c / 4, 2 * h, 2 * w])
    }
}

/// The squeeze as a step of its own (RealNVP, section 3.6; Glow, section 3): `[n, c, h, w]` to `[n, 4c, h/2, w/2]`, keeps
/// volume. [`crate::Inverse`] undoes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Squeeze {
    order: SqueezeOrder,
}

impl Squeeze {
    /// A squeeze in `order`.
    pub fn new(order: SqueezeOrder) -> Self {
        Squeeze { order }
    }
}

impl Bijection for Squeeze {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        (self.order.squeeze(x), zero_log_det(x))
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        (self.order.unsqueeze(z), zero_log_det(z))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn block() -> Tensor {
        // Channel 0 holds 0..4, channel 1 holds 10..14, each one block of 2 x 2.
        Tensor::from_slice(&[0i64, 1, 2, 3, 10, 11, 12, 13]).reshape([1, 2, 2, 2])
    }

    #[test]
    fn each_order_is_as_its_name_says() {
        let flat = |order: SqueezeOrder| Vec::<i64>::try_from(order.squeeze(&block()).flatten(0, -1)).unwrap();
        assert_eq!(flat(SqueezeOrder::ChannelMajor), [0, 1, 2, 3, 10, 11, 12, 13]);
        assert_eq!(flat(SqueezeOrder::PositionMajor), [0, 10, 1, 11, 2, 12, 3, 13]);
    }

    #[test]
    fn channel_major_is_pixel_unshuffle() {
        let x = Tensor::arange(2 * 3 * 4 * 6, (Kind::Float, Device::Cpu)).reshape([2, 3, 4, 6]);
        assert_eq!(SqueezeOrder::ChannelMajor.squeeze(&x), x.pixel_unshuffle(2));
    }
}
