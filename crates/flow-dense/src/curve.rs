//! The curve inside one bin of a rational-quadratic spline: both ways, and the way back.

use crate::lanes::Lanes;

/// The bins of some values, each by its numbers (Durkan et al. 2019, section 3.1): it begins at `(x, z)`, is `w` wide and `h` high,
/// and has slopes `d0` and `d1` at its ends. With `t = (value - x) / w`, `s = h / w`:
///
/// ```text
/// z(t) = z + h (s t² + d0 t (1 - t)) / (s + (d0 + d1 - 2 s) t (1 - t))
/// dz/dx = s² (d1 t² + 2 s t (1 - t) + d0 (1 - t)²) / (s + (d0 + d1 - 2 s) t (1 - t))²
/// ```
///
/// A value outside its bin is on the line that touches the curve at the nearer end.
#[derive(Clone, Copy)]
pub(crate) struct Bin<V> {
    pub x: V,
    pub w: V,
    pub z: V,
    pub h: V,
    pub d0: V,
    pub d1: V,
}

/// The gradient of a loss with respect to a value and to the numbers of its bin. With respect to where the bin begins along x it is
/// that of the value with the other sign.
#[derive(Clone, Copy)]
pub(crate) struct BinGradient<V> {
    pub value: V,
    pub w: V,
    pub z: V,
    pub h: V,
    pub d0: V,
    pub d1: V,
}

/// What the curve is made of at a place `t` in the bin.
#[derive(Clone, Copy)]
struct At<V> {
    t: V,
    rest: V,
    s: V,
    both: V,
    denominator: V,
    numerator: V,
    slope: V,
}

/// `x` between 0 and 1; what is no number stays so.
#[inline(always)]
unsafe fn within<V: Lanes>(x: V) -> V {
    // SAFETY: by the caller's promise.
    unsafe {
        let minus = V::splat(-1.0);
        minus.max_or(V::splat(0.0).max_or(x).mul(minus)).mul(minus)
    }
}

/// # Safety
///
/// Of all methods: the processor has what `V` needs.
#[allow(clippy::undocumented_unsafe_blocks, reason = "said once, above")]
impl<V: Lanes> Bin<V> {
    #[inline(always)]
    unsafe fn at(&self, t: V) -> At<V> {
        unsafe {
            let (one, two) = (V::splat(1.0), V::splat(2.0));
            let rest = one.sub(t);
            let (s, both) = (self.h.div(self.w), t.mul(rest));
            let denominator = two.mul_sub_from(s, self.d0.add(self.d1)).mul_add(both, s);
            let numerator = self.d1.mul(t).mul_add(t, self.d0.mul(rest).mul(rest));
            let numerator = two.mul(s).mul_add(both, numerator);
            let steep = s.div(denominator);
            At { t, rest, s, both, denominator, numerator, slope: steep.mul(steep).mul(numerator) }
        }
    }

    /// `(z, dz/dx)` so far from where the bin begins along x.
    #[inline(always)]
    pub(crate) unsafe fn forward(&self, from: V) -> (V, V) {
        unsafe {
            let free = from.div(self.w);
            let at = self.at(within(free));
            let up = at.s.mul(at.t).mul_add(at.t, self.d0.mul(at.both));
            let inside = self.h.mul_add(up.div(at.denominator), self.z);
            // Outside, `t` stops at the end and the slope with it.
            (free.sub(at.t).mul(self.w).mul_add(at.slope, inside), at.slope)
        }
    }

