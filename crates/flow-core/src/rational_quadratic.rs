//! The curve inside one bin of a rational-quadratic spline, both ways.

use tch::{Kind, Tensor};

/// The bin of each of some values, by its numbers, each of the values' shape (Durkan et al. 2019, section 3.1): it begins at
/// `(x, z)`, is `w` wide and `h` high, and has slopes `d0` and `d1` at its ends. With `t = (value - x) / w`, `s = h / w`:
///
/// ```text
/// z(t) = z + h (s t² + d0 t (1 - t)) / (s + (d0 + d1 - 2 s) t (1 - t))
/// dz/dx = s² (d1 t² + 2 s t (1 - t) + d0 (1 - t)²) / (s + (d0 + d1 - 2 s) t (1 - t))²
/// ```
///
/// A value outside its bin is on the line that touches the curve at the nearer end.
pub(crate) struct Bins {
    pub x: Tensor,
    pub w: Tensor,
    pub z: Tensor,
    pub h: Tensor,
    pub d0: Tensor,
    pub d1: Tensor,
}

/// The left ends of bins of these sizes along dimension `along`, from `start` on.
pub(crate) fn left_ends(sizes: &Tensor, along: i64, start: f64) -> Tensor {
    sizes.cumsum(along, None::<Kind>) - sizes + start
}

impl Bins {
    /// `(z, ln dz/dx)` at `value`.
    pub fn forward(&self, value: &Tensor) -> (Tensor, Tensor) {
        let free = (value - &self.x) / &self.w;
        let t = free.clamp(0.0, 1.0);
        let s = &self.h / &self.w;
        let both = &t * (1.0 - &t);
        let denominator = self.denominator(&s, &both);
        let z = &self.z + &self.h * (&s * t.square() + &self.d0 * both) / &denominator;
        let log_slope = self.log_slope(&t, &s, &denominator);
        // Outside, `t` stops at the end and the slope with it.
        (z + (free - t) * &self.w * log_slope.exp(), log_slope)
    }

    /// `(x, ln dz/dx)` where the curve is at `value`: the root of equations 6 to 8 that lies in the bin.
    pub fn inverse(&self, value: &Tensor) -> (Tensor, Tensor) {
        let free = (value - &self.z) / &self.h;
        let y = free.clamp(0.0, 1.0);
        let s = &self.h / &self.w;
        let t = self.with_gradient(crate::no_grad(|| self.root(&y, &s)), &y, &s);
        let denominator = self.denominator(&s, &(&t * (1.0 - &t)));
        let log_slope = self.log_slope(&t, &s, &denominator);
        (&self.x + &self.w * t + (free - y) * &self.h * log_slope.neg().exp(), log_slope)
    }

    /// The place in the bin, between 0 and 1, where the curve has come to the share `y` of its height.
    fn root(&self, y: &Tensor, s: &Tensor) -> Tensor {
        let curve = &self.d0 + &self.d1 - s * 2.0;
        let bent = y * curve;
        let (a, b, c) = (s - &self.d0 + &bent, &self.d0 - bent, (s * y).neg());
        let root = (b.square() - &a * &c * 4.0).clamp_min(0.0).sqrt();
        // The same root in two forms, of which one has no difference of like numbers.
        let negative = b.lt(0.0);
        let sum = b.abs() + root;
        let t = (&sum / (a.where_self(&negative, &sum) * 2.0)).where_self(&negative, &(c * -2.0 / &sum));
        t.clamp(0.0, 1.0)
    }

    /// `t`, which solves `z(t) = y` (in shares of the bin), with the gradient of a solution: `dt = (dy - ∂z) / z'(t)`, by the
    /// implicit function theorem. The formula of the root has the same gradient but where slopes are so steep that its
    /// discriminant is rounded to 0, and the gradient of a square root is ∞.
    fn with_gradient(&self, t: Tensor, y: &Tensor, s: &Tensor) -> Tensor {
        if !(y.requires_grad() || self.d0.requires_grad() || self.w.requires_grad()) {
            return t;
        }
        let both = &t * (1.0 - &t);
        let denominator = self.denominator(s, &both);
        let ahead = (s * t.square() + &self.d0 * both) / &denominator - y;
        let slope = crate::no_grad(|| self.log_slope(&t, s, &denominator).exp() / s);
        // The value is that of the root, whatever is left of `ahead`.
        &t - (&ahead - ahead.detach()) / slope
    }

    fn denominator(&self, s: &Tensor, both: &Tensor) -> Tensor {
        s + (&self.d0 + &self.d1 - s * 2.0) * both
    }

    fn log_slope(&self, t: &Tensor, s: &Tensor, denominator: &Tensor) -> Tensor {
        let rest: Tensor = 1.0 - t;
        let numerator = &self.d1 * t.square() + s * t * &rest * 2.0 + &self.d0 * rest.square();
        (s.square() * numerator / denominator.square()).log()
    }
}
