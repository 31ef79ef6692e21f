//! The way back through layers where there are many registers: columns of a weight are what a tile has, some rows at a time.

use std::ops::Range;

use crate::backward::{Work, finish};
use crate::forward::ask_for_lines;
use crate::grid::Grid;
use crate::lanes::Lanes;
use crate::panels::{Panels, apart};
use crate::pool::share;
use crate::tile::{Left, TO_READ, Tile, by_rows, count_by, multiply, multiply_asking, tiles};
use crate::weight::Weight;

/// Tiles by panels that are taken through a weight together.
pub(crate) const SIZE: (usize, usize) = (8, 8);

/// # Safety
///
/// The pointers in `work` are to as many numbers as its sizes say, and nobody writes these tiles but the parts of the grid.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn run<V: Lanes>(work: &Work, grid: &Grid, part: usize) {
    let (blocks, all) = (blocks(work.terms), unsafe { count_by::<V>(work.used) });
    while let Some((own, panels)) = grid.next(part) {
        for (i, block) in blocks.iter().enumerate() {
            let place = Place { first: i == 0, last: i + 1 == blocks.len() };
            // What will be wanted next: the same tiles of the next block, or behind the last one of the first the tiles behind these.
            let (next, further) = if place.last { (&blocks[0], SIZE.0) } else { (&blocks[i + 1], 0) };
            for (tile, (column, count)) in own.clone().zip(tiles::<V>(work.used, own.clone())) {
                let soon = next.left(share(work.used, (tile + further).min(all - 1), all).end - 1);
                unsafe { by_rows!(count, tile_row::<V>(work, block, place, soon, column, panels.clone())) }
            }
        }
    }
}

/// Rows of a weight that are taken at a time; what they come to is added to what came before. Of each of them a tile reads one line
/// or two, and the next panel and the next tile read the same ones: so many lines, a row apart, a core's cache and its table of pages
/// hold.
const DEEP: usize = 48;

/// Some rows of one term's weight.
#[derive(Clone, Copy)]
struct Block<'a> {
    weight: Weight<'a>,
    grad: &'a Panels,
    row: usize,
    count: usize,
}

impl Block<'_> {
    /// From this column on.
    #[inline(always)]
    fn left(&self, column: usize) -> Left {
        let inputs = self.weight.inputs();
        Left { at: self.weight.pointer().wrapping_add(self.row * inputs + column), row: 1, step: inputs }
    }
}

/// Which of all blocks it is.
#[derive(Clone, Copy)]
struct Place {
    first: bool,
    last: bool,
}

fn blocks<'a>(terms: &[(Weight<'a>, &'a Panels)]) -> Vec<Block<'a>> {
    let of = |&(weight, grad): &(Weight<'a>, &'a Panels)| {
        let rows = (0..weight.outputs()).step_by(DEEP);
        rows.map(move |row| Block { weight, grad, row, count: DEEP.min(weight.outputs() - row) })
    };
    terms.iter().flat_map(of).collect()
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run`")]
unsafe fn tile_row<V: Lanes, const R: usize>(
    work: &Work,
    block: &Block,
    place: Place,
    soon: Left,
    column: usize,
    panels: Range<usize>,
) {
    let left = block.left(column);
    // Of each of the rows that will be wanted the last column, a share with each panel.
    let asking = block.count.div_ceil(panels.len());
    for (i, panel) in panels.enumerate() {
        unsafe {
            let at = panel * apart::<V>(work.used) + column * V::ACROSS;
            let mut tile: Tile<V, R> = [[V::splat(0.0); 2]; R];
            ask_for_lines::<V, R>(work.end.out.add(at));
            if !place.first {
                for (r, row) in tile.iter_mut().enumerate() {
                    let before = work.end.out.add(at + r * V::ACROSS);
                    *row = [V::load(before), V::load(before.add(V::LANES))];
                }
            }
            let grad = block.grad.pointer().add(panel * apart::<V>(block.weight.outputs()) + block.row * V::ACROSS);
            let next = (soon.at.wrapping_add(i * asking * soon.step), soon.step);
            tile = multiply_asking::<V, R, TO_READ>(tile, left, grad, asking, next);
            let left = Left { at: left.at.wrapping_add(asking * left.step), ..left };
            tile = multiply(tile, left, grad.add(asking * V::ACROSS), block.count - asking);
            if place.last {
                finish(tile, &work.end, at);
            } else {
                for (r, [low, high]) in tile.into_iter().enumerate() {
                    let to = work.end.out.add(at + r * V::ACROSS);
                    low.store(to);
                    high.store(to.add(V::LANES));
                }
            }
        }
    }
}
