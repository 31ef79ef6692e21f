//! Which coordinates a coupling keeps and which it changes.

use flow_cuda::kernels::Places;
use tch::{Device, Tensor};

use crate::{Error, Result};

/// A partition of `D` coordinates into a *kept* part, which the conditioner sees, and a *changed* part.
///
/// Coordinates count along the flattened event. `D` may be odd; the kept part of an unflipped mask is then the larger.
///
/// | constructor | keeps | from |
/// | --- | --- | --- |
/// | [`Mask::halves`] | the first half | NICE, section 3.2; RealNVP |
/// | [`Mask::alternating`] | every other coordinate, from the first | NICE, section 5.1 (odd and even) |
/// | [`Mask::checkerboard`] | pixels whose row plus column is even | RealNVP, section 3.4 |
#[derive(Debug)]
pub struct Mask {
    kept: Vec<i64>,
    changed: Vec<i64>,
    layout: Layout,
}

/// How split and merge are carried out.
#[derive(Debug)]
enum Layout {
    /// Two runs: split and merge are a view and one copy.
    Halves { flipped: bool },
    /// Strided views and one interleaving copy.
    Alternating { flipped: bool },
    /// Any partition, by index.
    Indexed { kept: Tensor, changed: Tensor, merge: Tensor },
}

impl Mask {
    /// Keeps the first ⌈D/2⌉ coordinates; `flipped` keeps the others.
    ///
    /// # Errors
    ///
    /// [`Error::MaskTooSmall`] for fewer than 2 coordinates.
    pub fn halves(dim: usize, flipped: bool) -> Result<Self> {
        let half = dim.div_ceil(2);
        Self::from_rule(dim, flipped, |i| i < half, |_, _| Layout::Halves { flipped })
    }

    /// Keeps coordinates 0, 2, 4, ...; `flipped` keeps 1, 3, 5, ...
    ///
    /// # Errors
    ///
    /// [`Error::MaskTooSmall`] for fewer than 2 coordinates.
    pub fn alternating(dim: usize, flipped: bool) -> Result<Self> {
        Self::from_rule(dim, flipped, |i| i % 2 == 0, |_, _| Layout::Alternating { flipped })
    }

    /// Keeps the pixels of an image `height` x `width` (row-major) whose row plus column is even; `flipped` the others.
    /// Several channels, one image after the other, are given as `height = channels * rows`, for which the pattern goes
    /// on from one channel into the next.
    ///
    /// # Errors
    ///
    /// [`Error::MaskTooSmall`] for fewer than 2 pixels.
    pub fn checkerboard(height: usize, width: usize, flipped: bool, device: Device) -> Result<Self> {
        let even = |i: usize| (i / width + i % width).is_multiple_of(2);
        Self::from_rule(height * width, flipped, even, |kept, changed| indexed(kept, changed, device))
    }

    /// Any partition: `keep[i]` says whether coordinate `i` is kept.
    ///
    /// # Errors
    ///
    /// [`Error::MaskTooSmall`], or [`Error::MaskOneSided`] where nothing is kept or nothing changed.
    pub fn from_bools(keep: &[bool], device: Device) -> Result<Self> {
        Self::from_rule(keep.len(), false, |i| keep[i], |kept, changed| indexed(kept, changed, device))
    }

    fn from_rule(
        dim: usize,
        flipped: bool,
        keeps: impl Fn(usize) -> bool,
        layout: impl Fn(&[i64], &[i64]) -> Layout,
    ) -> Result<Self> {
        if dim < 2 {
            return Err(Error::MaskTooSmall { dim });
        }
        let (kept, changed): (Vec<i64>, Vec<i64>) = (0..dim as i64).partition(|&i| keeps(i as usize) != flipped);
        if kept.is_empty() || changed.is_empty() {
            return Err(Error::MaskOneSided { dim, changed: changed.len() });
        }
        let layout = layout(&kept, &changed);
        Ok(Mask { kept, changed, layout })
    }

    /// The coordinates that stay as they are, ascending.
    pub fn kept(&self) -> &[i64] {
        &self.kept
    }

    /// The coordinates that are changed, ascending.
    pub fn changed(&self) -> &[i64] {
        &self.changed
    }

    /// Number of coordinates.
    pub fn dim(&self) -> usize {
        self.kept.len() + self.changed.len()
    }

    /// `[n, D]` to `([n, kept], [n, changed])`.
    ///
    /// # Panics
    ///
    /// If `x` is not `[n, D]`.
    pub fn split(&self, x: &Tensor) -> (Tensor, Tensor) {
        let (n, dim) = self.sizes(x);
        let (first, second) = match &self.layout {
            Layout::Halves { flipped } => {
                let half = (dim + 1) / 2;
                swap_if(*flipped, x.narrow(1, 0, half), x.narrow(1, half, dim - half))
            }
            Layout::Alternating { flipped } => swap_if(*flipped, x.slice(1, 0, None, 2), x.slice(1, 1, None, 2)),
            Layout::Indexed { kept, changed, .. } => {
                return (pick(x, kept, n), pick(x, changed, n));
            }
        };
        (first, second)
    }

    /// Rows and columns of what is split.
    fn sizes(&self, x: &Tensor) -> (i64, i64) {
        let (n, dim) = x.size2().expect("a mask splits matrices [n, D]");
        assert_eq!(dim as usize, self.dim(), "a mask over {} coordinates was given {:?}", self.dim(), x.size());
        (n, dim)
    }

