//! The way back through layers where there are few registers: columns of a weight are what a tile has, copied side by side.
//!
//! Where they lie a small tile would read a few numbers of each line of a weight, and these lines, a row apart, are more than a small
//! cache holds. So the columns of some tiles are copied, and then read by many panels.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::backward::{Work, finish};
use crate::grid::Grid;
use crate::lanes::{LINE, Lanes};
use crate::panels::{Line, apart};
use crate::pool::share;
use crate::tile::{Left, Tile, by_rows, multiply, tiles};

/// Tiles by panels that are taken at a time.
pub(crate) const SIZE: (usize, usize) = (4, 64);

/// # Safety
///
/// The pointers in `work` are to as many numbers as its sizes say, and nobody writes these tiles but the parts of the grid.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn run<V: Lanes>(work: &Work, grid: &Grid, part: usize) {
    let depth: usize = work.terms.iter().map(|(weight, _)| weight.outputs()).sum();
    let mut rooms: [Vec<MaybeUninit<Line>>; 2] =
        std::array::from_fn(|_| Vec::with_capacity((SIZE.0 * depth * V::ROWS).div_ceil(LINE)));
    let [mut room, mut other] = rooms.each_mut().map(|room| room.as_mut_ptr().cast::<f32>());
    let mut next = grid.next(part);
    if let Some((own, _)) = &next {
        unsafe { copy::<V>(work, depth, own.clone(), 0..depth, room) }
    }
    while let Some((own, panels)) = next {
        // What comes next is copied meanwhile, a share before each tile: else nothing were computed until it has come from memory.
        next = grid.next(part);
        let turns = own.len() * panels.len();
        let all =
            panels.flat_map(|panel| tiles::<V>(work.used, own.clone()).enumerate().map(move |tile| (panel, tile)));
        for (turn, (panel, (i, (column, count)))) in all.enumerate() {
            unsafe {
                if let Some((own, _)) = &next {
                    copy::<V>(work, depth, own.clone(), share(depth, turn, turns), other);
                }
                by_rows!(count, one_panel::<V>(work, room.add(i * depth * V::ROWS), column, panel));
            }
        }
        (room, other) = (other, room);
    }
}

/// How many rows before it is copied a row is asked for.
const AHEAD: usize = 16;

/// These rows, of all terms one after the other, of the columns of some tiles, `[tiles, depth, V::ROWS]`.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run`")]
unsafe fn copy<V: Lanes>(work: &Work, depth: usize, own: Range<usize>, rows: Range<usize>, room: *mut f32) {
    let mut before = 0;
    for (weight, _) in work.terms {
        let (outputs, inputs) = (weight.outputs(), weight.inputs());
        let some = rows.start.clamp(before, before + outputs)..rows.end.clamp(before, before + outputs);
        for (i, (column, count)) in tiles::<V>(work.used, own.clone()).enumerate() {
            unsafe {
                let from = weight.pointer().wrapping_add((some.start - before) * inputs + column);
                let to = room.add((i * depth + some.start) * V::ROWS);
                by_rows!(count, copy_columns::<V>(from, inputs, some.len(), to));
            }
        }
        before += outputs;
    }
}

/// `R` numbers of so many rows, whose first are `apart`.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run`")]
unsafe fn copy_columns<V: Lanes, const R: usize>(from: *const f32, apart: usize, rows: usize, to: *mut f32) {
    for row in 0..rows {
        unsafe {
            let from = from.add(row * apart);
            V::prefetch(from.wrapping_add(AHEAD * apart));
            to.add(row * V::ROWS).cast::<[f32; R]>().write(from.cast::<[f32; R]>().read());
        }
    }
}

/// `R` columns of a panel.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run`")]
unsafe fn one_panel<V: Lanes, const R: usize>(work: &Work, columns: *const f32, column: usize, panel: usize) {
    unsafe {
        let at = panel * apart::<V>(work.used) + column * V::ACROSS;
        work.end.ask::<V, R>(at);
        let mut tile: Tile<V, R> = [[V::splat(0.0); 2]; R];
        let mut left = Left { at: columns, row: 1, step: V::ROWS };
        for (weight, grad) in work.terms {
            let depth = weight.outputs();
            tile = multiply(tile, left, grad.pointer().add(panel * apart::<V>(depth)), depth);
            left.at = left.at.wrapping_add(depth * V::ROWS);
        }
        finish(tile, &work.end, at);
    }
}
