//! Blocks of 32 by 32 numbers of a product whose factors are bf16, and these factors in the order that blocks read them.
//!
//! A step is 32 numbers deep. Of the left factor it reads 32 rows of them, of the right one 16 pairs of such rows: the numbers of both
//! side by side, column after column. Either is 2 KiB.
//!
//! A factor of f32 is one of bf16 where it is rounded, or three whose sum it is ([`Lanes::parts`]). Each is the nearest to what those before
//! leave, at most 2⁻⁸ of the one before, and of the nine products of parts the three smallest are left out, which are at most 2⁻²³ of the
//! product, the last bit of an f32, and mostly far less.

use std::mem::MaybeUninit;

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::instructions;
use crate::lanes::Lanes;
use crate::panels::{Line, Panels, apart};
use crate::pool::share;
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

    /// Numbers from one of so many parts to the next.
    pub(crate) fn part(&self, parts: usize) -> usize {
        self.0.len() * (size_of::<Line>() / size_of::<Bf16>()) / parts
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

/// Where a factor is laid out: its first part, and how many numbers further the next ones are.
#[derive(Clone, Copy)]
pub(crate) struct To {
    pub at: *mut Bf16,
    pub part: usize,
}

impl To {
    /// So many numbers further.
    #[inline(always)]
    pub(crate) unsafe fn add(self, numbers: usize) -> Self {
        // SAFETY: by the caller's contract there is so much room.
        To { at: unsafe { self.at.add(numbers) }, ..self }
    }
}

/// The left factor of a block, a step after the other, and how many numbers further each next part is.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub at: *const Bf16,
    pub part: usize,
}

/// Where a block finds its right factor.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub at: *const Bf16,
    /// From a part to the next, in numbers.
    pub part: usize,
    /// From a pair of rows to the next, in numbers.
    pub row: usize,
    /// Where each step begins, so many bytes behind `at`.
    pub steps: &'a [isize],
}

/// What will be wanted soon, and is asked for while a block is multiplied: from a place on `count` times two lines, `apart` numbers from one
/// time to the next.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "asked for by AMX's loops alone"))]
pub(crate) struct Soon {
    pub at: *const f32,
    pub apart: usize,
    pub count: usize,
    /// It will be changed, not only read.
    pub to_write: bool,
}

impl Soon {
    pub(crate) const NOTHING: Soon = Soon { at: std::ptr::null(), apart: 0, count: 0, to_write: false };

    /// The `i`-th of so many shares.
    pub(crate) fn share(self, i: usize, shares: usize) -> Soon {
        let own = share(self.count, i, shares);
        Soon { at: self.at.wrapping_add(own.start * self.apart), count: own.len(), ..self }
    }
}

/// Which part of the left factor goes with which of the right one, the largest products last, so that sums are rounded no more often at
/// their full size than those of f32.
const PAIRS: [(usize, usize); 6] = [(2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0)];

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

    /// The product of as many steps as the right factor has, of 1 or 3 parts, to rows that are `apart` numbers apart; of none it is 0. What
    /// is wanted soon is asked for meanwhile.
    ///
    /// # Safety
    ///
    /// So many steps of the left factor are there, those of the right factor, and room for the block.
    #[inline(always)]
    pub(crate) unsafe fn multiply<const PARTS: usize>(
        &self,
        left: Left,
        right: Right,
        to: *mut f32,
        apart: usize,
        soon: Soon,
    ) {
        #[cfg(target_arch = "x86_64")]
        if self.tiles.is_some() && !right.steps.is_empty() {
            // SAFETY: the same contract, there is a step, and tiles are configured.
            return unsafe { amx::multiply::<PARTS>(left, right, to, apart, soon) };
        }
        let _ = soon;
        let pairs = if PARTS == 1 { &[(0, 0)][..] } else { &PAIRS };
        // SAFETY: the same contract.
        unsafe { multiply_by_one(left, right, pairs, to, apart) }
    }
}

/// So many steps, one after the other.
pub(crate) fn in_a_row(steps: usize) -> Vec<isize> {
    (0..steps).map(|step| (step * STEP * size_of::<Bf16>()) as isize).collect()
}

