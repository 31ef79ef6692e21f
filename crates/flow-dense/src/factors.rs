//! Factors of products of bf16 in the order in which blocks read them ([`bf16`](crate::bf16)): rounded, or in three parts.

use crate::bf16::{BLOCK, STEP, To, steps};
use crate::lanes::Lanes;
use crate::panels::{Panels, apart};
use crate::weight::Weight;

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
