//! Blocks of 32 by 32 numbers of a product whose factors are bf16, and these factors in the order that blocks read them.
//!
//! A step is 32 numbers deep. Of the left factor it reads 32 rows of them, of the right one 16 pairs of such rows: the numbers of both
//! side by side, column after column. Either is 2 KiB.

use std::mem::MaybeUninit;

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::instructions;
use crate::lanes::Lanes;
use crate::panels::{Line, Panels, apart};
use crate::weight::{Bf16, Weight};

/// Numbers of a block each way, and of a step.
pub(crate) const BLOCK: usize = 32;
/// Numbers of either factor in a step.
pub(crate) const STEP: usize = BLOCK * BLOCK;

/// Whether products of bf16 are computed by such blocks: where the processor has tiles for them; and, for any machine to test, where no
/// instructions are used at all. A panel is as wide as a block then.
pub(crate) fn used() -> bool {
    #[cfg(target_arch = "x86_64")]
    return amx::usable() || instructions().is_none();
    #[cfg(not(target_arch = "x86_64"))]
    instructions().is_none()
}

/// How many steps so many numbers are.
pub(crate) fn steps(depth: usize) -> usize {
    depth.div_ceil(BLOCK)
}

/// Memory of bf16, in whole lines.
pub(crate) struct Halves(Vec<MaybeUninit<Line>>);

impl Halves {
    /// So many steps of a factor, that mean nothing yet.
    pub(crate) fn empty(steps: usize) -> Self {
        let count = steps * STEP * size_of::<Bf16>() / size_of::<Line>();
        let mut lines = Vec::with_capacity(count);
        // SAFETY: the capacity is `count`, and nothing is claimed of what is there.
        unsafe { lines.set_len(count) }
        Halves(lines)
    }

    /// The same of zeros.
    pub(crate) fn zeros(steps: usize) -> Self {
        let mut halves = Halves::empty(steps);
        halves.0.fill(MaybeUninit::zeroed());
        halves
    }

    pub(crate) fn pointer(&self) -> *const Bf16 {
        self.0.as_ptr().cast()
    }

    pub(crate) fn pointer_mut(&mut self) -> *mut Bf16 {
        self.0.as_mut_ptr().cast()
    }
}

/// A block by itself, row after row.
#[repr(C, align(64))]
pub(crate) struct Sums(pub [f32; BLOCK * BLOCK]);

/// What a thread needs to multiply blocks, one at a time.
pub(crate) struct Ready {
    #[cfg(target_arch = "x86_64")]
    tiles: Option<amx::Tiles>,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Ready {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only where they are.
            tiles: amx::usable().then(|| unsafe { amx::Tiles::configured() }),
        }
    }

    /// The product of as many steps as the right factor has, to rows that are `apart` numbers apart; of none it is 0.
    ///
    /// # Safety
    ///
    /// So many steps of the left factor are there, one after the other, those of the right factor, and room for the block.
    #[inline(always)]
    pub(crate) unsafe fn multiply(&self, left: *const Bf16, right: Right, to: *mut f32, apart: usize) {
        #[cfg(target_arch = "x86_64")]
        if self.tiles.is_some() && !right.steps.is_empty() {
            // SAFETY: the same contract, there is a step, and tiles are configured.
            return unsafe { amx::multiply(left, right, to, apart) };
        }
        // SAFETY: the same contract.
        unsafe { multiply_by_one(left, right, to, apart) }
    }
}

/// Where a block finds its right factor.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub at: *const Bf16,
    /// From a pair of rows to the next, in numbers.
    pub row: usize,
    /// Where each step begins, so many bytes behind `at`.
    pub steps: &'a [isize],
}

/// So many steps, one after the other.
pub(crate) fn in_a_row(steps: usize) -> Vec<isize> {
    (0..steps).map(|step| (step * STEP * size_of::<Bf16>()) as isize).collect()
}

/// Number by number.
///
/// # Safety
///
/// That of [`Ready::multiply`].
#[cold]
#[inline(never)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn multiply_by_one(left: *const Bf16, right: Right, to: *mut f32, apart: usize) {
    for (row, column) in (0..BLOCK).flat_map(|row| (0..BLOCK).map(move |column| (row, column))) {
        let mut sum = 0.0;
        for (step, &offset) in right.steps.iter().enumerate() {
            for i in 0..BLOCK {
                unsafe {
                    let l = *left.add(step * STEP + row * BLOCK + i);
                    let r = *right.at.byte_offset(offset).add(i / 2 * right.row + 2 * column + i % 2);
                    sum += l.to_f32() * r.to_f32();
                }
            }
        }
        unsafe { *to.add(row * apart + column) = sum }
    }
}

/// The right factor of lines of `width` numbers, one after the other: pairs of them. Those that fill up a step are 0.
///
/// # Safety
///
/// So many lines are there, of whole vectors, and room for as many numbers in steps.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn pairs_of_lines<V: Lanes>(from: *const f32, lines: usize, width: usize, to: *mut Bf16) {
    for pair in 0..steps(lines) * BLOCK / 2 {
        for at in (0..width).step_by(V::LANES) {
            unsafe {
                let [mut even, mut odd] = [V::splat(0.0); 2];
                if 2 * pair < lines {
                    even = V::load(from.add(2 * pair * width + at));
                }
                if 2 * pair + 1 < lines {
                    odd = V::load(from.add((2 * pair + 1) * width + at));
                }
                V::bf16_pairs(even, odd).store(to.add(2 * (pair * width + at)).cast());
            }
        }
    }
}

