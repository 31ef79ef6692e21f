//! The gradient of a layer by blocks whose factors are bf16, rounded or in three parts.

use std::ops::Range;
use std::sync::Mutex;

use crate::bf16::{self, BLOCK, CACHED, Halves, Left, Ready, Right, STEP, To};
use crate::factors;
use crate::gradient::{OfLayer, Target, in_one_order};
use crate::grid::{First, Grid};
use crate::lanes::{Lanes, with_lanes};
use crate::panels::{Panels, apart};
use crate::pool::{Shared, in_parallel, share};

/// The gradient by blocks, whose factors are of so many parts, 1 or 3.
pub(crate) fn by_blocks(grad: &Panels, input: &Panels, parts: usize, target: Target, threads: usize) -> OfLayer {
    let (outputs, inputs) = (grad.columns(), input.columns());
    let mut bias = vec![0.0; outputs];
    let right = (!each_turns(input, parts, threads)).then(|| turned_by_all(input, parts, threads));
    let work = Blocks { grad, input, parts, right, outputs, inputs, target, bias: Shared(bias.as_mut_ptr()) };
    let grid = Grid::new(First::Rows, (bf16::steps(outputs), 1), (1, 1), threads);
    let sums = Mutex::new(Vec::new());
    in_parallel(threads, &|part, _| {
        // SAFETY: sizes were compared above; parts share no rows.
        let squares = unsafe { run_blocks(&work, &grid, part) };
        sums.lock().expect("no thread panics while it has it").extend(squares);
    });
    OfLayer { squares: in_one_order(sums), bias }
}

/// Whether each thread lays out the whole right factor for itself instead of a share of it for all. What another one has written lies in
/// that one's cache, and three parts are longer to fetch than to make; of one part there is less to fetch, and with many rows it is quicker
/// to share. Either way as measured on two cores. All of it has to stay in a core's own cache.
fn each_turns(input: &Panels, parts: usize, threads: usize) -> bool {
    let fits = room(input, parts) <= CACHED;
    fits && (parts > 1 || First::of_products(input.rows(), threads) == First::Rows)
}

/// Steps of the right factor.
fn room(input: &Panels, parts: usize) -> usize {
    input.panels() * bf16::steps(input.columns()) * parts
}

/// The right factor, of which each thread makes a share.
fn turned_by_all(input: &Panels, parts: usize, threads: usize) -> Halves {
    let mut right = Halves::empty(room(input, parts));
    let (to, part) = (Shared(right.pointer_mut().cast()), right.part(parts));
    in_parallel(threads.min(input.panels()), &|own, count| {
        // SAFETY: there is room, and these panels are this thread's.
        unsafe { turn(input, share(input.panels(), own, count), parts, To { at: to.at(0).cast(), part }) }
    });
    right
}

with_lanes! {
    unsafe fn turn(input: &Panels, panels: Range<usize>, parts: usize, to: To) = turn_by
}

/// Some panels of the right factor: of each a step for each block, as many steps apart as there are panels.
///
/// # Safety
///
/// There is room for all panels.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
unsafe fn turn_by<V: Lanes>(input: &Panels, panels: Range<usize>, parts: usize, to: To) {
    for panel in panels {
        unsafe {
            let from = input.pointer().add(panel * apart::<V>(input.columns()));
            let (lines, pairs) = ((input.columns(), BLOCK), (to.add(panel * STEP), BLOCK / 2));
            let apart = input.panels() * STEP;
            match parts {
                1 => factors::pairs_across_lines::<V, 1>((from, BLOCK), lines, pairs, apart),
                3 => factors::pairs_across_lines::<V, 3>((from, BLOCK), lines, pairs, apart),
                parts => unreachable!("factors of {parts} parts"),
            }
        }
    }
}

/// What blocks of a gradient are computed from, and where they go.
struct Blocks<'a> {
    grad: &'a Panels,
    input: &'a Panels,
    /// 1 or 3 of each factor.
    parts: usize,
    /// As [`turn`] lays it out; where there is none each thread does so.
    right: Option<Halves>,
    outputs: usize,
    inputs: usize,
    target: Target,
    bias: Shared,
}

