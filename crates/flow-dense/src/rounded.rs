//! Layers, and the way back through them, whose factors are bf16, rounded or in three parts, and whose sums are f32.

use std::ops::Range;

use crate::bf16::{self, BLOCK, CACHED, Halves, Left, Ready, Right, STEP, Soon, Sums, To};
use crate::factors;
use crate::forward::worth;
use crate::grid::{First, Grid};
use crate::lanes::{Lanes, with_lanes};
use crate::panels::{Panels, apart};
use crate::pool::{Shared, in_parallel, share};
use crate::tile::Tile;
use crate::weight::Weight;

/// How the factors of a product are rounded. Sums and all that follows are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// Not at all.
    #[default]
    None,
    /// Not at all either: where the processor has AMX, each factor of a layer is taken apart into three numbers of bf16 whose sum it is, and
    /// of the nine products of these the six that an f32 tells are added up, the largest last. That is as exact as f32, and takes half the
    /// time where there is much to multiply; of factors and products below 1e-33 less is left, down to 8 bits of the smallest normal ones,
    /// and smaller ones are 0. Elsewhere, where there is little to multiply, and of convolutions it is [`Rounding::None`].
    Parts,
    /// To bf16, 8 bits of mantissa. A processor with AMX multiplies such numbers many times as fast, and takes those below the normal
    /// ones for 0; on others they are multiplied in f32. The gradient of a weight of at most two outputs, or inputs, is not rounded, nor
    /// is anything of [`through_layers`](crate::through_layers).
    Bf16,
}

impl Rounding {
    /// Of how many parts factors are that blocks multiply, in a product of such depth and so many columns, if blocks do.
    pub(crate) fn parts(self, (depth, columns): (usize, usize)) -> Option<usize> {
        match self {
            Rounding::None => None,
            // Less does not fill blocks, and f32's own tiles are as quick.
            Rounding::Parts => (bf16::used() && depth >= 16 && columns >= 8).then_some(3),
            Rounding::Bf16 => bf16::used().then_some(1),
        }
    }
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
    unsafe fn left<V: Lanes, const PARTS: usize>(weight: Weight, first: usize, to: To);

    /// What [`left`](Direction::left) reads.
    fn soon(weight: Weight, first: usize) -> Soon;

    /// What the `i`-th column of a term's panels is multiplied by in a column of the result.
    fn factor(weight: Weight, column: usize, i: usize) -> f32;

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
    /// 1 or 3 of each factor.
    parts: usize,
    /// Of a panel, of all terms.
    steps: Vec<isize>,
    /// How many panels go through all weights before the next.
    group: usize,
    grid: Grid,
}

impl<'a, D: Direction> Work<'a, D> {
    /// Of so many panels, for so many threads.
    pub(crate) fn new(direction: &'a D, parts: usize, first: First, panels: usize, threads: usize) -> Self {
        let steps: usize = direction.terms().iter().map(|(_, x)| bf16::steps(x.columns())).sum();
        // Not so little of the right factor that the left one, which is laid out for each group anew, takes as long as products.
        let group = (CACHED / (steps * parts)).max(4).min(panels.max(1));
        let grid = Grid::new(first, (bf16::steps(direction.columns()), panels), (1, group), threads);
        Work { direction, parts, steps: bf16::in_a_row(steps), group, grid }
    }
}

/// The right factor of some panels, of all terms, panel after panel. Each thread lays out what it reads, as far as measured, on two cores:
/// what another one has written lies in that one's cache, from where every line takes as long as hundreds of multiply-adds.
///
/// # Safety
///
/// There is room for the steps of all of them.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
unsafe fn lay_out<V: Lanes, D: Direction, const PARTS: usize>(work: &Work<D>, panels: Range<usize>, to: To) {
    debug_assert_eq!(V::ACROSS, BLOCK, "a panel is as wide as a block");
    for (turn, panel) in panels.enumerate() {
        let mut before = turn * work.steps.len();
        for (_, x) in work.direction.terms() {
            unsafe {
                let from = x.pointer().add(panel * apart::<V>(x.columns()));
                factors::pairs_of_lines::<V, PARTS>(from, x.columns(), BLOCK, to.add(before * STEP));
            }
            before += bf16::steps(x.columns());
        }
    }
}

/// A thread's part of a layer.
///
/// # Safety
///
/// Sizes go together, and nobody writes the result but the parts of the grid.
#[inline(always)]
pub(crate) unsafe fn run_by<V: Lanes, D: Direction>(work: &Work<D>, part: usize) {
    // SAFETY: the same contract.
    unsafe {
        match work.parts {
            1 => run_parts::<V, D, 1>(work, part),
            3 => run_parts::<V, D, 3>(work, part),
            parts => unreachable!("factors of {parts} parts"),
        }
    }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_by`")]
unsafe fn run_parts<V: Lanes, D: Direction, const PARTS: usize>(work: &Work<D>, part: usize) {
    let Work { direction, steps, group, grid, .. } = work;
    let columns = direction.columns();
    let (mut left, mut sums) = (Halves::empty(steps.len() * PARTS), Sums([0.0; BLOCK * BLOCK]));
    let (mut right, mut laid_out) = (Halves::empty(group * steps.len() * PARTS), 0..0);
    let of_right = right.part(PARTS);
    let ready = Ready::new();
    while let Some((strips, panels)) = grid.next(part) {
        if laid_out != panels {
            unsafe { lay_out::<V, D, PARTS>(work, panels.clone(), To { at: right.pointer_mut(), part: of_right }) }
            laid_out = panels.clone();
        }
        for first in strips.map(|strip| strip * BLOCK) {
            let to = To { at: left.pointer_mut(), part: steps.len() * STEP };
            let mut before = 0;
            for (weight, x) in direction.terms() {
                unsafe { D::left::<V, PARTS>(*weight, first, to.add(before * STEP)) }
                before += bf16::steps(x.columns());
            }
            let left = Left { at: left.pointer(), part: to.part };
            let soon = soon(*direction, first + BLOCK);
            for (turn, panel) in panels.clone().enumerate() {
                unsafe {
                    let at = right.pointer().add(turn * steps.len() * STEP);
                    let right = Right { at, part: of_right, row: 2 * BLOCK, steps };
                    let to = sums.0.as_mut_ptr();
                    ready.multiply::<PARTS>(left, right, to, BLOCK, soon.share(turn, panels.len()));
                    if PARTS > 1 {
                        bf16::again_if_none::<V>(to, BLOCK, |down, row| plain::<V, D>(work, first + down, panel, row));
                    }
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

/// What the left factor of these columns will be made of, if there are such: of several terms the largest.
fn soon<D: Direction>(direction: &D, first: usize) -> Soon {
    if first >= direction.columns() {
        return Soon::NOTHING;
    }
    let all = direction.terms().iter().map(|(weight, _)| D::soon(*weight, first));
    all.max_by_key(|soon| soon.count).unwrap_or(Soon::NOTHING)
}

/// The sum of a column for one row of a panel, by f32; of columns that are not there it is 0.
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_by`")]
unsafe fn plain<V: Lanes, D: Direction>(work: &Work<D>, column: usize, panel: usize, row: usize) -> f32 {
    if column >= work.direction.columns() {
        return 0.0;
    }
    let all = work.direction.terms().iter().flat_map(|(weight, x)| (0..x.columns()).map(move |i| (weight, x, i)));
    let product = |(weight, x, i): (&Weight, &&Panels, usize)| unsafe {
        D::factor(*weight, column, i) * *x.pointer().add(panel * apart::<V>(x.columns()) + i * V::ACROSS + row)
    };
    all.map(product).sum()
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
