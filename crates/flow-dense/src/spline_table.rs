//! A spline whose bins are the same for all numbers.

use crate::curve::Bin;
use crate::lanes::{LINE, Lanes, with_lanes};

/// The bins of a monotone rational-quadratic spline (Durkan et al. 2019, section 3.1) that all numbers share. The first and the last
/// take what lies beyond, along lines. With `t = (x - start) / w` in a bin `w` wide and `h` high, `s = h / w`:
///
/// ```text
/// z = start + h (s t² + d0 t (1 - t)) / (s + (d0 + d1 - 2 s) t (1 - t))
/// ```
#[derive(Clone, Debug)]
pub struct SplineTable {
    /// Where each bin begins.
    x: Starts,
    z: Starts,
    w: Vec<f32>,
    h: Vec<f32>,
    d: Vec<f32>,
}

/// Where bins begin along an axis: numbers of f32, and what these lack, for the distance from there is what counts.
#[derive(Clone, Debug)]
struct Starts {
    rounded: Vec<f32>,
    rest: Vec<f32>,
}

impl Starts {
    fn new(start: f64, sizes: &[f64]) -> Self {
        let mut end = start;
        let begin = |size: &f64| {
            let begin = end;
            end += size;
            (begin as f32, (begin - f64::from(begin as f32)) as f32)
        };
        let (rounded, rest) = sizes.iter().map(begin).unzip();
        Starts { rounded, rest }
    }
}

/// The gradient of a loss with respect to the numbers of a [`SplineTable`].
#[derive(Clone, Debug)]
pub struct SplineTableGradient {
    /// With respect to the bins' widths.
    pub widths: Vec<f64>,
    /// With respect to their heights.
    pub heights: Vec<f64>,
    /// With respect to the slopes at their ends.
    pub slopes: Vec<f64>,
}

impl SplineTable {
    /// Of bins of these sizes from `start`, its `x` and `z`, on.
    ///
    /// # Panics
    ///
    /// If there is no bin, or not as many heights as widths and one slope more.
    pub fn new(start: [f64; 2], widths: &[f64], heights: &[f64], slopes: &[f64]) -> Self {
        let bins = widths.len();
        let fits = bins > 0 && [heights.len(), slopes.len()] == [bins, bins + 1];
        assert!(fits, "{bins} widths, {} heights, {} slopes", heights.len(), slopes.len());
        let rounded = |numbers: &[f64]| numbers.iter().map(|&x| x as f32).collect();
        SplineTable {
            x: Starts::new(start[0], widths),
            z: Starts::new(start[1], heights),
            w: rounded(widths),
            h: rounded(heights),
            d: rounded(slopes),
        }
    }

    /// `x` becomes `z`, and `log_slope` is `ln dz/dx`.
    ///
    /// # Panics
    ///
    /// If there are not as many of both.
    pub fn forward(&self, x: &mut [f32], log_slope: &mut [f32]) {
        assert_eq!(x.len(), log_slope.len(), "a slope for each number");
        // SAFETY: as many of both.
        unsafe { forward(self, x.as_mut_ptr(), log_slope.as_mut_ptr(), x.len()) }
    }

    /// `z` becomes `x`, and `log_slope` is `ln dz/dx`.
    ///
    /// # Panics
    ///
    /// If there are not as many of both.
    pub fn inverse(&self, z: &mut [f32], log_slope: &mut [f32]) {
        assert_eq!(z.len(), log_slope.len(), "a slope for each number");
        // SAFETY: as many of both.
        unsafe { inverse(self, z.as_mut_ptr(), log_slope.as_mut_ptr(), z.len()) }
    }

    /// The way back through [`SplineTable::forward`] at the rows `x`: from the gradient with respect to `z`, which becomes that with
    /// respect to `x`, and to the logarithms of the slopes, one for all numbers of a row. That of the table is returned.
    ///
    /// # Panics
    ///
    /// If there are not as many of both, or rows are not whole.
    pub fn backward(&self, x: &[f32], grad: &mut [f32], of_log_slopes: &[f32]) -> SplineTableGradient {
        let (bins, each) = (self.w.len(), x.len() / of_log_slopes.len().max(1));
        let fits = x.len() == grad.len() && x.len() == each * of_log_slopes.len();
        assert!(fits, "{} gradients of {} numbers in {} rows", grad.len(), x.len(), of_log_slopes.len());
        let [widths, heights, slopes] = [bins, bins, bins + 1].map(|count| vec![0.0; count]);
        let mut gradient = SplineTableGradient { widths, heights, slopes };
        let mut of_starts = vec![[0.0; 2]; bins];
        let rows = x.chunks_exact(each.max(1)).zip(grad.chunks_exact_mut(each.max(1)));
        for ((x, grad), &of_log_slope) in rows.zip(of_log_slopes) {
            let (gradient, of_starts) = (&mut gradient, &mut of_starts[..]);
            // SAFETY: as many of both.
            unsafe { backward(&mut Back { table: self, x, grad, of_log_slope, gradient, of_starts }) }
        }
        // A bin begins where all before it end.
        let mut after = [0.0; 2];
        for bin in (0..bins).rev() {
            gradient.widths[bin] += after[0];
            gradient.heights[bin] += after[1];
            after = [after[0] + of_starts[bin][0], after[1] + of_starts[bin][1]];
        }
        gradient
    }

