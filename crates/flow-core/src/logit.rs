//! The logit, from the unit cube to the whole space: `z = logit(α + (1 - 2α) x)`.

use tch::Tensor;

use crate::shape::sum_event;
use crate::{Bijection, Edge, Error, Inspection, Result};

/// The logit of a unit cube squeezed at both ends (MAF, appendix; RealNVP, section 4.1, has `α + (1 - α) x`),
/// `[n, ..event]` to the same shape:
///
/// ```text
/// y = α + (1 - 2α) x,   z = ln y - ln(1 - y)
/// log_det = Σ ln(1 - 2α) - ln y - ln(1 - y)
/// ```
///
/// `x` is on the unit cube; α keeps the ends finite: 0 is mapped to `ln α - ln(1 - α)` and 1 to its negative, both with
/// the finite slope `(1 - 2α) / (α (1 - α))`. Beyond an end by `α / (1 - 2α)` or more `z` is ±∞ or no number: who gives
/// such `x` has forgotten to rescale it. On the way back the ends are not closed: `z` beyond those two values comes out
/// beyond the cube, by less than `α / (1 - 2α)`. It stands at the head of a chain, inside the model, so that a
/// likelihood is always one of `x`.
#[derive(Debug)]
pub struct Logit {
    alpha: f64,
}

impl Logit {
    /// A logit with margin `alpha`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless `0 < alpha < 1/2`.
    pub fn new(alpha: f64) -> Result<Self> {
        if alpha > 0.0 && alpha < 0.5 {
            return Ok(Logit { alpha });
        }
        Err(Error::OutOfRange { name: "alpha", expected: "between 0 and 1/2", value: alpha })
    }

    fn width(&self) -> f64 {
        1.0 - 2.0 * self.alpha
    }
}

impl Bijection for Logit {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        // 1 - y is computed from 1 - x, which is exact near 1: from y it would lose every digit of a small α in f32.
        let ln_y = (x * self.width() + self.alpha).log();
        // By a product, for the negative of a byte is a byte: an image not rescaled must not come out finite.
        let ln_rest = ((x * -1.0 + 1.0) * self.width() + self.alpha).log();
        let log_det = sum_event(&(self.width().ln() - &ln_y - &ln_rest));
        (ln_y - ln_rest, log_det)
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        let x = (z.sigmoid() - self.alpha) / self.width();
        let slope = z.log_sigmoid() + z.neg().log_sigmoid() - self.width().ln();
        (x, sum_event(&slope))
    }

    /// At the edge of the cube the margin, and not the data, says how steep the logit is: `x < α` or `x > 1 - α`.
    fn inspect(&self, x: &Tensor, _context: Option<&Tensor>) -> Inspection {
        let at = x.lt(self.alpha).logical_or(&x.gt(1.0 - self.alpha));
        Inspection {
            edge: Some(Edge::new("within the margin of the unit cube's faces, or outside of it", &at)),
            ..Inspection::default()
        }
    }
}
