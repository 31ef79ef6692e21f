//! Layers: `x Wᵀ` of panels, with all that follows it while a tile is in registers.

use std::ops::Range;

use crate::bf16::{BLOCK, Soon, To};
use crate::grid::{First, Grid};
use crate::lanes::{LINE, Lanes, with_lanes};
use crate::panels::{Panels, apart};
use crate::pool::in_parallel;
use crate::rounded::{self, Copies, Direction, Rounding};
use crate::tile::{self, Left, TO_READ, Tile, at_once, by_rows, multiply_asking, tiles};
use crate::weight::Weight;
use crate::{Instructions, factors, instructions};

/// The slope of an activation below 0, from 0 to 1: 0 is ReLU's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope(pub f32);

/// What is done with the sum of products, in this order, each step where it is asked for.
#[derive(Default)]
pub struct Then<'a> {
    /// Plus this, one number a column.
    pub bias: Option<&'a [f32]>,
    /// `max(y, slope y)`.
    pub activation: Option<Slope>,
    /// What there is now is kept here.
    pub before_sum: Option<&'a mut Option<Panels>>,
    /// Plus this.
    pub sum: Option<&'a Panels>,
    /// How factors are rounded before all that.
    pub rounding: Rounding,
}

/// The sum of the products `x Wᵀ` of all terms, and what follows: panels of as many rows as the terms have.
///
/// # Panics
///
/// If sizes do not go together.
pub fn forward(terms: &[(Weight, &Panels)], then: Then, threads: usize) -> Panels {
    let depth = terms.iter().map(|(weight, _)| weight.inputs()).sum();
    let parts = then.rounding.parts((depth, terms[0].0.outputs()));
    if then.rounding == Rounding::Bf16 && parts.is_none() {
        let then = Then { rounding: Rounding::None, ..then };
        return forward(&Copies::of(terms, threads).terms(terms), then, threads);
    }
    let (rows, columns) = (terms[0].1.rows(), terms[0].0.outputs());
    for (weight, x) in terms {
        assert_eq!((x.rows(), x.columns()), (rows, weight.inputs()), "terms of one layer");
        assert_eq!(weight.outputs(), columns, "terms of one layer");
    }
    assert!(then.bias.is_none_or(|bias| bias.len() == columns), "a bias for {columns} columns");
    let fits = |p: &Panels| (p.rows(), p.columns()) == (rows, columns);
    assert!(then.sum.is_none_or(fits), "panels of [{rows}, {columns}]");
    let mut out = Panels::empty(rows, columns);
    let mut before_sum = then.before_sum.is_some().then(|| Panels::empty(rows, columns));
    let end = End {
        bias: then.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        activation: then.activation,
        before_sum: before_sum.as_mut().map_or(std::ptr::null_mut(), Panels::pointer_mut),
        sum: then.sum.map_or(std::ptr::null(), Panels::pointer),
        out: out.pointer_mut(),
    };
    let panels = out.panels();
    let work = Work { terms, columns, end };
    let operations = terms.iter().map(|(w, _)| w.inputs()).sum::<usize>() * columns * rows;
    let threads = worth(operations, threads);
    let first = First::of_products(rows, threads);
    match parts {
        None => {
            let grid = Grid::new(first, (tile::count(columns), panels), size(), threads);
            in_parallel(threads, &|part, _| {
                // SAFETY: sizes were compared above; parts share no tile.
                unsafe { run(&work, &grid, part) }
            });
        }
        Some(parts) => {
            let work = rounded::Work::new(&work, parts, first, panels, threads);
            in_parallel(threads, &|part, _| {
                // SAFETY: as above.
                unsafe { run_rounded(&work, part) }
            });
        }
    }
    if let Some(kept) = then.before_sum {
        *kept = before_sum;
    }
    out
}

/// As many threads as so many multiply-adds are worth.
pub(crate) fn worth(operations: usize, threads: usize) -> usize {
    if operations < 1 << 16 { 1 } else { threads.max(1) }
}

/// How many tiles by how many panels are taken at a time. 256 rows of 512 columns are half a megabyte, which the cores' own caches of
/// processors with AVX-512 hold; with AVX2 tiles are so small that weights are read anew as quickly, and that taking one by one costs.
fn size() -> (usize, usize) {
    if instructions() == Some(Instructions::Avx2) { (4, 2) } else { (1, 8) }
}

struct Work<'a> {
    terms: &'a [(Weight<'a>, &'a Panels)],
    columns: usize,
    end: End,
}

/// [`Then`] by pointers, null where nothing is asked for, and where the result goes.
struct End {
    bias: *const f32,
    activation: Option<Slope>,
    before_sum: *mut f32,
    sum: *const f32,
    out: *mut f32,
}

// SAFETY: pointers are to panels that live as long as the work; each tile of them is one thread's.
unsafe impl Sync for Work<'_> {}

