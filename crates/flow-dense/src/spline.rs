//! The spline law of a coupling on rows of numbers: each along a curve of its own.

use crate::curve::{Bin, BinGradient};
use crate::lanes::{Lanes, with_lanes};
use crate::shares::{Shares, WIDEST, sizes_of_shares, softmax};

/// Most bins that [`SplineLaw`] takes.
pub const MOST_BINS: usize = 64;

/// ln(e - 1), by which a slope of 0 is 1.
const OF_ONE: f32 = 0.541_324_85;

/// The law of neural spline flows (Durkan et al. 2019, section 3.2) on rows of `each` numbers, from [-6, 6] onto itself and beyond
/// that along lines. The parameters of a row are `[3 bins + 1, each]`: of each of its numbers `bins` widths, as many heights, and
/// the slopes at their ends.
///
/// ```text
/// w = 12 (m + (1 - k m) softmax(widths)),   h alike,   d = ln(1 + (e - 1) e^slopes) + m     m = 1e-3, k bins
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SplineLaw<'a> {
    bins: usize,
    each: usize,
    rows: usize,
    parameters: &'a [f32],
}

/// The gradient of a loss with respect to the logarithm of the slope at each number of some rows.
#[derive(Clone, Copy, Debug)]
pub enum LogSlopeGradient<'a> {
    /// One for all numbers of a row, `[rows]`.
    OfRows(&'a [f32]),
    /// One for each, `[rows, each]`.
    OfEach(&'a [f32]),
}

impl<'a> SplineLaw<'a> {
    /// Half of the range.
    pub const BOUND: f64 = 6.0;
    /// The least width or height of a bin, as a share of the range.
    pub const LEAST_SHARE: f64 = 1e-3;
    /// The least slope at a bin's end.
    pub const LEAST_SLOPE: f64 = 1e-3;

    /// # Panics
    ///
    /// If there is no bin or more than [`MOST_BINS`], or `parameters` are not those of so many rows.
    pub fn new(bins: usize, rows: usize, each: usize, parameters: &'a [f32]) -> Self {
        assert!((1..=MOST_BINS).contains(&bins), "{bins} bins");
        let count = rows.checked_mul(each).and_then(|all| all.checked_mul(3 * bins + 1));
        assert_eq!(Some(parameters.len()), count, "parameters of {rows} rows of {each} numbers, {bins} bins");
        SplineLaw { bins, each, rows, parameters }
    }

    /// `x`, `[rows, each]`, becomes `z`, and `log_slope` is `ln dz/dx`.
    ///
    /// # Panics
    ///
    /// If there are not as many of each.
    pub fn forward(&self, x: &mut [f32], log_slope: &mut [f32]) {
        self.take(x, log_slope, forward);
    }

    /// `z` becomes `x`, and `log_slope` is `ln dz/dx`.
    ///
    /// # Panics
    ///
    /// If there are not as many of each.
    pub fn inverse(&self, z: &mut [f32], log_slope: &mut [f32]) {
        self.take(z, log_slope, inverse);
    }

    fn take(&self, values: &mut [f32], log_slope: &mut [f32], way: unsafe fn(&mut Row)) {
        assert_eq!([values.len(), log_slope.len()], [self.rows * self.each; 2], "{} rows of {}", self.rows, self.each);
        let mut room = vec![0.0; 2 * self.bins * WIDEST];
        for row in 0..self.rows {
            let at = row * self.each;
            // SAFETY: a row of each is there, and room for the shares of a vector.
            unsafe {
                way(&mut Row {
                    law: self.row(row),
                    values: values[at..].as_mut_ptr(),
                    log_slope: log_slope[at..].as_mut_ptr(),
                    room: room.as_mut_ptr(),
                });
            }
        }
    }

    /// The way back through [`SplineLaw::forward`] at `x`: from the gradients with respect to `z`, which becomes that with respect to
    /// `x`, and to the logarithm of the slope, to those of the parameters.
    ///
    /// # Panics
    ///
    /// If there are not as many of each.
    pub fn backward(&self, x: &[f32], grad: &mut [f32], of_log: LogSlopeGradient, of_parameters: &mut [f32]) {
        let (rows, each) = (self.rows, self.each);
        let (logs, expected) = match of_log {
            LogSlopeGradient::OfRows(logs) => (logs, rows),
            LogSlopeGradient::OfEach(logs) => (logs, rows * each),
        };
        let given = [x.len(), grad.len(), logs.len(), of_parameters.len()];
        assert_eq!(given, [rows * each, rows * each, expected, self.parameters.len()], "{rows} rows of {each}");
        let mut room = vec![0.0; 2 * self.bins * WIDEST];
        for row in 0..rows {
            let at = row * each;
            let (of_row, of_each) = match of_log {
                LogSlopeGradient::OfRows(logs) => (logs[row], None),
                LogSlopeGradient::OfEach(logs) => (0.0, Some(logs[at..].as_ptr())),
            };
            // SAFETY: as above.
            unsafe {
                backward(&mut RowBack {
                    law: self.row(row),
                    x: x[at..].as_ptr(),
                    grad: grad[at..].as_mut_ptr(),
                    of_row,
                    of_each,
                    of_parameters: of_parameters[row * (3 * self.bins + 1) * each..].as_mut_ptr(),
                    room: room.as_mut_ptr(),
                });
            }
        }
    }

    fn row(&self, row: usize) -> RowLaw {
        let parameters = self.parameters[row * (3 * self.bins + 1) * self.each..].as_ptr();
        RowLaw { bins: self.bins, each: self.each, parameters }
    }
}

/// The parameters of a row.
#[derive(Clone, Copy)]
struct RowLaw {
    bins: usize,
    each: usize,
    parameters: *const f32,
}

struct Row {
    law: RowLaw,
    values: *mut f32,
    log_slope: *mut f32,
    /// For the shares of widths and heights of a vector.
    room: *mut f32,
}

struct RowBack {
    law: RowLaw,
    x: *const f32,
    grad: *mut f32,
    of_row: f32,
    of_each: Option<*const f32>,
    of_parameters: *mut f32,
    room: *mut f32,
}

with_lanes! {
    unsafe fn forward(row: &mut Row) = forward_by
}

with_lanes! {
    unsafe fn inverse(row: &mut Row) = inverse_by
}

with_lanes! {
    unsafe fn backward(row: &mut RowBack) = backward_by
}

/// # Safety
///
/// A row of everything is there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn forward_by<V: Lanes>(row: &mut Row) {
    for i in (0..row.law.each).step_by(V::LANES) {
        unsafe {
            let some = V::LANES.min(row.law.each - i);
            let x = V::load_first(row.values.add(i), some);
            let found = find::<V, true>(&row.law, i, some, x, row.room);
            let (z, slope) = found.bin.forward(x.sub(found.bin.x));
            z.store_first(row.values.add(i), some);
            slope.ln().store_first(row.log_slope.add(i), some);
        }
    }
}

