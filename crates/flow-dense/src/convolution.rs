//! Convolutions of planes, there and back, with all that follows them while a tile is in registers.

use std::ops::Range;

use crate::bf16;
use crate::forward::{Slope, below};
use crate::lanes::{LINE, Lanes, with_lanes};
use crate::planes::Planes;
use crate::planes_rounded::{self, Pairs};
use crate::rounded::{Rounding, rounded_numbers};
use crate::tile::{Tile, by_rows, tiles};

/// The weight of a convolution, `[outputs, inputs, k, k]` with `k` 1 or 3, one number after the other.
#[derive(Clone, Copy, Debug)]
pub struct Filters<'a> {
    numbers: &'a [f32],
    outputs: usize,
    inputs: usize,
    taps: usize,
}

impl<'a> Filters<'a> {
    /// Of so many outputs and inputs, with 1 or 9 taps.
    ///
    /// # Panics
    ///
    /// If there are not so many numbers, or another number of taps.
    pub fn new(numbers: &'a [f32], (outputs, inputs): (usize, usize), taps: usize) -> Self {
        let count = outputs.checked_mul(inputs).and_then(|pairs| pairs.checked_mul(taps));
        let fits = (taps == 1 || taps == 9) && count == Some(numbers.len());
        assert!(fits, "{} numbers for {outputs} filters of {inputs} channels of {taps} taps", numbers.len());
        Filters { numbers, outputs, inputs, taps }
    }

    /// Number of taps, 1 or 9.
    pub fn taps(&self) -> usize {
        self.taps
    }

    /// Number of channels that go in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of channels that come out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// What is done with the sum of a convolution, in this order, each step where it is asked for.
#[derive(Default)]
pub struct ThenPlanes<'a> {
    /// Plus this, one number a channel.
    pub bias: Option<&'a [f32]>,
    /// Times the derivative of the activation of this slope, whose result this was.
    pub derivative: Option<(&'a Planes, Slope)>,
    /// Plus this.
    pub sum: Option<&'a Planes>,
    /// What there is now is kept here.
    pub before_activation: Option<&'a mut Option<Planes>>,
    /// `max(y, slope y)`.
    pub activation: Option<Slope>,
    /// How factors are rounded before all that.
    pub rounding: Rounding,
}

/// The convolution of `x` by `filters`, padded with zeros to its size (a cross-correlation, as everywhere in libtorch), and
/// what follows; on this thread.
///
/// # Panics
///
/// If sizes do not go together.
pub fn convolve(filters: Filters, x: &Planes, then: ThenPlanes) -> Planes {
    assert_eq!(x.channels(), filters.inputs, "channels that filters are for");
    let taps = filters.taps;
    let shape =
        Shape { outputs: filters.outputs, depth: filters.inputs, row: filters.inputs * taps, channel: taps, ahead: 1 };
    run_with(filters, shape, x, then)
}

/// The gradient with respect to a convolution's input from that of its output, and what follows; on this thread.
///
/// # Panics
///
/// If sizes do not go together.
pub fn convolve_back(filters: Filters, grad: &Planes, then: ThenPlanes) -> Planes {
    assert_eq!(grad.channels(), filters.outputs, "channels that filters give");
    let taps = filters.taps;
    let shape =
        Shape { outputs: filters.inputs, depth: filters.outputs, row: taps, channel: filters.inputs * taps, ahead: -1 };
    run_with(filters, shape, grad, then)
}

/// How filters are read: a row of a tile, a channel of the sum, and to which side a tap looks.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub outputs: usize,
    pub depth: usize,
    pub row: usize,
    pub channel: usize,
    ahead: isize,
}

impl Shape {
    /// The `i`-th of so many taps in the order of the places that they read.
    fn ascending(self, i: usize, taps: usize) -> usize {
        if self.ahead < 0 { taps - 1 - i } else { i }
    }
}

/// Where a tap reads, from the place that is written.
pub(crate) fn offsets(row: usize, taps: usize) -> [isize; 9] {
    let mut offsets = [0; 9];
    if taps == 9 {
        let around = |i: usize| i as isize - 1;
        (0..9).for_each(|tap| offsets[tap] = around(tap / 3) * row as isize + around(tap % 3));
    }
    offsets
}