/// The right factor of lines turned: pairs of the first `count` numbers of each, whose first ones are `width` apart. Of each 32 lines these
/// are steps one after the other, up to the `pairs`-th pair; what fills them up is 0.
///
/// # Safety
///
/// So many numbers of so many lines are there, and room for so many pairs, whole steps, of all lines in steps.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn pairs_across_lines<V: Lanes>(
    (from, width): (*const f32, usize),
    (lines, count): (usize, usize),
    (to, pairs): (*mut Bf16, usize),
    apart: usize,
) {
    for first in (0..steps(lines) * BLOCK).step_by(V::LANES) {
        let there = lines.saturating_sub(first).min(V::LANES);
        for at in (0..2 * pairs).step_by(2 * V::LANES) {
            unsafe {
                // Two numbers are as wide as one was.
                let mut square = V::zeros();
                for (i, line) in square.as_mut().iter_mut().enumerate().take(there) {
                    let from = from.add((first + i) * width);
                    *line = V::bf16(some(from, at, count), some(from, at + V::LANES, count));
                }
                let to = to.add(first / BLOCK * apart + 2 * (at / 2 * BLOCK + first % BLOCK));
                for (i, pair) in V::transposed(square).as_ref().iter().enumerate() {
                    pair.store(to.add(2 * i * BLOCK).cast());
                }
            }
        }
    }
}

/// The left factor of 32 rows of a weight, from the `first` on; those that are not there are 0.
///
/// # Safety
///
/// There is room for the [`steps`] of its columns.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn rows<V: Lanes>(weight: Weight, first: usize, to: *mut Bf16) {
    let inputs = weight.inputs();
    for row in 0..BLOCK {
        let there = first + row < weight.outputs();
        for (step, input) in (0..inputs).step_by(BLOCK).enumerate() {
            let count = if there { BLOCK.min(inputs - input) } else { 0 };
            unsafe {
                let from = weight.pointer().wrapping_add((first + row) * inputs + input);
                store_line::<V>(from, count, to.add(step * STEP + row * BLOCK));
            }
        }
    }
}

/// The first `count` numbers of a line of bf16, and zeros.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `rows`")]
unsafe fn store_line<V: Lanes>(from: *const f32, count: usize, to: *mut Bf16) {
    for side in (0..BLOCK).step_by(2 * V::LANES) {
        unsafe {
            let (low, high) = (some::<V>(from, side, count), some::<V>(from, side + V::LANES, count));
            V::bf16(low, high).store(to.add(side).cast());
        }
    }
}

/// A vector of numbers from the `at`-th on, and zeros from the `count`-th on.
///
/// # Safety
///
/// `count` numbers are there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `rows`")]
pub(crate) unsafe fn some<V: Lanes>(from: *const f32, at: usize, count: usize) -> V {
    unsafe {
        match count.saturating_sub(at).min(V::LANES) {
            all if all == V::LANES => V::load(from.add(at)),
            0 => V::splat(0.0),
            some => V::load_first(from.add(at), some),
        }
    }
}

/// The left factor of 32 columns of a weight, from the `first` on; those that are not there are 0.
///
/// # Safety
///
/// There is room for the [`steps`] of its rows.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn columns<V: Lanes>(weight: Weight, first: usize, to: *mut Bf16) {
    for (step, output) in (0..weight.outputs()).step_by(BLOCK).enumerate() {
        for across in (0..BLOCK).step_by(V::LANES) {
            let input = first + across;
            for down in (0..BLOCK).step_by(2 * V::LANES) {
                unsafe {
                    let square = pairs::<V>(weight, output + down, input);
                    for (i, pairs) in square.as_ref().iter().enumerate() {
                        pairs.store(to.add(step * STEP + (across + i) * BLOCK + down).cast());
                    }
                }
            }
        }
    }
}

/// As many columns of a weight as a vector has numbers, from these on: of each, pairs of its rows, as many. What is not there is 0.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `columns`")]
unsafe fn pairs<V: Lanes>(weight: Weight, output: usize, input: usize) -> V::Square {
    let (outputs, inputs) = (weight.outputs(), weight.inputs());
    let count = inputs.saturating_sub(input).min(V::LANES);
    unsafe {
        // Two rows are as wide as a number.
        let mut pairs = V::zeros();
        for (output, pair) in (output..outputs).step_by(2).zip(pairs.as_mut()) {
            let from = weight.pointer().wrapping_add(output * inputs + input);
            let odd = if output + 1 < outputs { some::<V>(from.wrapping_add(inputs), 0, count) } else { V::splat(0.0) };
            *pair = V::bf16_pairs(some::<V>(from, 0, count), odd);
        }
        V::transposed(pairs)
    }
}

/// The left factor of 32 columns of panels turned, from the `first` on, a step a panel, and the sum of each before it was rounded.
///
/// # Safety
///
/// Panels are as wide as a block, and all of them written; there is room for so many steps.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn columns_of_panels<V: Lanes>(panels: &Panels, first: usize, to: *mut Bf16) -> [f32; BLOCK] {
    let columns = panels.columns();
    let mut sums = unsafe { [V::splat(0.0); BLOCK] };
    for panel in 0..panels.panels() {
        for (i, sum) in sums.iter_mut().enumerate() {
            for side in (0..BLOCK).step_by(2 * V::LANES) {
                unsafe {
                    let from = panels.pointer().wrapping_add(panel * apart::<V>(columns) + (first + i) * BLOCK + side);
                    let both = match first + i < columns {
                        true => [V::load(from), V::load(from.add(V::LANES))],
                        false => [V::splat(0.0); 2],
                    };
                    *sum = sum.add(both[0].add(both[1]));
                    V::bf16(both[0], both[1]).store(to.add(panel * STEP + i * BLOCK + side).cast());
                }
            }
        }
    }
    let mut whole = [0.0; BLOCK];
    for (whole, sum) in whole.iter_mut().zip(sums) {
        *whole = unsafe { sum.sum() };
    }
    whole
}
