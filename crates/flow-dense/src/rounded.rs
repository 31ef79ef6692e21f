//! Layers, and the way back through them, whose factors are rounded to bf16 and whose sums are f32.

use crate::bf16::{self, BLOCK, Halves, Ready, Right, STEP, Sums};
use crate::forward::worth;
use crate::grid::{First, Grid};
use crate::lanes::{Lanes, with_lanes};
use crate::panels::{Panels, apart};
use crate::pool::{Shared, in_parallel, share};
use crate::tile::Tile;
use crate::weight::{Bf16, Weight};

/// How the factors of a product are rounded. Sums and all that follows are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// Not at all.
    #[default]
    None,
    /// To bf16, 8 bits of mantissa. A processor with AMX multiplies such numbers many times as fast, and takes those below the normal
    /// ones for 0; on others they are multiplied in f32. The gradient of a weight of at most two outputs, or inputs, is not rounded, nor
    /// is anything of [`through_layers`](crate::through_layers).
    Bf16,
}

/// Whether this processor multiplies numbers that are rounded to bf16 faster here than others: it has AMX, and nobody forbids it.
pub fn multiplies_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return crate::amx::usable();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// A layer in one of both directions: which products it is the sum of, and what follows.
pub(crate) trait Direction: Sync {
    /// Weights and panels of all terms.
    fn terms(&self) -> &[(Weight<'_>, &Panels)];

    /// Columns of the result.
    fn columns(&self) -> usize;

    /// The left factor of the result's columns from the `first` on, [`BLOCK`] of them, of one term.
    ///
    /// # Safety
    ///
    /// There is room for its steps.
    unsafe fn left<V: Lanes>(weight: Weight, first: usize, to: *mut Bf16);

    /// All that follows the sums of a column, whose first number is the `at`-th of the result.
    ///
    /// # Safety
    ///
    /// It is a column of a panel of the result, which nobody else writes.
    unsafe fn finish<V: Lanes>(&self, sums: Tile<V, 1>, column: usize, at: usize);
}

/// What [`Direction`]s share.
pub(crate) struct Work<'a, D> {
    direction: &'a D,
    /// The right factors of all terms, panel after panel.
    right: Halves,
    /// Of a panel, of all terms.
    steps: Vec<isize>,
    grid: Grid,
}

impl<'a, D: Direction> Work<'a, D> {
    /// Of so many panels, for so many threads, which lay out the right factors.
    pub(crate) fn new(direction: &'a D, first: First, panels: usize, threads: usize) -> Self {
        let terms = direction.terms();
        let steps: usize = terms.iter().map(|(_, x)| bf16::steps(x.columns())).sum();
        let mut right = Halves::empty(panels * steps);
        let to = Shared(right.pointer_mut().cast());
        in_parallel(threads.min(panels).max(1), &|part, parts| {
            for panel in share(panels, part, parts) {
                let mut before = panel * steps;
                for (_, x) in terms {
                    // SAFETY: these panels are this part's, and there is room for the steps of all terms of each.
                    unsafe { lay_out(x, panel, to.at(before * STEP / 2).cast()) }
                    before += bf16::steps(x.columns());
                }
            }
        });
        let grid = Grid::new(first, (bf16::steps(direction.columns()), panels), (1, panels), threads);
        Work { direction, right, steps: bf16::in_a_row(steps), grid }
    }
}

with_lanes! {
    unsafe fn lay_out(x: &Panels, panel: usize, to: *mut Bf16) = lay_out_by
}

/// # Safety
///
/// There is room for the steps of a panel.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
unsafe fn lay_out_by<V: Lanes>(x: &Panels, panel: usize, to: *mut Bf16) {
    debug_assert_eq!(V::ACROSS, BLOCK, "a panel is as wide as a block");
    unsafe { bf16::pairs_of_lines::<V>(x.pointer().add(panel * apart::<V>(x.columns())), x.columns(), BLOCK, to) }
}

/// A thread's part of a layer.
///
/// # Safety
///
/// Sizes go together, and nobody writes the result but the parts of the grid.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn run_by<V: Lanes, D: Direction>(work: &Work<D>, part: usize) {
    let Work { direction, right, steps, grid } = work;
    let columns = direction.columns();
    let (mut left, mut sums) = (Halves::empty(steps.len()), Sums([0.0; BLOCK * BLOCK]));
    let ready = Ready::new();
    while let Some((strips, panels)) = grid.next(part) {
        for first in strips.map(|strip| strip * BLOCK) {
            let mut before = 0;
            for (weight, x) in direction.terms() {
                unsafe { D::left::<V>(*weight, first, left.pointer_mut().add(before * STEP)) }
                before += bf16::steps(x.columns());
            }
            for panel in panels.clone() {
                unsafe {
                    let at = right.pointer().add(panel * steps.len() * STEP);
                    let right = Right { at, row: 2 * BLOCK, steps };
                    ready.multiply(left.pointer(), right, sums.0.as_mut_ptr(), BLOCK);
                    for column in first..columns.min(first + BLOCK) {
                        let from = sums.0.as_ptr().add((column - first) * BLOCK);
                        let tile = [[V::load(from), V::load(from.add(V::LANES))]];
                        direction.finish::<V>(tile, column, panel * apart::<V>(columns) + column * V::ACROSS);
                    }
                }
            }
        }
    }
}

/// What is multiplied in f32 where nothing multiplies bf16: factors rounded.
pub(crate) struct Copies {
    weights: Vec<Vec<f32>>,
    panels: Vec<Panels>,
}

impl Copies {
    pub(crate) fn of(terms: &[(Weight, &Panels)], threads: usize) -> Self {
        let weights = terms.iter().map(|(weight, _)| weight.rounded(threads)).collect();
        Copies { weights, panels: terms.iter().map(|(_, panels)| panels.rounded(threads)).collect() }
    }

    /// The same terms of these.
    pub(crate) fn terms(&self, like: &[(Weight, &Panels)]) -> Vec<(Weight<'_>, &Panels)> {
        let both = self.weights.iter().zip(&self.panels).zip(like);
        both.map(|((numbers, panels), (weight, _))| (Weight::new(numbers, weight.inputs()), panels)).collect()
    }
}

/// The same numbers rounded to bf16.
pub(crate) fn rounded_numbers(numbers: &[f32], threads: usize) -> Vec<f32> {
    let mut rounded = vec![0.0; numbers.len()];
    let to = Shared(rounded.as_mut_ptr());
    in_parallel(worth(numbers.len(), threads), &|part, parts| {
        let own = share(numbers.len(), part, parts);
        // SAFETY: there are as many numbers on both sides, and these are this part's.
        unsafe { round(numbers.as_ptr().add(own.start), own.len(), to.at(own.start)) }
    });
    rounded
}

with_lanes! {
    /// So many numbers, rounded.
    pub(crate) unsafe fn round(from: *const f32, count: usize, to: *mut f32) = round_by
}

/// # Safety
///
/// So many numbers are there, and room for as many.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
unsafe fn round_by<V: Lanes>(from: *const f32, count: usize, to: *mut f32) {
    for at in (0..count).step_by(V::LANES) {
        let some = V::LANES.min(count - at);
        unsafe { V::load_first(from.add(at), some).rounded().store_first(to.add(at), some) }
    }
}