/// Number by number, of these pairs of parts.
///
/// # Safety
///
/// That of [`Ready::multiply`].
#[cold]
#[inline(never)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn multiply_by_one(left: Left, right: Right, pairs: &[(usize, usize)], to: *mut f32, apart: usize) {
    for (row, column) in (0..BLOCK).flat_map(|row| (0..BLOCK).map(move |column| (row, column))) {
        let mut sum = 0.0;
        for &(of_left, of_right) in pairs {
            for (step, &offset) in right.steps.iter().enumerate() {
                for i in 0..BLOCK {
                    unsafe {
                        let l = *left.at.add(of_left * left.part + step * STEP + row * BLOCK + i);
                        let r = right.at.add(of_right * right.part).byte_offset(offset);
                        sum += l.to_f32() * (*r.add(i / 2 * right.row + 2 * column + i % 2)).to_f32();
                    }
                }
            }
        }
        unsafe { *to.add(row * apart + column) = sum }
    }
}

/// Computes again by `number(row, column)` what is not a number in a block: parts of an infinite number are none, where products of f32 may
/// be infinite, or 0 behind an activation.
///
/// # Safety
///
/// The block is there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn again_if_none<V: Lanes>(to: *mut f32, apart: usize, number: impl Fn(usize, usize) -> f32) {
    let mut none = false;
    for row in 0..BLOCK {
        for column in (0..BLOCK).step_by(V::LANES) {
            none |= unsafe { V::load(to.add(row * apart + column)).some_is_none() };
        }
    }
    if none {
        unsafe { again(to, apart, number) }
    }
}

/// # Safety
///
/// As above.
#[cold]
#[inline(never)]
unsafe fn again(to: *mut f32, apart: usize, number: impl Fn(usize, usize) -> f32) {
    for (row, column) in (0..BLOCK).flat_map(|row| (0..BLOCK).map(move |column| (row, column))) {
        // SAFETY: by the contract.
        let sum = unsafe { &mut *to.add(row * apart + column) };
        if sum.is_nan() {
            *sum = number(row, column);
        }
    }
}

/// The parts of numbers that a factor of so many has.
#[inline(always)]
unsafe fn parts<V: Lanes, const PARTS: usize>(x: V) -> [V; PARTS] {
    // SAFETY: by the contract of `Lanes`.
    unsafe {
        let mut parts = [x; PARTS];
        match PARTS {
            1 => parts[0] = x.rounded(),
            _ => parts.copy_from_slice(&x.parts()),
        }
        parts
    }
}

/// Both vectors' numbers to `to`, one after the other.
///
/// # Safety
///
/// There is room for them.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
pub(crate) unsafe fn store<V: Lanes, const PARTS: usize>(low: V, high: V, to: To) {
    unsafe {
        let (low, high) = (parts::<V, PARTS>(low), parts::<V, PARTS>(high));
        for part in 0..PARTS {
            V::upper_halves(low[part], high[part]).store(to.at.add(part * to.part).cast());
        }
    }
}