with_lanes! {
    unsafe fn run(work: &Work, grid: &Grid, part: usize) = run_by
}

/// # Safety
///
/// The pointers in `work` are to as many numbers as its sizes say, and nobody writes these tiles but the parts of the grid.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn run_by<V: Lanes>(work: &Work, grid: &Grid, part: usize) {
    while let Some((own, panels)) = grid.next(part) {
        for (column, count) in tiles::<V>(work.columns, own) {
            unsafe { by_rows!(count, tile_row::<V>(work, column, panels.clone())) }
        }
    }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_by`")]
unsafe fn tile_row<V: Lanes, const R: usize>(work: &Work, column: usize, panels: Range<usize>) {
    // The rows of the next tile are asked for meanwhile, a share with each panel, and no line is left out.
    let share = R.div_ceil(panels.len()).min(LINE / at_once::<V>());
    for (turn, panel) in panels.enumerate() {
        unsafe {
            let mut tile: Tile<V, R> = [[V::splat(0.0); 2]; R];
            let at = panel * apart::<V>(work.columns) + column * V::ACROSS;
            ask_for_lines::<V, R>(work.end.out.add(at));
            for (weight, x) in work.terms {
                let depth = weight.inputs();
                let left = Left { at: weight.pointer().add(column * depth), row: depth, step: 1 };
                let x = x.pointer().add(panel * apart::<V>(depth));
                let next = left.at.wrapping_add(R * depth + turn * share * depth);
                tile = multiply_asking::<V, R, TO_READ>(tile, left, x, depth, (next, share * at_once::<V>()));
            }
            finish(tile, &work.end, column, at);
        }
    }
}

with_lanes! {
    unsafe fn run_rounded(work: &rounded::Work<Work>, part: usize) = run_rounded_by
}

/// # Safety
///
/// That of [`rounded::run_by`].
#[inline(always)]
unsafe fn run_rounded_by<V: Lanes>(work: &rounded::Work<Work>, part: usize) {
    // SAFETY: the same contract.
    unsafe { rounded::run_by::<V, Work>(work, part) }
}

// Every block: by the contract of the method that it is of.
#[allow(clippy::undocumented_unsafe_blocks, reason = "said once, above")]
impl Direction for Work<'_> {
    fn terms(&self) -> &[(Weight<'_>, &Panels)] {
        self.terms
    }

    fn columns(&self) -> usize {
        self.columns
    }

    #[inline(always)]
    unsafe fn left<V: Lanes, const PARTS: usize>(weight: Weight, first: usize, to: To) {
        unsafe { factors::rows::<V, PARTS>(weight, first, to) }
    }

    fn soon(weight: Weight, first: usize) -> Soon {
        let rows = weight.outputs().saturating_sub(first).min(BLOCK);
        let at = weight.pointer().wrapping_add(first * weight.inputs());
        Soon { at, apart: 2 * LINE, count: (rows * weight.inputs()).div_ceil(2 * LINE), to_write: false }
    }

    fn factor(weight: Weight, column: usize, i: usize) -> f32 {
        weight.number(column, i)
    }

    #[inline(always)]
    unsafe fn finish<V: Lanes>(&self, sums: Tile<V, 1>, column: usize, at: usize) {
        unsafe { finish(sums, &self.end, column, at) }
    }
}

/// Asks for the lines of a tile of panels that will be written.
///
/// # Safety
///
/// That of [`Lanes`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
pub(crate) unsafe fn ask_for_lines<V: Lanes, const R: usize>(to: *mut f32) {
    for line in (0..R * V::ACROSS).step_by(LINE) {
        unsafe { V::prefetch_to_write(to.wrapping_add(line)) }
    }
}

/// All that follows the sum, for a tile whose first number is the `at`-th of the result.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_by`")]
unsafe fn finish<V: Lanes, const R: usize>(tile: Tile<V, R>, end: &End, column: usize, at: usize) {
    unsafe {
        for (r, row) in tile.into_iter().enumerate() {
            for (half, mut y) in row.into_iter().enumerate() {
                let at = at + r * V::ACROSS + half * V::LANES;
                if !end.bias.is_null() {
                    y = y.add(V::splat(*end.bias.add(column + r)));
                }
                if let Some(slope) = end.activation {
                    // What is not a number stays so.
                    y = below(y, slope).max_or(y);
                }
                if !end.before_sum.is_null() {
                    y.store(end.before_sum.add(at));
                }
                if !end.sum.is_null() {
                    y = y.add(V::load(end.sum.add(at)));
                }
                y.store(end.out.add(at));
            }
        }
    }
}

/// `slope y`, also where y is infinite and the slope 0.
///
/// # Safety
///
/// That of [`Lanes`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
pub(crate) unsafe fn below<V: Lanes>(y: V, Slope(slope): Slope) -> V {
    unsafe { if slope == 0.0 { V::splat(0.0) } else { y.mul(V::splat(slope)) } }
}
