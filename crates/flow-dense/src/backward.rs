//! The way back through layers, `g W` of panels, with all that follows it while a tile is in registers.

use crate::bf16::{Soon, To};
use crate::forward::{Slope, ask_for_lines, below, worth};
use crate::grid::{First, Grid};
use crate::lanes::{LINE, Lanes, with_lanes};
use crate::panels::Panels;
use crate::pool::in_parallel;
use crate::rounded::{self, Copies, Direction, Rounding};
use crate::tile::Tile;
use crate::weight::Weight;
use crate::{blocks, columns, factors, tile};

/// What is done with the sum of products, in this order, each step where it is asked for.
#[derive(Default)]
pub struct ThenBack<'a> {
    /// Plus this.
    pub sum: Option<&'a Panels>,
    /// What there is now is kept here.
    pub after_sum: Option<&'a mut Option<Panels>>,
    /// Times the derivative of the activation of this slope, whose result this was.
    pub derivative: Option<(&'a Panels, Slope)>,
    /// How factors are rounded before all that.
    pub rounding: Rounding,
}

/// The sum of the products `g W` of all terms, of the first `used` inputs, and what follows: panels of as many rows as the
/// terms have.
///
/// # Panics
///
/// If sizes do not go together.
pub fn backward(terms: &[(Weight, &Panels)], used: usize, then: ThenBack, threads: usize) -> Panels {
    let parts = then.rounding.parts((terms.iter().map(|(weight, _)| weight.outputs()).sum(), used));
    if then.rounding == Rounding::Bf16 && parts.is_none() {
        let then = ThenBack { rounding: Rounding::None, ..then };
        return backward(&Copies::of(terms, threads).terms(terms), used, then, threads);
    }
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
    let threads = worth(operations, threads);
    let first = First::of_products(rows, threads);
    match parts {
        None => {
            let grid = Grid::new(first, (tile::count(used), panels), size(), threads);
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
    if let Some(kept) = then.after_sum {
        *kept = after_sum;
    }
    out
}

/// What is computed.
pub(crate) struct Work<'a> {
    pub terms: &'a [(Weight<'a>, &'a Panels)],
    pub used: usize,
    pub end: End,
}

/// [`ThenBack`] by pointers, null where nothing is asked for, and where the result goes.
pub(crate) struct End {
    sum: *const f32,
    after_sum: *mut f32,
    derivative: Option<(*const f32, Slope)>,
    pub out: *mut f32,
}

impl End {
    /// Asks for what [`finish`] will read and write.
    ///
    /// # Safety
    ///
    /// That of [`Lanes`].
    #[inline(always)]
    #[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
    pub(crate) unsafe fn ask<V: Lanes, const R: usize>(&self, at: usize) {
        unsafe {
            ask_for_lines::<V, R>(self.out.wrapping_add(at));
            if let Some((result, _)) = self.derivative {
                for line in (0..R * V::ACROSS).step_by(LINE) {
                    V::prefetch(result.wrapping_add(at + line));
                }
            }
        }
    }
}

// SAFETY: pointers are to panels that live as long as the work; each tile of them is one thread's.
unsafe impl Sync for Work<'_> {}

/// How many tiles by how many panels are taken at a time.
fn size() -> (usize, usize) {
    // SAFETY: it does nothing to memory.
    unsafe { size_of() }
}

with_lanes! {
    unsafe fn size_of() -> (usize, usize) = size_by
}

#[inline(always)]
unsafe fn size_by<V: Lanes>() -> (usize, usize) {
    if with_few_registers::<V>() { columns::SIZE } else { blocks::SIZE }
}

with_lanes! {
    unsafe fn run(work: &Work, grid: &Grid, part: usize) = run_by
}

/// # Safety
///
/// The pointers in `work` are to as many numbers as its sizes say, and nobody writes these tiles but the parts of the grid.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "the same contract")]
unsafe fn run_by<V: Lanes>(work: &Work, grid: &Grid, part: usize) {
    unsafe {
        if with_few_registers::<V>() { columns::run::<V>(work, grid, part) } else { blocks::run::<V>(work, grid, part) }
    }
}

/// Where there are few registers.
#[inline(always)]
fn with_few_registers<V: Lanes>() -> bool {
    V::REGISTERS < 32
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
        self.used
    }

    #[inline(always)]
    unsafe fn left<V: Lanes, const PARTS: usize>(weight: Weight, first: usize, to: To) {
        unsafe { factors::columns::<V, PARTS>(weight, first, to) }
    }

    fn soon(weight: Weight, first: usize) -> Soon {
        let at = weight.pointer().wrapping_add(first);
        Soon { at, apart: weight.inputs(), count: weight.outputs(), to_write: false }
    }

    fn factor(weight: Weight, column: usize, i: usize) -> f32 {
        weight.number(i, column)
    }

    #[inline(always)]
    unsafe fn finish<V: Lanes>(&self, sums: Tile<V, 1>, _column: usize, at: usize) {
        unsafe { finish(sums, &self.end, at) }
    }
}

/// All that follows the sum, for a tile whose first number is the `at`-th of the result.
///
/// # Safety
///
/// The pointers are to as many numbers.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn finish<V: Lanes, const R: usize>(tile: Tile<V, R>, end: &End, at: usize) {
    unsafe {
        for (r, row) in tile.into_iter().enumerate() {
            for (half, mut y) in row.into_iter().enumerate() {
                let at = at + r * V::ACROSS + half * V::LANES;
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