    /// The bins of a vector of numbers, which they are, and how far the numbers are from where they begin `along` their own axis.
    ///
    /// # Safety
    ///
    /// The processor has what `V` needs.
    #[inline(always)]
    #[allow(
        clippy::undocumented_unsafe_blocks,
        reason = "by the contract above; the arrays are as long as a vector may be"
    )]
    unsafe fn find<V: Lanes>(&self, along: &Starts, values: V) -> Found<V> {
        let mut numbers = [0.0; LINE];
        unsafe { values.store(numbers.as_mut_ptr()) }
        let mut index = [0; LINE];
        let mut columns = [[0.0; LINE]; 8];
        for i in 0..V::LANES {
            let bin = along.rounded.partition_point(|&start| start <= numbers[i]).saturating_sub(1);
            index[i] = bin;
            let (x, z) = (self.x.rounded[bin], self.z.rounded[bin]);
            let sizes = [self.w[bin], self.h[bin], self.d[bin], self.d[bin + 1]];
            let own = [x, sizes[0], z, sizes[1], sizes[2], sizes[3], along.rounded[bin], along.rest[bin]];
            for (column, own) in columns.iter_mut().zip(own) {
                column[i] = own;
            }
        }
        unsafe {
            let bin = Bin {
                x: V::load(columns[0].as_ptr()),
                w: V::load(columns[1].as_ptr()),
                z: V::load(columns[2].as_ptr()),
                h: V::load(columns[3].as_ptr()),
                d0: V::load(columns[4].as_ptr()),
                d1: V::load(columns[5].as_ptr()),
            };
            let from = values.sub(V::load(columns[6].as_ptr())).sub(V::load(columns[7].as_ptr()));
            Found { bin, index, from }
        }
    }
}

/// The bins of a vector of numbers.
struct Found<V> {
    bin: Bin<V>,
    /// Which of all they are.
    index: [usize; LINE],
    /// How far the numbers are from where these begin.
    from: V,
}

with_lanes! {
    unsafe fn forward(table: &SplineTable, x: *mut f32, log_slope: *mut f32, count: usize) = forward_by
}

with_lanes! {
    unsafe fn inverse(table: &SplineTable, z: *mut f32, log_slope: *mut f32, count: usize) = inverse_by
}

with_lanes! {
    unsafe fn backward(back: &mut Back) = backward_by
}

struct Back<'a> {
    table: &'a SplineTable,
    x: &'a [f32],
    grad: &'a mut [f32],
    of_log_slope: f32,
    gradient: &'a mut SplineTableGradient,
    /// With respect to where bins begin, along x and along z.
    of_starts: &'a mut [[f64; 2]],
}

/// # Safety
///
/// So many numbers of both are there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn forward_by<V: Lanes>(table: &SplineTable, x: *mut f32, log_slope: *mut f32, count: usize) {
    for i in (0..count).step_by(V::LANES) {
        unsafe {
            let some = V::LANES.min(count - i);
            let value = V::load_first(x.add(i), some);
            let found = table.find(&table.x, value);
            let (z, slope) = found.bin.forward(found.from);
            z.store_first(x.add(i), some);
            slope.ln().store_first(log_slope.add(i), some);
        }
    }
}

/// # Safety
///
/// As [`forward_by`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn inverse_by<V: Lanes>(table: &SplineTable, z: *mut f32, log_slope: *mut f32, count: usize) {
    for i in (0..count).step_by(V::LANES) {
        unsafe {
            let some = V::LANES.min(count - i);
            let value = V::load_first(z.add(i), some);
            let found = table.find(&table.z, value);
            let (x, slope) = found.bin.inverse(found.from);
            x.store_first(z.add(i), some);
            slope.ln().store_first(log_slope.add(i), some);
        }
    }
}

/// # Safety
///
/// There are as many gradients as numbers.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn backward_by<V: Lanes>(back: &mut Back) {
    for i in (0..back.x.len()).step_by(V::LANES) {
        let some = V::LANES.min(back.x.len() - i);
        let mut all = [[0.0; LINE]; 6];
        let index = unsafe {
            let value = V::load_first(back.x.as_ptr().add(i), some);
            let Found { bin, index, from } = back.table.find(&back.table.x, value);
            let of_z = V::load_first(back.grad.as_ptr().add(i), some);
            let of = bin.backward(from, of_z, V::splat(back.of_log_slope));
            of.value.store_first(back.grad.as_mut_ptr().add(i), some);
            of.value.store(all[0].as_mut_ptr());
            of.w.store(all[1].as_mut_ptr());
            of.z.store(all[2].as_mut_ptr());
            of.h.store(all[3].as_mut_ptr());
            of.d0.store(all[4].as_mut_ptr());
            of.d1.store(all[5].as_mut_ptr());
            index
        };
        for (lane, &bin) in index.iter().enumerate().take(some) {
            let [of_value, w, z, h, d0, d1] = [0, 1, 2, 3, 4, 5].map(|k| f64::from(all[k][lane]));
            back.of_starts[bin][0] -= of_value;
            back.of_starts[bin][1] += z;
            back.gradient.widths[bin] += w;
            back.gradient.heights[bin] += h;
            back.gradient.slopes[bin] += d0;
            back.gradient.slopes[bin + 1] += d1;
        }
    }
}