/// # Safety
///
/// As [`forward_by`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn inverse_by<V: Lanes>(row: &mut Row) {
    for i in (0..row.law.each).step_by(V::LANES) {
        unsafe {
            let some = V::LANES.min(row.law.each - i);
            let z = V::load_first(row.values.add(i), some);
            let found = find::<V, false>(&row.law, i, some, z, row.room);
            let (x, slope) = found.bin.inverse(z.sub(found.bin.z));
            x.store_first(row.values.add(i), some);
            slope.ln().store_first(row.log_slope.add(i), some);
        }
    }
}

/// # Safety
///
/// As [`forward_by`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn backward_by<V: Lanes>(row: &mut RowBack) {
    let RowLaw { bins, each, .. } = row.law;
    for i in (0..each).step_by(V::LANES) {
        unsafe {
            let some = V::LANES.min(each - i);
            let x = V::load_first(row.x.add(i), some);
            let found = find::<V, true>(&row.law, i, some, x, row.room);
            let of_z = V::load_first(row.grad.add(i), some);
            let of_log = match row.of_each {
                None => V::splat(row.of_row),
                Some(logs) => V::load_first(logs.add(i), some),
            };
            let BinGradient { value, w, z, h, d0, d1 } = found.bin.backward(x.sub(found.bin.x), of_z, of_log);
            value.store_first(row.grad.add(i), some);
            let to = row.of_parameters.add(i);
            let minus = V::splat(0.0).sub(value);
            let shares = Shares { bins, each, some, index: found.index };
            shares.back(row.room, w, minus, to);
            shares.back(row.room.add(bins * WIDEST), h, z, to.add(bins * each));
            let (by_0, by_1) = (d0.mul(sigmoid(found.raw0)), d1.mul(sigmoid(found.raw1)));
            for bin in 0..=bins {
                let to = to.add((2 * bins + bin) * each);
                let at = found.index.sub(V::splat(bin as f32));
                // `at` is 0 where the bin begins, -1 where it ends.
                let end = is_at(at.add(V::splat(1.0)), by_1);
                is_at(at, by_0).add(end).store_first(to, some);
            }
        }
    }
}