fn run_with(filters: Filters, shape: Shape, x: &Planes, then: ThenPlanes) -> Planes {
    if then.rounding == Rounding::Bf16 && !bf16::used() {
        let numbers = rounded_numbers(filters.numbers, 1);
        let then = ThenPlanes { rounding: Rounding::None, ..then };
        return run_with(Filters { numbers: &numbers, ..filters }, shape, &x.rounded(), then);
    }
    let fits = |p: &Planes| (p.images(), p.channels()) == (x.images(), shape.outputs);
    for other in [then.derivative.map(|(planes, _)| planes), then.sum] {
        assert!(other.is_none_or(fits), "planes of {} channels", shape.outputs);
    }
    assert!(then.bias.is_none_or(|bias| bias.len() == shape.outputs), "a bias for {} channels", shape.outputs);
    let mut out = x.alike(shape.outputs);
    let mut before = then.before_activation.is_some().then(|| x.alike(shape.outputs));
    let end = End {
        mask: x.mask(),
        bias: then.bias,
        derivative: then.derivative.map(|(planes, slope)| (planes.pointer(), slope)),
        sum: then.sum.map(Planes::pointer),
        before: before.as_mut().map(Planes::pointer_mut),
        activation: then.activation,
        out: out.pointer_mut(),
    };
    let taps = offsets(x.images().row(), filters.taps).map(|offset| offset * shape.ahead);
    let work = Work {
        filters: filters.numbers.as_ptr(),
        shape,
        taps,
        x: x.pointer(),
        plane: x.images().plane(),
        places: x.images().places(),
        end,
    };
    // SAFETY: sizes were compared above, and nobody else has what is written.
    unsafe {
        match (then.rounding, filters.taps) {
            (Rounding::Bf16, taps) => planes_rounded::convolve(&work, taps, &Pairs::of(x)),
            (_, 1) => run_1(&work),
            (_, _) => run_9(&work),
        }
    }
    if let Some(kept) = then.before_activation {
        *kept = before;
    }
    out
}

pub(crate) struct Work<'a> {
    pub filters: *const f32,
    pub shape: Shape,
    /// Where each tap reads, from the place that is written.
    pub taps: [isize; 9],
    x: *const f32,
    plane: usize,
    pub places: usize,
    end: End<'a>,
}

/// [`ThenPlanes`] by pointers, and where the result goes.
struct End<'a> {
    mask: &'a [u16],
    bias: Option<&'a [f32]>,
    derivative: Option<(*const f32, Slope)>,
    sum: Option<*const f32>,
    before: Option<*mut f32>,
    activation: Option<Slope>,
    out: *mut f32,
}

with_lanes! {
    unsafe fn run_1(work: &Work) = run_1_by
}

with_lanes! {
    unsafe fn run_9(work: &Work) = run_9_by
}

/// # Safety
///
/// The pointers in `work` are to as many numbers as its sizes say, and nobody else writes what it writes.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "the same contract")]
unsafe fn run_1_by<V: Lanes>(work: &Work) {
    unsafe { run_by::<V, 1>(work) }
}

/// # Safety
///
/// As [`run_1_by`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "the same contract")]
unsafe fn run_9_by<V: Lanes>(work: &Work) {
    unsafe { run_by::<V, 9>(work) }
}

/// # Safety
///
/// As [`run_1_by`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "the same contract")]
unsafe fn run_by<V: Lanes, const TAPS: usize>(work: &Work) {
    let all = || tiles::<V>(work.shape.outputs, 0..work.shape.outputs.div_ceil(V::ROWS));
    if V::REGISTERS >= 32 {
        for (channel, count) in all() {
            unsafe { by_rows!(count, tile_row::<V, TAPS>(work, None, channel, 0..work.places)) }
        }
        return;
    }
    let copied = Copied::new(work, TAPS);
    let filters: Vec<Vec<f32>> =
        all().map(|(channel, count)| unsafe { copied.filters(work, channel, count, V::LANES) }).collect();
    let some = (CACHED / work.shape.depth.max(1)).max(1).next_multiple_of(LINE * 4);
    for start in (0..work.places).step_by(some) {
        let places = start..work.places.min(start + some);
        for ((channel, count), filters) in all().zip(&filters) {
            let copied = Some((&copied.offsets[..], &filters[..]));
            unsafe { by_rows!(count, tile_row::<V, TAPS>(work, copied, channel, places.clone())) }
        }
    }
}

/// Numbers that go in which all channels that come out are computed of before the next.
const CACHED: usize = 1 << 14;

/// Where there are few registers filters are copied into the order in which they are read: else there are more places to be kept in
/// mind than registers. Places are read in ascending order: in descending order the way back took half as long again.
struct Copied {
    /// Where each row of taps reads, from the place that is written; a single tap is a row.
    offsets: Vec<isize>,
    taps: usize,
}

impl Copied {
    fn new(work: &Work, taps: usize) -> Self {
        let (shape, rows) = (work.shape, taps.isqrt());
        let first = |row| work.taps[shape.ascending(row * rows, taps)];
        let of = |channel| (0..rows).map(move |row| first(row) + (channel * work.plane) as isize);
        Copied { offsets: (0..shape.depth).flat_map(of).collect(), taps }
    }

