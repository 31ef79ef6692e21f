//! The gradient of a weight, `gᵀ x`, and what becomes of some rows of it while they are in cache.

use std::ops::Range;
use std::sync::Mutex;

use crate::adam::{Coefficients, block_by};
use crate::forward::worth;
use crate::grid::{First, Grid};
use crate::lanes::{Lanes, with_lanes};
use crate::panels::{PANEL, Panels, apart};
use crate::pool::{Shared, in_parallel};
use crate::tile::{self, Left, Lines, TO_WRITE, Tile, by_rows, multiply, multiply_asking, tiles};
use crate::{Instructions, instructions};

/// What becomes of the gradient of a weight `[outputs, inputs]`, row after row.
pub enum Destination<'a> {
    /// It is written here.
    Store(&'a mut [f32]),
    /// It is added to what is here.
    Add(&'a mut [f32]),
    /// It moves the weight, and is never in memory as a whole.
    Step {
        /// The weight.
        weight: &'a mut [f32],
        /// First moments.
        first: &'a mut [f32],
        /// Second moments.
        second: &'a mut [f32],
        /// Of this step.
        coefficients: &'a Coefficients,
    },
}

/// The gradient of a weight from that of its output and from its input, *transposed* ([`Panels::transposed`]); returns Σ g²,
/// of a step shortened as [`adam_step`](crate::adam_step) says. A part of a row that is not finite moves nothing.
///
/// Rows that fill up the last panel of `grad` have to be 0, as [`Panels::from_rows`] and [`backward`](crate::backward) leave
/// them.
///
/// # Panics
///
/// If sizes do not go together.
pub fn gradient(grad: &Panels, input: &Panels, into: Destination, threads: usize) -> f64 {
    let (outputs, inputs) = (grad.columns(), input.rows());
    assert_eq!(input.columns(), grad.panels() * PANEL, "as many rows of both");
    let target = Target::new(into, outputs * inputs);
    let work = Work { grad, input, outputs, inputs, target };
    let threads = worth(outputs * inputs * grad.rows(), threads);
    let group = cached() / (input.columns().max(1) * PANEL);
    let grid = Grid::new(First::Rows, (tile::count(outputs), input.panels()), (1, group), threads);
    let sums = Mutex::new(Vec::new());
    in_parallel(threads, &|part, _| {
        // SAFETY: sizes were compared above; parts share no tile.
        let squares = unsafe { run(&work, &grid, part) };
        sums.lock().expect("no thread panics while it has it").extend(squares);
    });
    let mut sums = sums.into_inner().expect("as above");
    // In one order, whoever computed what, so that the same numbers come to the same.
    sums.sort_by_key(|&(at, _)| at);
    sums.into_iter().map(|(_, squares)| squares).sum()
}

struct Work<'a> {
    grad: &'a Panels,
    input: &'a Panels,
    outputs: usize,
    inputs: usize,
    target: Target,
}

/// [`Destination`] by pointers.
enum Target {
    Store(Shared),
    Add(Shared),
    Step { weight: Shared, first: Shared, second: Shared, coefficients: Coefficients },
}

impl Target {
    fn new(into: Destination, numbers: usize) -> Self {
        let shared = |slice: &mut [f32]| {
            assert_eq!(slice.len(), numbers, "as many numbers as the weight has");
            Shared(slice.as_mut_ptr())
        };
        match into {
            Destination::Store(to) => Target::Store(shared(to)),
            Destination::Add(to) => Target::Add(shared(to)),
            Destination::Step { weight, first, second, coefficients } => Target::Step {
                weight: shared(weight),
                first: shared(first),
                second: shared(second),
                coefficients: *coefficients,
            },
        }
    }
}

with_lanes! {
    unsafe fn run(work: &Work, grid: &Grid, part: usize) -> Vec<(usize, f64)> = run_by
}

/// # Safety
///
/// The pointers of the target are to as many numbers as the weight has, and nobody writes these rows but the parts of the grid.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn run_by<V: Lanes>(work: &Work, grid: &Grid, part: usize) -> Vec<(usize, f64)> {
    let mut sums = Vec::new();
    // The gradient of a row of tiles, which is taken row after row: so memory is gone through as processors foresee.
    let mut rows = Panels::empty(PANEL, 0);
    while let Some((own, panels)) = grid.next(part) {
        let (first, end) = (panels.start * PANEL, work.inputs.min(panels.end * PANEL));
        if rows.columns() < panels.len() * V::ROWS {
            rows = Panels::empty(PANEL, panels.len() * V::ROWS);
        }
        for (row, count) in tiles::<V>(work.outputs, own) {
            unsafe {
                by_rows!(count, tile_row::<V>(work, row, panels.clone(), rows.pointer_mut()));
                let mut squares = 0.0;
                for r in 0..count {
                    let g = rows.pointer().add(r * panels.len() * PANEL);
                    let g = std::slice::from_raw_parts(g, end - first);
                    squares += f64::from(work.target.take::<V>(g, (row + r) * work.inputs + first));
                }
                sums.push((row * work.inputs + first, squares));
            }
        }
    }
    sums
}

