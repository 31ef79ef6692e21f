//! The gradient of a layer: of its weight, `gᵀ x`, with what becomes of some rows of it while they are in cache, and of its bias.

use std::ops::Range;
use std::sync::Mutex;

use crate::adam::{self, Coefficients, block_by};
use crate::bf16::{BLOCK, Soon};
use crate::forward::worth;
use crate::gradient_rounded::by_blocks;
use crate::grid::{First, Grid};
use crate::lanes::{LINE, Lanes, with_lanes};
use crate::panels::{Panels, apart, width};
use crate::pool::{Shared, in_parallel};
use crate::rounded::Rounding;
use crate::tile::{self, TO_WRITE, Tile, at_once, by_rows, multiply, multiply_asking, tiles};
use crate::{Instructions, instructions, thin};

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

/// What is told of a layer's gradient.
#[derive(Clone, Debug)]
pub struct OfLayer {
    /// Σ g² of the weight; of a step shortened as [`adam_step`](crate::adam_step) says.
    pub squares: f64,
    /// The gradient of the bias: the sum of each column of the output's.
    pub bias: Vec<f32>,
}

/// The gradient of a layer's weight, and of its bias, from that of its output and from its input. Of a step, a part of a row of the weight
/// that is not finite moves nothing, or some rows together where these are short; the bias is told, and takes no step here.
///
/// Both factors are rounded as `rounding` says; the gradient of the bias has none.
///
/// Rows that fill up the last panel of `grad` have to be 0, as [`Panels::from_rows`] and [`backward`](crate::backward) leave
/// them.
///
/// # Panics
///
/// If sizes do not go together.
pub fn gradient(grad: &Panels, input: &Panels, rounding: Rounding, into: Destination, threads: usize) -> OfLayer {
    let (outputs, inputs) = (grad.columns(), input.columns());
    assert_eq!(input.rows(), grad.rows(), "as many rows of both");
    let target = Target::new(into, outputs * inputs);
    let threads = worth(outputs * inputs * grad.rows(), threads);
    if outputs.min(inputs) <= thin::THIN {
        return of_few(grad, input, target, threads);
    }
    let parts = rounding.parts((grad.rows(), outputs.min(inputs))).filter(|_| grad.rows() > 0);
    match (parts, rounding) {
        (Some(parts), _) => by_blocks(grad, input, parts, target, threads),
        (None, Rounding::Bf16) => {
            let of_layer =
                by_tiles(&grad.rounded(threads), &input.rounded(threads).transposed(threads), target, threads);
            OfLayer { bias: grad.column_sums(threads), ..of_layer }
        }
        (None, _) => by_tiles(grad, &input.transposed(threads), target, threads),
    }
}

/// Of few outputs or few inputs.
fn of_few(grad: &Panels, input: &Panels, target: Target, threads: usize) -> OfLayer {
    let (outputs, inputs) = (grad.columns(), input.columns());
    let (own, bias) = match outputs <= inputs {
        true => (thin::products(input, grad, threads).0, grad.column_sums(threads)),
        false => {
            let (turned, sums) = thin::products(grad, input, threads);
            let at = |i: usize| turned[i % inputs * outputs + i / inputs];
            ((0..turned.len()).map(at).collect(), sums)
        }
    };
    // SAFETY: there are as many numbers as the weight has, which is this call's alone.
    OfLayer { squares: unsafe { take_all(&target, &own) }, bias }
}

with_lanes! {
    unsafe fn take_all(target: &Target, g: &[f32]) -> f64 = take_all_by
}

#[inline(always)]
unsafe fn take_all_by<V: Lanes>(target: &Target, g: &[f32]) -> f64 {
    let mut squares = 0.0;
    for (at, g) in g.chunks(adam::BLOCK).enumerate() {
        // SAFETY: by the contract.
        squares += f64::from(unsafe { target.take::<V>(g, at * adam::BLOCK) });
    }
    squares
}

/// By tiles, from the input transposed.
fn by_tiles(grad: &Panels, input: &Panels, target: Target, threads: usize) -> OfLayer {
    let (outputs, inputs) = (grad.columns(), input.rows());
    let mut bias = vec![0.0; outputs];
    let work = Work { grad, input, outputs, inputs, target, bias: Shared(bias.as_mut_ptr()) };
    let group = cached() / (input.columns().max(1) * width());
    let grid = Grid::new(First::Rows, (tile::count(outputs), input.panels()), (1, group), threads);
    let sums = Mutex::new(Vec::new());
    in_parallel(threads, &|part, _| {
        // SAFETY: sizes were compared above; parts share no tile.
        let squares = unsafe { run(&work, &grid, part) };
        sums.lock().expect("no thread panics while it has it").extend(squares);
    });
    OfLayer { squares: in_one_order(sums), bias }
}

/// The sum of what parts tell of their places, in one order, whoever computed what, so that the same numbers come to the same.
pub(crate) fn in_one_order(sums: Mutex<Vec<(usize, f64)>>) -> f64 {
    let mut sums = sums.into_inner().expect("no thread panicked while it had it");
    sums.sort_by_key(|&(at, _)| at);
    sums.into_iter().map(|(_, squares)| squares).sum()
}

struct Work<'a> {
    grad: &'a Panels,
    input: &'a Panels,
    outputs: usize,
    inputs: usize,
    target: Target,
    /// The sum of each column of `grad` goes here.
    bias: Shared,
}

