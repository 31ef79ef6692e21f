//! Convolutions, and the gradients of their filters, by blocks whose factors are rounded to bf16.
//!
//! A step of a convolution is 32 channels of one tap. Of the right factor it reads pairs of channels where they lie, at the places that the
//! tap looks at; a table says where each step begins.

use crate::bf16::{self, BLOCK, Halves, Left, Ready, Right, STEP, Soon, Sums, To};
use crate::convolution::{Shape, Work, finish, offsets};
use crate::factors;
use crate::lanes::{Lanes, with_lanes};
use crate::planes::Planes;
use crate::weight::Bf16;

/// What is convolved, in bf16.
pub(crate) struct Pairs {
    /// A plane for every two channels, both numbers of each place side by side; zeros in place of channels that fill up a step.
    numbers: Halves,
    /// From the first number of a plane to its first place, in places.
    front: usize,
    /// From a plane to the next, in places.
    plane: usize,
    /// How many steps its channels are.
    steps: usize,
}

impl Pairs {
    pub(crate) fn of(x: &Planes) -> Self {
        let (plane, steps) = (x.images().plane(), bf16::steps(x.channels()));
        // 32 places are as much as a step of a product's right factor.
        let mut numbers = Halves::empty((steps * plane).div_ceil(BLOCK));
        // SAFETY: there is room for sixteen planes of pairs for each step.
        unsafe { lay_out(x, numbers.pointer_mut()) }
        Pairs { numbers, front: x.images().front(), plane, steps }
    }
}

with_lanes! {
    unsafe fn lay_out(x: &Planes, to: *mut Bf16) = lay_out_by
}

/// # Safety
///
/// There is room for half as many planes as there are, and those that fill up a step.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
unsafe fn lay_out_by<V: Lanes>(x: &Planes, to: *mut Bf16) {
    let to = To { at: to, part: 0 };
    unsafe { factors::pairs_of_lines::<V, 1>(x.plane(0), x.channels(), x.images().plane(), to) }
}

/// The left factors of filters: of each 32 channels that come out the steps of all channels that go in, tap after tap.
///
/// # Safety
///
/// There are as many filters as the shape says.
unsafe fn lay_out_filters(filters: *const f32, shape: Shape, taps: usize) -> Halves {
    let (strips, steps) = (bf16::steps(shape.outputs), bf16::steps(shape.depth));
    let mut left = Halves::zeros(strips * steps * taps);
    for output in 0..shape.outputs {
        for input in 0..shape.depth {
            let step = (output / BLOCK * steps + input / BLOCK) * taps;
            let within = output % BLOCK * BLOCK + input % BLOCK;
            for tap in 0..taps {
                // SAFETY: by the contract, and there is room for each.
                unsafe {
                    let number = *filters.add(output * shape.row + input * shape.channel + tap);
                    *left.pointer_mut().add((step + tap) * STEP + within) = Bf16::nearest(number);
                }
            }
        }
    }
    left
}

/// The convolution of `x`, whose planes are those that `work` speaks of.
///
/// # Safety
///
/// The pointers in `work` are to as many numbers as its sizes say, and nobody else writes what it writes.
pub(crate) unsafe fn convolve(work: &Work, taps: usize, x: &Pairs) {
    // SAFETY: the same contract.
    let left = unsafe { lay_out_filters(work.filters, work.shape, taps) };
    let bytes = |places: isize| places * 2 * size_of::<Bf16>() as isize;
    let of = |step| (0..taps).map(move |tap| bytes((step * BLOCK / 2 * x.plane) as isize + work.taps[tap]));
    let table: Vec<isize> = (0..x.steps).flat_map(of).collect();
    // SAFETY: the same contract.
    unsafe { run(work, &left, x, &table) }
}

with_lanes! {
    unsafe fn run(work: &Work, left: &Halves, x: &Pairs, table: &[isize]) = run_by
}

/// # Safety
///
/// That of [`convolve`]; the table says where each step of the left factor reads.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn run_by<V: Lanes>(work: &Work, left: &Halves, x: &Pairs, table: &[isize]) {
    let (ready, mut sums) = (Ready::new(), Sums([0.0; BLOCK * BLOCK]));
    for place in (0..work.places).step_by(BLOCK) {
        for first in (0..work.shape.outputs).step_by(BLOCK) {
            unsafe {
                let left = Left { at: left.pointer().add(first / BLOCK * table.len() * STEP), part: 0 };
                let right = x.numbers.pointer().add(2 * (x.front + place));
                let right = Right { at: right, part: 0, row: 2 * x.plane, steps: table };
                ready.multiply::<1>(left, right, sums.0.as_mut_ptr(), BLOCK, Soon::NOTHING);
                for channel in first..work.shape.outputs.min(first + BLOCK) {
                    for across in (0..BLOCK).step_by(V::ACROSS) {
                        let from = sums.0.as_ptr().add((channel - first) * BLOCK + across);
                        finish([[V::load(from), V::load(from.add(V::LANES))]], work, channel, place + across);
                    }
                }
            }
        }
    }
}