/// The right factor of lines of `width` numbers, one after the other: pairs of them. Those that fill up a step are 0.
///
/// # Safety
///
/// So many lines are there, of whole vectors, and room for as many numbers in steps.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn pairs_of_lines<V: Lanes, const PARTS: usize>(
    from: *const f32,
    lines: usize,
    width: usize,
    to: To,
) {
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
                let to = to.add(2 * (pair * width + at));
                let (even, odd) = (parts::<V, PARTS>(even), parts::<V, PARTS>(odd));
                for part in 0..PARTS {
                    V::upper_pairs(even[part], odd[part]).store(to.at.add(part * to.part).cast());
                }
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
pub(crate) unsafe fn pairs_across_lines<V: Lanes, const PARTS: usize>(
    (from, width): (*const f32, usize),
    (lines, count): (usize, usize),
    (to, pairs): (To, usize),
    apart: usize,
) {
    for first in (0..steps(lines) * BLOCK).step_by(V::LANES) {
        let there = lines.saturating_sub(first).min(V::LANES);
        for at in (0..2 * pairs).step_by(2 * V::LANES) {
            unsafe {
                // Two numbers are as wide as one was.
                let mut squares = [V::zeros(); PARTS];
                for i in 0..there {
                    let from = from.add((first + i) * width);
                    let low = parts::<V, PARTS>(some(from, at, count));
                    let high = parts::<V, PARTS>(some(from, at + V::LANES, count));
                    for part in 0..PARTS {
                        squares[part].as_mut()[i] = V::upper_halves(low[part], high[part]);
                    }
                }
                let to = to.add(first / BLOCK * apart + 2 * (at / 2 * BLOCK + first % BLOCK));
                for (part, square) in squares.into_iter().enumerate() {
                    for (i, pair) in V::transposed(square).as_ref().iter().enumerate() {
                        pair.store(to.at.add(part * to.part + 2 * i * BLOCK).cast());
                    }
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
pub(crate) unsafe fn rows<V: Lanes, const PARTS: usize>(weight: Weight, first: usize, to: To) {
    let inputs = weight.inputs();
    // Step after step: what is written lies together.
    for (step, input) in (0..inputs).step_by(BLOCK).enumerate() {
        for row in 0..BLOCK {
            let there = first + row < weight.outputs();
            let count = if there { BLOCK.min(inputs - input) } else { 0 };
            unsafe {
                let from = weight.pointer().wrapping_add((first + row) * inputs + input);
                store_line::<V, PARTS>(from, count, to.add(step * STEP + row * BLOCK));
            }
        }
    }
}

/// The first `count` numbers of a line of bf16, and zeros.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `rows`")]
unsafe fn store_line<V: Lanes, const PARTS: usize>(from: *const f32, count: usize, to: To) {
    for side in (0..BLOCK).step_by(2 * V::LANES) {
        unsafe {
            let (low, high) = (some::<V>(from, side, count), some::<V>(from, side + V::LANES, count));
            store::<V, PARTS>(low, high, to.add(side));
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
pub(crate) unsafe fn columns<V: Lanes, const PARTS: usize>(weight: Weight, first: usize, to: To) {
    for (step, output) in (0..weight.outputs()).step_by(BLOCK).enumerate() {
        for across in (0..BLOCK).step_by(V::LANES) {
            let input = first + across;
            for down in (0..BLOCK).step_by(2 * V::LANES) {
                unsafe {
                    let to = to.add(step * STEP + across * BLOCK + down);
                    store_columns::<V, PARTS>(weight, output + down, input, to);
                }
            }
        }
    }
}

/// As many columns of a weight as a vector has numbers, from these on: of each, pairs of its rows, as many. What is not there is 0.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `columns`")]
unsafe fn store_columns<V: Lanes, const PARTS: usize>(weight: Weight, output: usize, input: usize, to: To) {
    let (outputs, inputs) = (weight.outputs(), weight.inputs());
    let count = inputs.saturating_sub(input).min(V::LANES);
    let row = |output: usize| unsafe {
        match output < outputs {
            true => some::<V>(weight.pointer().wrapping_add(output * inputs + input), 0, count),
            false => V::splat(0.0),
        }
    };
    unsafe {
        // Two rows are as wide as a number.
        let mut squares = [V::zeros(); PARTS];
        for i in 0..V::LANES {
            let (even, odd) = (parts::<V, PARTS>(row(output + 2 * i)), parts::<V, PARTS>(row(output + 2 * i + 1)));
            for part in 0..PARTS {
                squares[part].as_mut()[i] = V::upper_pairs(even[part], odd[part]);
            }
        }
        for (part, square) in squares.into_iter().enumerate() {
            for (i, pairs) in V::transposed(square).as_ref().iter().enumerate() {
                pairs.store(to.at.add(part * to.part + i * BLOCK).cast());
            }
        }
    }
}

/// The left factor of 32 columns of panels turned, from the `first` on, a step a panel, and the sum of each before it was rounded.
///
/// # Safety
///
/// Panels are as wide as a block, and all of them written; there is room for so many steps.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn columns_of_panels<V: Lanes, const PARTS: usize>(
    panels: &Panels,
    first: usize,
    to: To,
) -> [f32; BLOCK] {
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
                    store::<V, PARTS>(both[0], both[1], to.add(panel * STEP + i * BLOCK + side));
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