/// Numbers of the input that go through all rows of a weight before the next: with AVX-512 half a megabyte, which a core's own cache
/// holds; with AVX2 tiles take so long that a cache of all cores is quick enough, and rows of a step should be whole.
fn cached() -> usize {
    if instructions() == Some(Instructions::Avx2) { 1 << 19 } else { 1 << 17 }
}

/// `R` rows of the gradient to `to`, as many panels wide.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_by`")]
unsafe fn tile_row<V: Lanes, const R: usize>(work: &Work, row: usize, panels: Range<usize>, to: *mut f32) {
    let blocks = work.grad.panels();
    let across = panels.len() * PANEL;
    // Only what is whole rows lies together in memory.
    let arrays = work.target.arrays().filter(|_| across >= work.inputs);
    let asking = arrays.as_ref().map_or(&[][..], |arrays| &arrays[3 - blocks.min(3)..]);
    let pieces = PANEL / V::ACROSS;
    for (turn, piece) in (panels.start * pieces..panels.end * pieces).enumerate() {
        let (panel, inside) = (piece / pieces, piece % pieces * V::ACROSS);
        unsafe {
            let mut tile: Tile<V, R> = [[V::splat(0.0); 2]; R];
            let factors = |block: usize| {
                let left = work.grad.pointer().add(block * apart(work.outputs) + row * PANEL);
                let lines = work.input.pointer().add(panel * apart(blocks * PANEL) + block * PANEL * PANEL + inside);
                (Left { at: left, row: PANEL, step: 1 }, Lines::of_panel(lines))
            };
            for block in 0..blocks - asking.len() {
                let (left, lines) = factors(block);
                tile = multiply(tile, left, lines, PANEL);
            }
            // What the step will change is asked for meanwhile, an array with each of the last blocks.
            for (array, block) in asking.iter().zip(blocks - asking.len()..) {
                let (left, lines) = factors(block);
                let at = row * work.inputs + panels.start * PANEL + turn * R * V::ACROSS;
                let soon = (array.0.wrapping_add(at).cast_const(), (R * V::ACROSS).div_ceil(PANEL));
                tile = multiply_asking::<V, R, TO_WRITE>(tile, left, lines, PANEL, soon);
            }
            for (r, [low, high]) in tile.into_iter().enumerate() {
                let to = to.add(r * across + turn * V::ACROSS);
                low.store(to);
                high.store(to.add(V::LANES));
            }
        }
    }
}

impl Target {
    /// What will be read and changed.
    fn arrays(&self) -> Option<[Shared; 3]> {
        match self {
            Target::Step { weight, first, second, .. } => Some([*weight, *first, *second]),
            Target::Store(_) | Target::Add(_) => None,
        }
    }

    /// What becomes of a row of the gradient, from the `at`-th number of the weight on; returns Σ g².
    ///
    /// # Safety
    ///
    /// So many numbers are there.
    #[inline(always)]
    #[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
    unsafe fn take<V: Lanes>(&self, g: &[f32], at: usize) -> f32 {
        unsafe {
            if let Target::Step { weight, first, second, coefficients } = self {
                let (p, m, v) = (weight.at(at), first.at(at), second.at(at));
                return block_by::<V>(p, g.as_ptr(), m, v, g.len(), coefficients);
            }
            let mut sum = V::splat(0.0);
            for start in (0..g.len()).step_by(V::LANES) {
                let count = V::LANES.min(g.len() - start);
                let own = V::load_first(g.as_ptr().add(start), count);
                sum = own.mul_add(own, sum);
                match self {
                    Target::Store(to) => own.store_first(to.at(at + start), count),
                    Target::Add(to) => {
                        let to = to.at(at + start);
                        own.add(V::load_first(to, count)).store_first(to, count);
                    }
                    Target::Step { .. } => {}
                }
            }
            sum.sum()
        }
    }
}