/// The gradient `[outputs, inputs, k, k]` of filters with so many taps.
pub(crate) fn filter_gradient(grad: &Planes, x: &Planes, taps: usize) -> Vec<f32> {
    let (images, outputs, inputs) = (x.images(), grad.channels(), x.channels());
    let mut out = vec![0.0; outputs * inputs * taps];
    let steps = images.places() / BLOCK;
    if steps == 0 {
        return out;
    }
    // A single tap looks where places begin, which is a multiple of a line from the beginning of a plane.
    let beginnings = if taps == 1 { 0..=0 } else { 0..=1 };
    let pairs: Vec<_> = beginnings.map(|first| PairsOfPlaces::of(x, first)).collect();
    let (mut left, steps) = (Halves::empty(steps), bf16::in_a_row(steps));
    let (ready, mut sums) = (Ready::new(), Sums([0.0; BLOCK * BLOCK]));
    let offsets = offsets(images.row(), taps);
    for first in (0..outputs).step_by(BLOCK) {
        // SAFETY: there is room for all places of 32 channels.
        unsafe { lay_out_places(grad, first, left.pointer_mut()) }
        let all = (0..inputs).step_by(BLOCK).flat_map(|input| (0..taps).map(move |tap| (input, tap)));
        for (input, tap) in all {
            let from = (images.front() as isize + offsets[tap]) as usize;
            // SAFETY: planes have zeros in front and behind, as far as any tap looks.
            unsafe {
                let at = pairs[from % 2].at(input, from);
                let left = Left { at: left.pointer(), part: 0 };
                let right = Right { at, part: 0, row: 2 * BLOCK, steps: &steps };
                ready.multiply::<1>(left, right, sums.0.as_mut_ptr(), BLOCK, Soon::NOTHING);
            }
            for (o, row) in (first..outputs).zip(sums.0.chunks_exact(BLOCK)) {
                (input..inputs).zip(row).for_each(|(i, sum)| out[(o * inputs + i) * taps + tap] = *sum);
            }
        }
    }
    out
}

/// Pairs of neighbouring places of planes, `[channels / 32, pairs, 32]`, of which the first begins with place 0 or 1 of a whole plane.
struct PairsOfPlaces {
    numbers: Halves,
    first: usize,
    /// Pairs of a plane.
    pairs: usize,
}

impl PairsOfPlaces {
    fn of(x: &Planes, first: usize) -> Self {
        let plane = x.images().plane();
        let pairs = plane.next_multiple_of(BLOCK) / 2;
        let mut numbers = Halves::empty(bf16::steps(x.channels()) * pairs / (BLOCK / 2));
        // SAFETY: there is room for so many pairs of all channels.
        unsafe { lay_out_pairs(x, first, numbers.pointer_mut(), pairs) }
        PairsOfPlaces { numbers, first, pairs }
    }

    /// Those of 32 channels from this place of a whole plane on.
    ///
    /// # Safety
    ///
    /// It is the first place of one.
    unsafe fn at(&self, channel: usize, place: usize) -> *const Bf16 {
        let pair = channel / BLOCK * self.pairs + (place - self.first) / 2;
        // SAFETY: by the contract.
        unsafe { self.numbers.pointer().add(pair * 2 * BLOCK) }
    }
}

with_lanes! {
    unsafe fn lay_out_pairs(x: &Planes, first: usize, to: *mut Bf16, pairs: usize) = lay_out_pairs_by
}

/// # Safety
///
/// There is room for so many pairs of all channels.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn lay_out_pairs_by<V: Lanes>(x: &Planes, first: usize, to: *mut Bf16, pairs: usize) {
    let plane = x.images().plane();
    unsafe {
        let from = x.plane(0).add(first);
        let to = To { at: to, part: 0 };
        factors::pairs_across_lines::<V, 1>(
            (from, plane),
            (x.channels(), plane - first),
            (to, pairs),
            2 * BLOCK * pairs,
        );
    }
}

with_lanes! {
    unsafe fn lay_out_places(grad: &Planes, first: usize, to: *mut Bf16) = lay_out_places_by
}

/// The left factor of 32 channels from the `first` on, a step for 32 places; those that are not there are 0.
///
/// # Safety
///
/// There is room for so many steps.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn lay_out_places_by<V: Lanes>(grad: &Planes, first: usize, to: *mut Bf16) {
    let images = grad.images();
    for i in 0..BLOCK {
        let there = first + i < grad.channels();
        for place in (0..images.places()).step_by(2 * V::LANES) {
            unsafe {
                let [mut low, mut high] = [V::splat(0.0); 2];
                if there {
                    let from = grad.plane(first + i).add(images.front() + place);
                    (low, high) = (V::load(from), V::load(from.add(V::LANES)));
                }
                let to = to.add(place / BLOCK * STEP + i * BLOCK + place % BLOCK);
                factors::store::<V, 1>(low, high, To { at: to, part: 0 });
            }
        }
    }
}