/// [`Destination`] by pointers.
pub(crate) enum Target {
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
    let mut rows = Panels::empty(V::ACROSS, 0);
    // What a row of tiles is made of, one number of each of its rows after the other; the last vector may end behind them.
    let mut left = vec![0.0; work.grad.filled() * V::ROWS + V::LANES];
    while let Some((own, panels)) = grid.next(part) {
        let (first, end) = (panels.start * V::ACROSS, work.inputs.min(panels.end * V::ACROSS));
        if rows.columns() < panels.len() * V::ROWS {
            rows = Panels::empty(V::ACROSS, panels.len() * V::ROWS);
        }
        for (row, count) in tiles::<V>(work.outputs, own) {
            unsafe {
                by_rows!(count, tile_row::<V>(work, row, panels.clone(), left.as_mut_ptr(), rows.pointer_mut()));
                let mut squares = 0.0;
                for r in 0..count {
                    let g = rows.pointer().add(r * panels.len() * V::ACROSS);
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

/// Copies `R` columns of the gradient of the output, `[rows, V::ROWS]`: a tile reads these again for each panel, and from one place.
/// Returns the sum of each, by lanes.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_by`")]
unsafe fn copy_left<V: Lanes, const R: usize>(work: &Work, column: usize, to: *mut f32) -> [V; R] {
    let mut sums = unsafe { [V::splat(0.0); R] };
    for panel in 0..work.grad.panels() {
        for up in (0..V::ACROSS).step_by(V::LANES) {
            unsafe {
                let from = work.grad.pointer().add(panel * apart::<V>(work.outputs) + column * V::ACROSS + up);
                let mut square = V::zeros();
                for ((r, sum), column) in sums.iter_mut().enumerate().zip(square.as_mut()) {
                    *column = V::load(from.add(r * V::ACROSS));
                    *sum = sum.add(*column);
                }
                // Each store is over what the one before wrote too much.
                for (i, numbers) in V::transposed(square).as_ref().iter().enumerate() {
                    numbers.store(to.add((panel * V::ACROSS + up + i) * V::ROWS));
                }
            }
        }
    }
    sums
}

/// `R` rows of the gradient to `to`, as many panels wide; at `left` is room for what they are made of.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_by`")]
unsafe fn tile_row<V: Lanes, const R: usize>(
    work: &Work,
    row: usize,
    panels: Range<usize>,
    left: *mut f32,
    to: *mut f32,
) {
    let sums = unsafe { copy_left::<V, R>(work, row, left) };
    // Whoever takes the first panels tells of the bias.
    if panels.start == 0 {
        for (r, sum) in sums.into_iter().enumerate() {
            unsafe { *work.bias.at(row + r) = sum.sum() }
        }
    }
    let depth = work.grad.filled();
    let across = panels.len() * V::ACROSS;
    // Only what is whole rows lies together in memory.
    let arrays = work.target.arrays().filter(|_| across >= work.inputs);
    let asking = arrays.as_ref().map_or(&[][..], |arrays| &arrays[3 - (depth / ASKING).min(3)..]);
    for (turn, panel) in panels.enumerate() {
        unsafe {
            let mut tile: Tile<V, R> = [[V::splat(0.0); 2]; R];
            let input = work.input.pointer().add(panel * apart::<V>(depth));
            let left = |start: usize| tile::Left { at: left.add(start * V::ROWS), row: 1, step: V::ROWS };
            let mut done = depth - asking.len() * ASKING;
            tile = multiply(tile, left(0), input, done);
            // What the step will change is asked for meanwhile, one array after the other.
            for array in asking {
                let at = row * work.inputs + turn * R * V::ACROSS;
                let soon = (array.0.wrapping_add(at).cast_const(), (R * V::ACROSS * at_once::<V>()).div_ceil(ASKING));
                let input = input.add(done * V::ACROSS);
                tile = multiply_asking::<V, R, TO_WRITE>(tile, left(done), input, ASKING, soon);
                done += ASKING;
            }
            for (r, [low, high]) in tile.into_iter().enumerate() {
                let to = to.add(r * across + turn * V::ACROSS);
                low.store(to);
                high.store(to.add(V::LANES));
            }
        }
    }
}

/// Steps of a tile in which the lines of an array are asked for.
const ASKING: usize = 32;

impl Target {
    /// What will be read and changed.
    fn arrays(&self) -> Option<[Shared; 3]> {
        match self {
            Target::Step { weight, first, second, .. } => Some([*weight, *first, *second]),
            Target::Store(_) | Target::Add(_) => None,
        }
    }

    /// What will be changed by a strip of rows, the `i`-th of so many shares: the arrays one after the other.
    pub(crate) fn soon(&self, first: usize, (outputs, inputs): (usize, usize), (i, shares): (usize, usize)) -> Soon {
        let Some(arrays) = self.arrays() else { return Soon::NOTHING };
        let count = (BLOCK.min(outputs - first) * inputs).div_ceil(2 * LINE);
        // Of fewer than three shares an array has none, and is so short that it hardly matters.
        let begins = |array: usize| (array * shares).div_ceil(3);
        let array = 3 * i / shares;
        let at = arrays[array].0.wrapping_add(first * inputs).cast_const();
        let all = Soon { at, apart: 2 * LINE, count, to_write: true };
        all.share(i - begins(array), begins(array + 1) - begins(array))
    }

    /// What becomes of a row of the gradient, from the `at`-th number of the weight on; returns Σ g².
    ///
    /// # Safety
    ///
    /// So many numbers are there.
    #[inline(always)]
    #[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
    pub(crate) unsafe fn take<V: Lanes>(&self, g: &[f32], at: usize) -> f32 {
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