    /// Those of `count` channels that come out, from this one on: `[channels that go in, taps, width]`.
    ///
    /// # Safety
    ///
    /// There are so many.
    #[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
    unsafe fn filters(&self, work: &Work, channel: usize, count: usize, width: usize) -> Vec<f32> {
        let Shape { depth, row, channel: step, .. } = work.shape;
        let mut filters = vec![0.0; depth * self.taps * width];
        for (input, to) in filters.chunks_exact_mut(self.taps * width).enumerate() {
            for (i, to) in to.chunks_exact_mut(width).enumerate() {
                let at = channel * row + input * step + work.shape.ascending(i, self.taps);
                to[..count].iter_mut().enumerate().for_each(|(r, to)| *to = unsafe { *work.filters.add(at + r * row) });
            }
        }
        filters
    }
}

/// `R` channels of these places.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_1_by`")]
unsafe fn tile_row<V: Lanes, const R: usize, const TAPS: usize>(
    work: &Work,
    copied: Option<(&[isize], &[f32])>,
    channel: usize,
    places: Range<usize>,
) {
    for place in places.step_by(V::ACROSS) {
        unsafe {
            let at = channel * work.plane + place;
            for r in 0..R {
                let to = work.end.out.add(at + r * work.plane);
                V::prefetch_to_write(to);
                V::prefetch_to_write(to.add(V::LANES));
            }
            let x = work.x.add(place);
            let tile = match copied {
                Some((offsets, filters)) if TAPS == 9 => sum_copied::<V, R, 3>(offsets, filters, x),
                Some((offsets, filters)) => sum_copied::<V, R, 1>(offsets, filters, x),
                None => sum::<V, R, TAPS>(work, channel, x),
            };
            finish(tile, work, channel, place);
        }
    }
}

/// The sum for the places from `x` on, of filters that were copied, rows of `ROW` taps.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_1_by`")]
unsafe fn sum_copied<V: Lanes, const R: usize, const ROW: usize>(
    offsets: &[isize],
    filters: &[f32],
    x: *const f32,
) -> Tile<V, R> {
    unsafe {
        let mut tile: Tile<V, R> = [[V::splat(0.0); 2]; R];
        let mut left = filters.as_ptr();
        for &offset in offsets {
            for tap in 0..ROW {
                let line = x.wrapping_offset(offset).wrapping_add(tap);
                let (first, second) = (V::load(line), V::load(line.wrapping_add(V::LANES)));
                for (r, [low, high]) in tile.iter_mut().enumerate() {
                    let all = V::splat(*left.add(tap * V::LANES + r));
                    *low = all.mul_add(first, *low);
                    *high = all.mul_add(second, *high);
                }
            }
            left = left.wrapping_add(ROW * V::LANES);
        }
        tile
    }
}

/// The sum for the places from `x` on, of filters where they lie.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_1_by`")]
unsafe fn sum<V: Lanes, const R: usize, const TAPS: usize>(
    work: &Work,
    channel: usize,
    mut x: *const f32,
) -> Tile<V, R> {
    let Shape { depth, row, channel: step, .. } = work.shape;
    unsafe {
        let mut tile: Tile<V, R> = [[V::splat(0.0); 2]; R];
        let mut left = work.filters.add(channel * row);
        for _ in 0..depth {
            for tap in 0..TAPS {
                let line = x.wrapping_offset(work.taps[tap]);
                let (first, second) = (V::load(line), V::load(line.wrapping_add(V::LANES)));
                for (r, [low, high]) in tile.iter_mut().enumerate() {
                    let all = V::splat(*left.add(r * row + tap));
                    *low = all.mul_add(first, *low);
                    *high = all.mul_add(second, *high);
                }
            }
            left = left.wrapping_add(step);
            x = x.wrapping_add(work.plane);
        }
        tile
    }
}

/// All that follows the sum.
///
/// # Safety
///
/// As [`run_1_by`], of these channels and places.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_1_by`")]
pub(crate) unsafe fn finish<V: Lanes, const R: usize>(tile: Tile<V, R>, work: &Work, channel: usize, place: usize) {
    let end = &work.end;
    // The lowest bit is that of the vector's first number.
    let masks = [place, place + V::LANES].map(|at| end.mask[at / LINE] >> (at % LINE));
    unsafe {
        for (r, row) in tile.into_iter().enumerate() {
            for (half, mut y) in row.into_iter().enumerate() {
                let at = (channel + r) * work.plane + place + half * V::LANES;
                if let Some(bias) = end.bias {
                    y = y.add(V::splat(*bias.get_unchecked(channel + r)));
                }
                if let Some((result, slope)) = end.derivative {
                    y = y.where_positive(V::load(result.add(at)), below(y, slope));
                }
                if let Some(sum) = end.sum {
                    y = y.add(V::load(sum.add(at)));
                }
                y = y.masked(masks[half]);
                if let Some(before) = end.before {
                    y.store(before.add(at));
                }
                if let Some(slope) = end.activation {
                    // What is not a number stays so.
                    y = below(y, slope).max_or(y);
                }
                y.store(end.out.add(at));
            }
        }
    }
}
