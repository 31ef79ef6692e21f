//! The way back through layers, `g W` of panels, with all that follows it while a tile is in registers.

use std::ops::Range;

use crate::forward::{GROUP, Slope, below, worth};
use crate::grid::First;
use crate::lanes::{LANES, Lanes, with_lanes};
use crate::panels::{PANEL, Panels};
use crate::pool::in_parallel;
use crate::tile::{Left, ROWS, TO_READ, Tile, by_rows, multiply, multiply_asking, tiles};
use crate::weight::Weight;

/// What is done with the sum of products, in this order, each step where it is asked for.
#[derive(Default)]
pub struct ThenBack<'a> {
    /// Plus this.
    pub sum: Option<&'a Panels>,
    /// What there is now is kept here.
    pub after_sum: Option<&'a mut Option<Panels>>,
    /// Times the derivative of the activation of this slope, whose result this was.
    pub derivative: Option<(&'a Panels, Slope)>,
}

/// The sum of the products `g W` of all terms, of the first `used` inputs, and what follows: panels of as many rows as the
/// terms have.
///
/// # Panics
///
/// If sizes do not go together.
pub fn backward(terms: &[(Weight, &Panels)], used: usize, then: ThenBack, threads: usize) -> Panels {
    let rows = terms[0].1.rows();
    for (weight, grad) in terms {
        assert_eq!((grad.rows(), grad.columns()), (rows, weight.outputs()), "terms of one way back");
        assert!(used <= weight.inputs(), "{used} of {} inputs", weight.inputs());
    }
    for other in [then.sum, then.derivative.map(|(panels, _)| panels)] {
        assert!(other.is_none_or(|p| (p.rows(), p.columns()) == (rows, used)), "panels of [{rows}, {used}]");
    }
    let mut out = Panels::empty(rows, used);
    let mut after_sum = then.after_sum.is_some().then(|| Panels::empty(rows, used));
    let end = End {
        sum: then.sum.map_or(std::ptr::null(), Panels::pointer),
        after_sum: after_sum.as_mut().map_or(std::ptr::null_mut(), Panels::pointer_mut),
        derivative: then.derivative.map(|(panels, slope)| (panels.pointer(), slope)),
        out: out.pointer_mut(),
    };
    let panels = out.panels();
    let work = Work { terms, used, end };
    let operations = terms.iter().map(|(w, _)| w.outputs()).sum::<usize>() * used * rows;
    in_parallel(worth(operations, threads), &|part, parts| {
        let (tiles, panels) = First::of_products(panels, parts).own(used.div_ceil(ROWS), panels, part, parts);
        // SAFETY: sizes were compared above; parts share no tile.
        unsafe { run(&work, tiles, panels) }
    });
    if let Some(kept) = then.after_sum {
        *kept = after_sum;
    }
    out
}

struct Work<'a> {
    terms: &'a [(Weight<'a>, &'a Panels)],
    used: usize,
    end: End,
}

/// [`ThenBack`] by pointers, null where nothing is asked for, and where the result goes.
struct End {
    sum: *const f32,
    after_sum: *mut f32,
    derivative: Option<(*const f32, Slope)>,
    out: *mut f32,
}

// SAFETY: pointers are to panels that live as long as the work; each tile of them is one thread's.
unsafe impl Sync for Work<'_> {}

with_lanes! {
    unsafe fn run(work: &Work, tiles: Range<usize>, panels: Range<usize>) = run_by
}

/// # Safety
///
/// The pointers in `work` are to as many numbers as its sizes say, and nobody else writes these tiles of these panels.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn run_by<V: Lanes>(work: &Work, own: Range<usize>, panels: Range<usize>) {
    let blocks = blocks(work.terms);
    let mut start = panels.start;
    while start < panels.end {
        let group = start..panels.end.min(start + GROUP);
        for (i, block) in blocks.iter().enumerate() {
            let place = Place { first: i == 0, last: i + 1 == blocks.len() };
            for (column, count) in tiles(work.used, own.clone()) {
                unsafe { by_rows!(count, tile_row::<V>(work, block, place, column, group.clone())) }
            }
        }
        start = group.end;
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
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_by`")]
unsafe fn tile_row<V: Lanes, const R: usize>(
    work: &Work,
    block: &Block,
    place: Place,
    column: usize,
    panels: Range<usize>,
) {
    let inputs = block.weight.inputs();
    let at = block.weight.pointer().wrapping_add(block.row * inputs + column);
    let left = Left { at, row: 1, step: inputs };
    // The next block is asked for meanwhile: of each of its rows the last column of this tile.
    let share = block.count.div_ceil(panels.len());
    for (i, panel) in panels.enumerate() {
        unsafe {
            let at = (panel * work.used + column) * PANEL;
            let mut tile: Tile<V, R> = [[V::splat(0.0); 2]; R];
            for line in 0..2 * R {
                V::prefetch_to_write(work.end.out.add(at + line * LANES));
            }
            if !place.first {
                for (r, row) in tile.iter_mut().enumerate() {
                    let before = work.end.out.add(at + r * PANEL);
                    *row = [V::load(before), V::load(before.add(LANES))];
                }
            }
            let lines = block.grad.pointer().add((panel * block.weight.outputs() + block.row) * PANEL);
            let next =
                block.weight.pointer().wrapping_add((block.row + block.count + i * share) * inputs + column + R - 1);
            let asking = share.min(block.count);
            tile = multiply_asking::<V, R, TO_READ>(tile, left, lines, asking, (next, inputs));
            let left = Left { at: left.at.wrapping_add(asking * inputs), ..left };
            tile = multiply(tile, left, lines.add(asking * PANEL), block.count - asking);
            if place.last {
                finish(tile, &work.end, at);
            } else {
                for (r, [low, high]) in tile.into_iter().enumerate() {
                    let to = work.end.out.add(at + r * PANEL);
                    low.store(to);
                    high.store(to.add(LANES));
                }
            }
        }
    }
}

/// All that follows the sum, for a tile whose first number is the `at`-th of the result.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_by`")]
unsafe fn finish<V: Lanes, const R: usize>(tile: Tile<V, R>, end: &End, at: usize) {
    unsafe {
        for (r, row) in tile.into_iter().enumerate() {
            for (half, mut y) in row.into_iter().enumerate() {
                let at = at + r * PANEL + half * LANES;
                if !end.sum.is_null() {
                    y = y.add(V::load(end.sum.add(at)));
                }
                if !end.after_sum.is_null() {
                    y.store(end.after_sum.add(at));
                }
                if let Some((result, slope)) = end.derivative {
                    y = y.where_positive(V::load(result.add(at)), below(y, slope));
                }
                y.store(end.out.add(at));
            }
        }
    }
}