with_lanes! {
    unsafe fn run_blocks(work: &Blocks, grid: &Grid, part: usize) -> Vec<(usize, f64)> = run_blocks_by
}

/// # Safety
///
/// The pointers of the target are to as many numbers as the weight has, and nobody writes these rows but the parts of the grid.
#[inline(always)]
unsafe fn run_blocks_by<V: Lanes>(work: &Blocks, grid: &Grid, part: usize) -> Vec<(usize, f64)> {
    // SAFETY: the same contract.
    unsafe {
        match work.parts {
            1 => run_parts::<V, 1>(work, grid, part),
            3 => run_parts::<V, 3>(work, grid, part),
            parts => unreachable!("factors of {parts} parts"),
        }
    }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_blocks_by`")]
unsafe fn run_parts<V: Lanes, const PARTS: usize>(work: &Blocks, grid: &Grid, part: usize) -> Vec<(usize, f64)> {
    let Blocks { grad, right, outputs, inputs, target, bias, .. } = work;
    let (panels, across) = (grad.panels(), bf16::steps(*inputs));
    let mut own = None;
    let (mut left, steps) = (Halves::empty(panels * PARTS), bf16::in_a_row(panels));
    // A strip of the gradient, row after row.
    let mut rows = Panels::empty(BLOCK, across * BLOCK);
    let (ready, mut sums) = (Ready::new(), Vec::new());
    while let Some((strips, _)) = grid.next(part) {
        if right.is_none() && own.is_none() {
            let turned = own.insert(Halves::empty(room(work.input, PARTS)));
            let to = To { at: turned.pointer_mut(), part: turned.part(PARTS) };
            unsafe { turn_by::<V>(work.input, 0..panels, PARTS, to) }
        }
        let right = right.as_ref().or(own.as_ref()).expect("laid out above");
        for first in strips.map(|strip| strip * BLOCK) {
            unsafe {
                let to = To { at: left.pointer_mut(), part: panels * STEP };
                let of_bias = factors::columns_of_panels::<V, PARTS>(grad, first, to);
                let left = Left { at: left.pointer(), part: to.part };
                for i in 0..across {
                    let to = rows.pointer_mut().add(i * BLOCK);
                    let at = right.pointer().add(i * panels * STEP);
                    let right = Right { at, part: right.part(PARTS), row: 2 * BLOCK, steps: &steps };
                    let soon = target.soon(first, (*outputs, *inputs), (i, across));
                    ready.multiply::<PARTS>(left, right, to, across * BLOCK, soon);
                    if PARTS > 1 {
                        let number = |down, over| plain::<V>(work, first + down, i * BLOCK + over);
                        bf16::again_if_none::<V>(to, across * BLOCK, number);
                    }
                }
                let mut squares = 0.0;
                for (r, sum) in of_bias.into_iter().enumerate().take(outputs - first) {
                    *bias.at(first + r) = sum;
                    let row = std::slice::from_raw_parts(rows.pointer().add(r * across * BLOCK), *inputs);
                    squares += f64::from(target.take::<V>(row, (first + r) * inputs));
                }
                sums.push((first, squares));
            }
        }
    }
    sums
}

/// A number of the gradient by f32; of those that are not there it is 0.
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_blocks_by`")]
unsafe fn plain<V: Lanes>(work: &Blocks, output: usize, input: usize) -> f32 {
    if output >= work.outputs || input >= work.inputs {
        return 0.0;
    }
    let at = |panels: &Panels, column: usize, row: usize| unsafe {
        let panel = row / V::ACROSS * apart::<V>(panels.columns());
        *panels.pointer().add(panel + column * V::ACROSS + row % V::ACROSS)
    };
    (0..work.grad.rows()).map(|row| at(work.grad, output, row) * at(work.input, input, row)).sum()
}
