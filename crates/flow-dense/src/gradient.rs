//! The gradient of a weight, `gᵀ x`, and what becomes of some rows of it while they are in cache.

use std::ops::Range;
use std::sync::Mutex;

use crate::adam::{Coefficients, block_by};
use crate::forward::worth;
use crate::grid::First;
use crate::lanes::{LANES, Lanes, with_lanes};
use crate::panels::{PANEL, Panels};
use crate::pool::{Shared, in_parallel};
use crate::tile::{Left, ROWS, TO_WRITE, Tile, by_rows, multiply, multiply_asking, tiles};

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
    let sums = Mutex::new(vec![0.0; threads]);
    in_parallel(threads, &|part, parts| {
        let (own, panels) = First::Rows.own(outputs.div_ceil(ROWS), input.panels(), part, parts);
        // SAFETY: sizes were compared above; parts share no tile.
        let squares = unsafe { run(&work, own, panels) };
        sums.lock().expect("no thread panics while it has it")[part] = squares;
    });
    sums.into_inner().expect("as above").into_iter().sum()
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
    unsafe fn run(work: &Work, own: Range<usize>, panels: Range<usize>) -> f64 = run_by
}

/// # Safety
///
/// The pointers of the target are to as many numbers as the weight has, and nobody else writes these rows of these panels.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn run_by<V: Lanes>(work: &Work, own: Range<usize>, panels: Range<usize>) -> f64 {
    let mut squares = 0.0;
    let width = (CACHED / (work.input.columns().max(1) * PANEL)).clamp(1, panels.len().max(1));
    // The gradient of a row of tiles, which is taken row after row: so memory is gone through as processors foresee.
    let mut rows = Panels::empty(PANEL, width * ROWS);
    for start in panels.clone().step_by(width) {
        let group = start..panels.end.min(start + width);
        let (first, end) = (group.start * PANEL, work.inputs.min(group.end * PANEL));
        for (row, count) in tiles(work.outputs, own.clone()) {
            unsafe {
                by_rows!(count, tile_row::<V>(work, row, group.clone(), rows.pointer_mut()));
                for r in 0..count {
                    let g = rows.pointer().add(r * group.len() * PANEL);
                    let g = std::slice::from_raw_parts(g, end - first);
                    squares += f64::from(work.target.take::<V>(g, (row + r) * work.inputs + first));
                }
            }
        }
    }
    squares
}

/// Numbers of the input that go through all rows of a weight before the next: half a megabyte, which a core's own cache holds.
const CACHED: usize = 1 << 17;

/// `R` rows of the gradient to `to`, as many panels wide.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_by`")]
unsafe fn tile_row<V: Lanes, const R: usize>(work: &Work, row: usize, panels: Range<usize>, to: *mut f32) {
    let blocks = work.grad.panels();
    let apart = panels.len() * PANEL;
    // Only what is whole rows lies together in memory.
    let whole = apart >= work.inputs;
    for (i, panel) in panels.clone().enumerate() {
        unsafe {
            let mut tile: Tile<V, R> = [[V::splat(0.0); 2]; R];
            for block in 0..blocks {
                let left = work.grad.pointer().add((block * work.outputs + row) * PANEL);
                let lines = work.input.pointer().add((panel * blocks + block) * PANEL * PANEL);
                let left = Left { at: left, row: PANEL, step: 1 };
                // What the step will change is asked for meanwhile, an array with each block.
                tile = match work.target.asked(blocks - block).filter(|_| whole) {
                    Some(array) => {
                        let at = row * work.inputs + panels.start * PANEL + i * R * PANEL;
                        multiply_asking::<V, R, TO_WRITE>(
                            tile,
                            left,
                            lines,
                            PANEL,
                            (array.0.wrapping_add(at).cast_const(), R),
                        )
                    }
                    None => multiply(tile, left, lines, PANEL),
                };
            }
            for (r, [low, high]) in tile.into_iter().enumerate() {
                let to = to.add(r * apart + i * PANEL);
                low.store(to);
                high.store(to.add(LANES));
            }
        }
    }
}

impl Target {
    /// What to ask for when so many blocks are left.
    #[inline(always)]
    fn asked(&self, left: usize) -> Option<Shared> {
        match (self, left) {
            (Target::Step { weight, .. }, 3) => Some(*weight),
            (Target::Step { first, .. }, 2) => Some(*first),
            (Target::Step { second, .. }, 1) => Some(*second),
            _ => None,
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
            for start in (0..g.len()).step_by(LANES) {
                let count = LANES.min(g.len() - start);
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
