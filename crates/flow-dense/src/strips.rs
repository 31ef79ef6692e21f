//! The way back through layers where there are few registers: strips of a weight's columns are copied, and rows of the batch are what
//! a tile has.
//!
//! A small tile of columns would read a few numbers of each line of a weight, and these lines, a row apart, are more than a small cache
//! holds. So a strip, one line of each row, is copied once and then read by all panels.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::backward::{Work, finish};
use crate::grid::Grid;
use crate::lanes::{LINE, Lanes};
use crate::panels::{Line, PANEL, apart};
use crate::pool::share;
use crate::tile::{Left, Lines, Tile, by_rows, multiply, tiles};

/// Strips by panels that are taken at a time.
pub(crate) const SIZE: (usize, usize) = (1, 8);

/// How many strips so many columns are.
pub(crate) fn count<V: Lanes>(columns: usize) -> usize {
    columns.div_ceil(V::ACROSS)
}

/// # Safety
///
/// The pointers in `work` are to as many numbers as its sizes say, and nobody writes these strips but the parts of the grid.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn run<V: Lanes>(work: &Work, grid: &Grid, part: usize) {
    let depth: usize = work.terms.iter().map(|(weight, _)| weight.outputs()).sum();
    let mut rooms: [Vec<MaybeUninit<Line>>; 2] =
        std::array::from_fn(|_| Vec::with_capacity((depth * V::ACROSS).div_ceil(LINE)));
    let [mut room, mut other] = rooms.each_mut().map(|room| room.as_mut_ptr().cast::<f32>());
    let mut next = grid.next(part);
    if let Some((strips, _)) = &next {
        unsafe { copy::<V>(work, strips.start * V::ACROSS, 0..depth, room) }
    }
    while let Some((strips, panels)) = next {
        // The next strip is copied meanwhile, a share before each tile: else nothing were computed until it has come from memory.
        next = grid.next(part);
        let ahead = next.as_ref().map(|(strips, _)| strips.start * V::ACROSS);
        let column = strips.start * V::ACROSS;
        let count = panels.len();
        for (i, panel) in panels.enumerate() {
            let ahead = Ahead { column: ahead, room: other, rows: share(depth, i, count) };
            unsafe { one_panel::<V>(work, column, room, panel, ahead) }
        }
        (room, other) = (other, room);
    }
}

/// Rows of the next strip, if there is one, that are copied while a panel is computed.
struct Ahead {
    column: Option<usize>,
    room: *mut f32,
    rows: Range<usize>,
}

/// Rows that are asked for before they are copied.
const AHEAD: usize = 16;

/// These rows, of all terms one after the other, of the strip from this column on, `[rows, V::ACROSS]`; zeros behind the last
/// column.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run`")]
unsafe fn copy<V: Lanes>(work: &Work, column: usize, rows: Range<usize>, room: *mut f32) {
    let mut before = 0;
    for (weight, _) in work.terms {
        let (outputs, inputs) = (weight.outputs(), weight.inputs());
        let own = rows.start.clamp(before, before + outputs)..rows.end.clamp(before, before + outputs);
        let some = V::ACROSS.min(inputs - column);
        for row in own {
            unsafe {
                let from = weight.pointer().wrapping_add((row - before) * inputs + column);
                let to = room.add(row * V::ACROSS);
                V::prefetch(from.wrapping_add(AHEAD * inputs));
                V::load_first(from, some.min(V::LANES)).store(to);
                V::load_first(from.wrapping_add(V::LANES), some.saturating_sub(V::LANES)).store(to.add(V::LANES));
            }
        }
        before += outputs;
    }
}

/// The strip's columns of all rows of a panel.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run`")]
unsafe fn one_panel<V: Lanes>(work: &Work, column: usize, strip: *const f32, panel: usize, ahead: Ahead) {
    // Row after row, `[32, V::ACROSS]`.
    let mut rows = [const { MaybeUninit::<V>::uninit() }; 2 * PANEL];
    let rows: *mut f32 = rows.as_mut_ptr().cast();
    let columns = V::ACROSS.min(work.used - column);
    let at = panel * apart(work.used) + column * PANEL;
    let turns = PANEL.div_ceil(V::ROWS);
    for (i, (row, count)) in tiles::<V>(PANEL, 0..turns).enumerate() {
        unsafe {
            if let Some(column) = ahead.column {
                let rows = share(ahead.rows.len(), i, turns);
                copy::<V>(work, column, ahead.rows.start + rows.start..ahead.rows.start + rows.end, ahead.room);
            }
            for line in share(columns * PANEL / LINE, i, turns) {
                work.end.ask::<V>(at + line * LINE);
            }
            by_rows!(count, some_rows::<V>(work, strip, panel, row, rows));
        }
    }
    for left in (0..columns).step_by(V::LANES) {
        for up in (0..PANEL).step_by(V::LANES) {
            unsafe {
                let mut square = V::zeros();
                for (i, row) in square.as_mut().iter_mut().enumerate() {
                    *row = V::load(rows.add((up + i) * V::ACROSS + left));
                }
                let turned = V::transposed(square);
                for (i, &y) in turned.as_ref().iter().enumerate().take(columns - left) {
                    finish(y, &work.end, at + (left + i) * PANEL + up);
                }
            }
        }
    }
}

/// `R` rows of a panel.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run`")]
unsafe fn some_rows<V: Lanes, const R: usize>(
    work: &Work,
    strip: *const f32,
    panel: usize,
    row: usize,
    rows: *mut f32,
) {
    unsafe {
        let mut tile: Tile<V, R> = [[V::splat(0.0); 2]; R];
        let mut lines = Lines { at: strip, apart: V::ACROSS };
        for (weight, grad) in work.terms {
            let depth = weight.outputs();
            let left = Left { at: grad.pointer().add(panel * apart(depth) + row), row: 1, step: PANEL };
            tile = multiply(tile, left, lines, depth);
            lines.at = lines.at.wrapping_add(depth * V::ACROSS);
        }
        for (r, [low, high]) in tile.into_iter().enumerate() {
            let to = rows.add((row + r) * V::ACROSS);
            low.store(to);
            high.store(to.add(V::LANES));
        }
    }
}