    /// `(x, dz/dx)` where the curve is so far from where the bin begins along z: the root of equations 6 to 8 that lies in the bin.
    #[inline(always)]
    pub(crate) unsafe fn inverse(&self, from: V) -> (V, V) {
        unsafe {
            let (zero, two) = (V::splat(0.0), V::splat(2.0));
            let free = from.div(self.h);
            let (y, s) = (within(free), self.h.div(self.w));
            let bent = y.mul(two.mul_sub_from(s, self.d0.add(self.d1)));
            let (a, b, c) = (s.sub(self.d0).add(bent), self.d0.sub(bent), zero.sub(s.mul(y)));
            // As autograd's and a GPU's: a discriminant below 0 is one that was rounded.
            let root = zero.max_or(a.mul(c).mul_sub_from(V::splat(4.0), b.mul(b))).root();
            let sum = b.where_positive(b, zero.sub(b)).add(root);
            // The same root in two forms, of which one has no difference of like numbers.
            let falling = sum.div(a.mul(two));
            let t = falling.where_positive(zero.sub(b), c.mul(V::splat(-2.0)).div(sum));
            // Beyond an end the curve's slope is that at the end itself, from which a root is roundings away.
            let t = y.where_positive(free.sub(V::splat(1.0)), y.where_positive(zero.sub(free), within(t)));
            let at = self.at(t);
            let inside = self.w.mul_add(at.t, self.x);
            (free.sub(y).mul(self.h).div(at.slope).add(inside), at.slope)
        }
    }

    /// The way back through [`Bin::forward`], from the gradients with respect to `z` and to `L = ln dz/dx`.
    ///
    /// ```text
    /// z = z_0 + h q + (free - t) w e^L,   q = up / denominator,   up = s t² + d0 t (1 - t)
    /// L = 2 ln s + ln numerator - 2 ln denominator
    /// free = (x - x_0) / w,   s = h / w
    /// ```
    #[inline(always)]
    pub(crate) unsafe fn backward(&self, from: V, of_z: V, of_log: V) -> BinGradient<V> {
        unsafe {
            let (zero, one, two) = (V::splat(0.0), V::splat(1.0), V::splat(2.0));
            let free = from.div(self.w);
            let at = self.at(within(free));
            let At { t, rest, s, both, denominator, numerator, slope } = at;
            let up = s.mul(t).mul_add(t, self.d0.mul(both));
            let q = up.div(denominator);
            let beyond = free.sub(t);
            let steep = of_z.mul(slope);
            let of_log = steep.mul(beyond).mul_add(self.w, of_log);
            let of_free = steep.mul(self.w);
            let of_q = of_z.mul(self.h);
            let of_up = of_q.div(denominator);
            let of_denominator = zero.sub(of_up.mul(q)).sub(two.mul(of_log).div(denominator));
            let of_numerator = of_log.div(numerator);
            let curve = two.mul_sub_from(s, self.d0.add(self.d1));
            let of_s = two.mul(of_log).div(s);
            let of_s = of_denominator.mul_add(two.mul_sub_from(both, one), of_s);
            let of_s = of_up.mul(t).mul_add(t, of_s);
            let of_s = of_numerator.mul(two).mul_add(both, of_s);
            let of_both = of_denominator.mul_add(curve, of_up.mul(self.d0));
            let of_both = of_numerator.mul(two).mul_add(s, of_both);
            let of_d0 = of_denominator.add(of_up).mul_add(both, of_numerator.mul(rest).mul(rest));
            let of_d1 = of_denominator.mul_add(both, of_numerator.mul(t).mul(t));
            let of_t = of_up.mul(two).mul(s).mul_add(t, zero.sub(of_free));
            let ends = self.d1.mul(t).sub(self.d0.mul(rest));
            let of_t = of_numerator.mul(two).mul_add(ends, of_t);
            let of_t = of_both.mul_add(two.mul_sub_from(t, one), of_t);
            // Beyond the ends `t` does not move.
            let inside = zero.where_positive(free.sub(one), zero.where_positive(zero.sub(free), of_t));
            let of_free = of_free.add(inside);
            let of_value = of_free.div(self.w);
            let of_w = steep.mul(beyond).sub(of_value.mul(free)).sub(of_s.mul(s).div(self.w));
            let of_h = of_z.mul_add(q, of_s.div(self.w));
            BinGradient { value: of_value, w: of_w, z: of_z, h: of_h, d0: of_d0, d1: of_d1 }
        }
    }
}
