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
use crate::tile::{Left, TO_READ, Tile, at_once, by_rows, multiply, multiply_asking, tiles};

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
        unsafe { copy::<V, true>(work, depth, own.clone(), 0..depth, room) }
    }
    while let Some((own, panels)) = next {
        // What comes next is copied meanwhile, a share before each panel: else nothing were computed until it has come from memory.
        next = grid.next(part);
        // The tiles of a panel have time to ask for a fourth of the rows.
        let asking = panels.len() >= 4;
        for (turn, panel) in panels.clone().enumerate() {
            let mut soon = Soon::NOTHING;
            if let Some((own, _)) = &next {
                let rows = share(depth, turn, panels.len());
                unsafe {
                    if asking && turn > 0 {
                        copy::<V, false>(work, depth, own.clone(), rows, other);
                    } else {
                        copy::<V, true>(work, depth, own.clone(), rows, other);
                    }
                }
                if asking {
                    soon = Soon::of::<V>(work, own.clone(), share(depth, turn + 1, panels.len()));
                }
            }
            for (i, (column, count)) in tiles::<V>(work.used, own.clone()).enumerate() {
                unsafe {
                    by_rows!(
                        count,
                        one_panel::<V>(work, room.add(i * depth * V::ROWS), column, panel, soon.lines::<V>(i))
                    );
                }
            }
        }
        (room, other) = (other, room);
    }
}

/// How many rows before it is copied a row is asked for, where nobody has asked before.
const AHEAD: usize = 16;

/// These rows, of all terms one after the other, of the columns of some tiles, `[tiles, depth, V::ROWS]`.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run`")]
unsafe fn copy<V: Lanes, const ASK: bool>(
    work: &Work,
    depth: usize,
    own: Range<usize>,
    rows: Range<usize>,
    room: *mut f32,
) {
    let mut before = 0;
    for (weight, _) in work.terms {
        let (outputs, inputs) = (weight.outputs(), weight.inputs());
        let some = rows.start.clamp(before, before + outputs)..rows.end.clamp(before, before + outputs);
        for (i, (column, count)) in tiles::<V>(work.used, own.clone()).enumerate() {
            unsafe {
                let from = weight.pointer().wrapping_add((some.start - before) * inputs + column);
                let to = room.add((i * depth + some.start) * V::ROWS);
                by_rows!(count, copy_columns::<V, ASK>(from, inputs, some.len(), to));
            }
        }
        before += outputs;
    }
}

/// `R` numbers of so many rows, whose first are `apart`.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run`")]
unsafe fn copy_columns<V: Lanes, const R: usize, const ASK: bool>(
    from: *const f32,
    apart: usize,
    rows: usize,
    to: *mut f32,
) {
    for row in 0..rows {
        unsafe {
            let from = from.add(row * apart);
            if ASK {
                V::prefetch(from.wrapping_add(AHEAD * apart));
            }
            to.add(row * V::ROWS).cast::<[f32; R]>().write(from.cast::<[f32; R]>().read());
        }
    }
}

/// Rows that will be copied next, of the columns of some tiles.
#[derive(Clone, Copy)]
struct Soon {
    at: *const f32,
    apart: usize,
    rows: usize,
}

impl Soon {
    const NOTHING: Self = Soon { at: std::ptr::null(), apart: 0, rows: 0 };

    /// Those of `rows`, of all terms one after the other, that are of the same term as the first.
    #[inline(always)]
    fn of<V: Lanes>(work: &Work, own: Range<usize>, rows: Range<usize>) -> Self {
        let mut first = rows.start;
        for (weight, _) in work.terms {
            let (outputs, inputs) = (weight.outputs(), weight.inputs());
            if first < outputs {
                let column = tiles::<V>(work.used, own).next().map_or(0, |(column, _)| column);
                let at = weight.pointer().wrapping_add(first * inputs + column);
                return Soon { at, apart: inputs, rows: rows.len().min(outputs - first) };
            }
            first -= outputs;
        }
        Soon::NOTHING
    }

    /// Those lines of theirs that the `i`-th tile of a panel asks for: the columns of four tiles of 6 are in three lines of a row at
    /// most, the third of which is asked for twice.
    #[inline(always)]
    fn lines<V: Lanes>(self, i: usize) -> Self {
        Soon { at: self.at.wrapping_add((i * LINE).min(SIZE.0 * V::ROWS - 1)), ..self }
    }
}

/// `R` columns of a panel; meanwhile some rows are asked for.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run`")]
unsafe fn one_panel<V: Lanes, const R: usize>(
    work: &Work,
    mut columns: *const f32,
    column: usize,
    panel: usize,
    mut soon: Soon,
) {
    unsafe {
        let at = panel * apart::<V>(work.used) + column * V::ACROSS;
        work.end.ask::<V, R>(at);
        let mut tile: Tile<V, R> = [[V::splat(0.0); 2]; R];
        for (weight, grad) in work.terms {
            let depth = weight.outputs();
            let grad = grad.pointer().add(panel * apart::<V>(depth));
            let left = |start: usize| Left { at: columns.add(start * V::ROWS), row: 1, step: V::ROWS };
            // At the end of the first term, so that less drives it away again.
            let done = depth - (soon.rows * at_once::<V>()).min(depth);
            tile = multiply(tile, left(0), grad, done);
            let (grad, rest, lines) = (grad.add(done * V::ACROSS), depth - done, (soon.at, soon.apart));
            tile = multiply_asking::<V, R, TO_READ>(tile, left(done), grad, rest, lines);
            soon = Soon::NOTHING;
            columns = columns.wrapping_add(depth * V::ROWS);
        }
        finish(tile, &work.end, at);
    }
}