    /// The kept part of [`Mask::split`] alone.
    pub(crate) fn kept_of(&self, x: &Tensor) -> Tensor {
        match &self.layout {
            Layout::Indexed { kept, .. } => pick(x, kept, self.sizes(x).0),
            _ => self.split(x).0,
        }
    }

    /// The same partition in the terms of kernels.
    pub(crate) fn places(&self) -> Places<'_> {
        match &self.layout {
            Layout::Halves { flipped } => Places::Halves { flipped: *flipped },
            Layout::Alternating { flipped } => Places::Alternating { flipped: *flipped },
            Layout::Indexed { merge, .. } => Places::Listed(merge),
        }
    }

    /// The inverse of [`Mask::split`]: `([n, kept], [n, changed])` to `[n, D]`.
    pub fn merge(&self, kept: &Tensor, changed: &Tensor) -> Tensor {
        match &self.layout {
            Layout::Halves { flipped } => {
                let (first, second) = swap_if(*flipped, kept.shallow_clone(), changed.shallow_clone());
                Tensor::cat(&[first, second], 1)
            }
            Layout::Alternating { flipped } => {
                let (even, odd) = swap_if(*flipped, kept.shallow_clone(), changed.shallow_clone());
                interleave(&even, &odd)
            }
            Layout::Indexed { merge, .. } => pick(&Tensor::cat(&[kept, changed], 1), merge, kept.size()[0]),
        }
    }
}

fn swap_if<T>(swap: bool, a: T, b: T) -> (T, T) {
    if swap { (b, a) } else { (a, b) }
}

/// Columns `index` of `x`. A gather and not an index_select, whose backward pass on CPU adds column by column.
pub(crate) fn pick(x: &Tensor, index: &Tensor, n: i64) -> Tensor {
    x.gather(1, &index.unsqueeze(0).expand([n, index.size()[0]], false), false)
}

/// Columns of `even` and `odd` in turn; `even` may have one more.
fn interleave(even: &Tensor, odd: &Tensor) -> Tensor {
    let (n, pairs) = odd.size2().expect("a matrix");
    let both = Tensor::stack(&[even.narrow(1, 0, pairs), odd.shallow_clone()], 2).reshape([n, 2 * pairs]);
    if even.size()[1] == pairs { both } else { Tensor::cat(&[both, even.narrow(1, pairs, 1)], 1) }
}

fn indexed(kept: &[i64], changed: &[i64], device: Device) -> Layout {
    let order: Vec<i64> = kept.iter().chain(changed).copied().collect();
    let tensor = |indices: &[i64]| Tensor::from_slice(indices).to_device(device);
    Layout::Indexed { kept: tensor(kept), changed: tensor(changed), merge: tensor(&invert(&order)) }
}

/// The inverse of a permutation.
fn invert(order: &[i64]) -> Vec<i64> {
    let mut inverse = vec![0; order.len()];
    for (place, &index) in order.iter().enumerate() {
        inverse[index as usize] = place as i64;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(dim: usize) -> Tensor {
        let rows: Vec<i64> = (0..2 * dim as i64).collect();
        Tensor::from_slice(&rows).reshape([2, dim as i64])
    }

    fn check(mask: &Mask, kept: &[i64], changed: &[i64]) {
        assert_eq!(mask.kept(), kept);
        assert_eq!(mask.changed(), changed);
        let x = columns(mask.dim());
        let (a, b) = mask.split(&x);
        assert_eq!(Vec::<i64>::try_from(a.get(0)).unwrap(), kept);
        assert_eq!(Vec::<i64>::try_from(b.get(0)).unwrap(), changed);
        assert_eq!(mask.merge(&a, &b), x);
    }

    #[test]
    fn halves_of_even_and_odd() {
        check(&Mask::halves(4, false).unwrap(), &[0, 1], &[2, 3]);
        check(&Mask::halves(5, false).unwrap(), &[0, 1, 2], &[3, 4]);
        check(&Mask::halves(5, true).unwrap(), &[3, 4], &[0, 1, 2]);
    }

    #[test]
    fn alternating_of_even_and_odd() {
        check(&Mask::alternating(4, true).unwrap(), &[1, 3], &[0, 2]);
        check(&Mask::alternating(5, false).unwrap(), &[0, 2, 4], &[1, 3]);
        check(&Mask::alternating(5, true).unwrap(), &[1, 3], &[0, 2, 4]);
    }

    #[test]
    fn checkerboard_turns_with_the_row() {
        let mask = |flipped| Mask::checkerboard(3, 3, flipped, Device::Cpu).unwrap();
        check(&mask(false), &[0, 2, 4, 6, 8], &[1, 3, 5, 7]);
        check(&Mask::checkerboard(2, 4, false, Device::Cpu).unwrap(), &[0, 2, 5, 7], &[1, 3, 4, 6]);
        check(&mask(true), &[1, 3, 5, 7], &[0, 2, 4, 6, 8]);
    }

    #[test]
    fn one_sided_masks_are_refused() {
        assert!(matches!(Mask::halves(1, false), Err(Error::MaskTooSmall { dim: 1 })));
        let all = Mask::from_bools(&[true, true], Device::Cpu);
        assert!(matches!(all, Err(Error::MaskOneSided { dim: 2, changed: 0 })));
    }
}