/// `x` where `at` is 0, a whole number, and 0 elsewhere.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the caller's promise of what the processor has")]
unsafe fn is_at<V: Lanes>(at: V, x: V) -> V {
    unsafe {
        let (zero, half) = (V::splat(0.0), V::splat(0.5));
        zero.where_positive(at.sub(half), x.where_positive(at.add(half), zero))
    }
}

/// `1 / (1 + e^-x)`
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the caller's promise of what the processor has")]
unsafe fn sigmoid<V: Lanes>(x: V) -> V {
    unsafe {
        let one = V::splat(1.0);
        one.div(one.add(V::splat(0.0).sub(x).exp()))
    }
}

/// `ln(1 + e^x)`, `x` itself above 20 as libtorch has it; with the digits of small numbers (Kahan).
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the caller's promise of what the processor has")]
unsafe fn soft_plus<V: Lanes>(x: V) -> V {
    unsafe {
        let one = V::splat(1.0);
        let e = x.exp();
        let sum = one.add(e);
        let seen = sum.sub(one);
        let ln = sum.ln().mul(e.div(seen)).where_positive(seen, e);
        x.where_positive(x.sub(V::splat(20.0)), ln)
    }
}

/// The bins of a vector of numbers.
struct Found<V> {
    bin: Bin<V>,
    /// Which of all they are.
    index: V,
    /// What made the slopes at their ends.
    raw0: V,
    raw1: V,
}

/// The bins of the numbers from the `i` on, and in `room` the shares of their widths and heights; `ALONG_X`, or along z.
///
/// # Safety
///
/// The row's parameters are there, and room for 2 · bins vectors.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn find<V: Lanes, const ALONG_X: bool>(
    law: &RowLaw,
    i: usize,
    some: usize,
    value: V,
    room: *mut f32,
) -> Found<V> {
    unsafe {
        let RowLaw { bins, each, .. } = *law;
        let own = law.parameters.add(i);
        let heights = room.add(bins * WIDEST);
        softmax::<V>(own, bins, each, some, room);
        softmax::<V>(own.add(bins * each), bins, each, some, heights);
        let [scale, least] = sizes_of_shares(bins);
        let (scale, least) = (V::splat(scale), V::splat(least));
        let slopes = own.add(2 * bins * each);
        let start = V::splat(-SplineLaw::BOUND as f32);
        let (mut x, mut z) = (start, start);
        let mut w = V::load(room).mul_add(scale, least);
        let mut h = V::load(heights).mul_add(scale, least);
        let mut bin = Bin { x, w, z, h, d0: x, d1: x };
        let mut index = V::splat(0.0);
        let mut raw = V::load_first(slopes.add(each), some);
        let (mut raw0, mut raw1) = (V::load_first(slopes, some), raw);
        for k in 1..bins {
            (x, z) = (x.add(w), z.add(h));
            w = V::load(room.add(k * WIDEST)).mul_add(scale, least);
            h = V::load(heights.add(k * WIDEST)).mul_add(scale, least);
            let next = V::load_first(slopes.add((k + 1) * each), some);
            // Above 0 where the value is before this bin.
            let before = if ALONG_X { x } else { z }.sub(value);
            bin.x = bin.x.where_positive(before, x);
            bin.w = bin.w.where_positive(before, w);
            bin.z = bin.z.where_positive(before, z);
            bin.h = bin.h.where_positive(before, h);
            raw0 = raw0.where_positive(before, raw);
            raw1 = raw1.where_positive(before, next);
            index = index.where_positive(before, V::splat(k as f32));
            raw = next;
        }
        let of_one = V::splat(OF_ONE);
        (raw0, raw1) = (raw0.add(of_one), raw1.add(of_one));
        let least = V::splat(SplineLaw::LEAST_SLOPE as f32);
        bin.d0 = soft_plus(raw0).add(least);
        bin.d1 = soft_plus(raw1).add(least);
        Found { bin, index, raw0, raw1 }
    }
}
