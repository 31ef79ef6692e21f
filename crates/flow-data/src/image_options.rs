//! The side and the levels of images, where they are to be others than as read.

use ndarray::Array2;

use crate::{Error, Preprocessing, Spec, Values, cifar, digits, mapped::Element, mnist};

/// The bits of a channel as read.
const BITS: u8 = 8;
/// The side of the images of a folder that no size is asked for.
const DEFAULT_SIZE: usize = 32;
/// The sides that can be asked for.
const SIZES: std::ops::RangeInclusive<usize> = 2..=1024;

/// How images are to be read.
///
/// ```
/// use flow_data::{ImageOptions, LoadOptions, load};
///
/// let options = LoadOptions { image: ImageOptions { bits: Some(5), ..ImageOptions::default() }, ..LoadOptions::default() };
/// let error = load(&"digits".parse()?, &options).unwrap_err(); // they have 17 levels as they are
/// assert!(error.to_string().contains("17 levels"));
/// # Ok::<_, flow_data::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// The side in pixels to which `images:DIR` resizes, 2 to 1,024; `None` is 32. All other images are taken as they
    /// are: for them it is `None` or the side that they have.
    pub size: Option<usize>,
    /// Bits a channel, 1 to 8, as Glow's `n_bits`: a level k of 0 to 255 becomes ⌊k / 2^(8 - bits)⌋, one of 2^bits.
    /// `None` and 8 leave levels as they are.
    ///
    /// [`Values::Levels`] and [`Preprocessing::Levels`] say 2^bits levels then. Bits a dimension, log2(levels) -
    /// nats / (D ln 2), are those of the reduced images: numbers of other bits are not to be compared with them.
    pub bits: Option<u8>,
}

impl ImageOptions {
    /// Refuses what the data set cannot follow, as far as that is known before it is read.
    pub(crate) fn check(self, spec: &Spec) -> Result<(), Error> {
        match spec {
            Spec::Images(_) => self.check_range(spec).and(self.check_bits(spec)),
            Spec::Idx(_) => self.check_bits(spec),
            Spec::Mnist => self.check_side(spec, mnist::SIDE).and(self.check_bits(spec)),
            Spec::Cifar10 => self.check_side(spec, cifar::SIDE).and(self.check_bits(spec)),
            Spec::Digits => self.check_side(spec, digits::SIDE).and(match self.bits {
                None => Ok(()),
                Some(bits) => Err(refusal(
                    spec,
                    format!(
                        "bits {bits}: digits have 17 levels as they are; leave bits out (only 256 levels are reduced)"
                    ),
                )),
            }),
            _ => match (self.size, self.bits) {
                (None, None) => Ok(()),
                _ => Err(refusal(spec, "size and bits are for images; leave them out".into())),
            },
        }
    }

    /// Refuses a size other than the side that images have.
    pub(crate) fn check_side(self, spec: &Spec, side: usize) -> Result<(), Error> {
        match self.size {
            Some(size) if size != side => Err(refusal(
                spec,
                format!("size {size}: its images are {side} x {side} and only images:DIR resizes; leave the size out"),
            )),
            _ => Ok(()),
        }
    }

    fn check_range(self, spec: &Spec) -> Result<(), Error> {
        match self.size {
            Some(size) if !SIZES.contains(&size) => {
                let (least, most) = (SIZES.start(), SIZES.end());
                Err(refusal(spec, format!("size {size}: images are resized to a side of {least} to {most} pixels")))
            }
            _ => Ok(()),
        }
    }

    fn check_bits(self, spec: &Spec) -> Result<(), Error> {
        match self.bits {
            Some(bits) if !(1..=BITS).contains(&bits) => {
                Err(refusal(spec, format!("bits {bits}: a channel can have 1 to {BITS} bits")))
            }
            _ => Ok(()),
        }
    }

    /// The side to resize to.
    pub(crate) fn side(self) -> usize {
        self.size.unwrap_or(DEFAULT_SIZE)
    }

    /// What a pixel of 256 levels in a file is.
    pub(crate) fn element(self) -> Element {
        Element::Levels { levels: 1 << self.channel_bits(), shift: BITS - self.channel_bits() }
    }

    fn channel_bits(self) -> u8 {
        self.bits.unwrap_or(BITS)
    }

    /// Pixels `[n, D]` of 256 levels as the values asked for.
    pub(crate) fn values(self, mut pixels: Array2<u8>) -> Values {
        let shift = BITS - self.channel_bits();
        if shift > 0 {
            pixels.mapv_inplace(|level| level >> shift);
        }
        Values::Levels { data: pixels, levels: 1 << self.channel_bits() }
    }

    /// What a model must know of these values.
    pub(crate) fn preprocessing(self, channels: usize, side: usize) -> Preprocessing {
        Preprocessing::Levels { levels: 1 << self.channel_bits(), height: side, width: side, channels }
    }
}

fn refusal(spec: &Spec, problem: String) -> Error {
    Error::ImageOption { spec: spec.to_string(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(size: Option<usize>, bits: Option<u8>) -> ImageOptions {
        ImageOptions { size, bits }
    }

    #[test]
    fn fewer_bits_are_a_division_rounded_down() {
        let all = Array2::from_shape_fn((1, 256), |(_, level)| level as u8);
        for bits in 1..=8 {
            let expected = all.mapv(|level| (f64::from(level) / f64::from(1 << (8 - bits))).floor() as u8);
            let levels = 1 << bits;
            let options = with(None, Some(bits));
            assert_eq!(options.values(all.clone()), Values::Levels { data: expected, levels });
            assert_eq!(options.preprocessing(1, 2).levels(), Some(levels));
        }
        assert_eq!(with(None, None).values(all.clone()), with(None, Some(8)).values(all));
    }

    #[test]
    fn what_cannot_be_followed_is_refused_by_its_name() {
        for (spec, options, expected) in [
            ("mnist", with(Some(32), None), "28 x 28"),
            ("cifar10", with(Some(28), None), "32 x 32"),
            ("digits", with(Some(28), None), "8 x 8"),
            ("digits", with(None, Some(4)), "17 levels"),
            ("digits", with(None, Some(8)), "17 levels"),
            ("mnist", with(None, Some(0)), "1 to 8 bits"),
            ("idx:f", with(None, Some(9)), "1 to 8 bits"),
            ("images:d", with(Some(1), None), "2 to 1024"),
            ("images:d", with(Some(1025), None), "2 to 1024"),
            ("iris", with(None, Some(8)), "for images"),
            ("csv:a", with(Some(8), None), "for images"),
            ("moons", with(Some(2), None), "for images"),
        ] {
            let error = options.check(&spec.parse().unwrap()).unwrap_err().to_string();
            assert!(error.starts_with(spec) && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_side_that_images_have_may_be_said() {
        for (spec, options) in [
            ("mnist", with(Some(28), Some(5))),
            ("cifar10", with(Some(32), Some(8))),
            ("digits", with(Some(8), None)),
            ("images:d", with(Some(1024), Some(1))),
            ("moons", with(None, None)),
        ] {
            options.check(&spec.parse().unwrap()).unwrap();
        }
    }
}
