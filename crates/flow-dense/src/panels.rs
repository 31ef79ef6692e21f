//! Matrices in panels: rows side by side, as many as a tile is wide, so that a product reads lines of them in a row.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::forward::worth;
use crate::lanes::{LINE, Lanes, with_lanes};
use crate::pool::{Shared, in_parallel, share};
use crate::rounded::round;

/// Rows that are whole panels with any instructions.
pub const WHOLE_PANELS: usize = 2 * LINE;

/// A cache line of numbers, and what panels are aligned to.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; LINE]);

/// Numbers from the first of a panel of so many columns to the first of the next.
#[inline(always)]
pub(crate) fn apart<V: Lanes>(columns: usize) -> usize {
    set_apart(columns * V::ACROSS)
}

/// So many numbers, and where they are a multiple of a kilobyte some lines more that are nobody's: caches have few places for numbers
/// that lie so far apart, and a gradient's columns are read from all panels one after the other.
#[inline(always)]
fn set_apart(numbers: usize) -> usize {
    numbers + if numbers > 0 && numbers.is_multiple_of(16 * LINE) { 13 * LINE } else { 0 }
}

/// Rows of a panel.
pub(crate) fn width() -> usize {
    // SAFETY: it does nothing to memory.
    unsafe { width_of() }
}

with_lanes! {
    unsafe fn width_of() -> usize = width_by
}

#[inline(always)]
unsafe fn width_by<V: Lanes>() -> usize {
    V::ACROSS
}

/// A matrix `[rows, columns]` of f32 in panels of 32 rows: `[rows / 32, columns, 32]` in memory, or with AVX2 the same by 16, with some
/// lines between panels where that helps. Rows that fill up the last panel are part of every product. They begin as 0
/// ([`Panels::from_rows`]); what [`forward`](crate::forward) makes of them means nothing, and [`backward`](crate::backward) keeps them 0.
#[derive(Debug)]
pub struct Panels {
    rows: usize,
    columns: usize,
    lines: Vec<MaybeUninit<Line>>,
}

impl Panels {
    /// Numbers that mean nothing yet.
    pub(crate) fn empty(rows: usize, columns: usize) -> Self {
        let each = columns.checked_mul(width()).map(|numbers| set_apart(numbers) / LINE);
        let lines = each.and_then(|each| rows.div_ceil(width()).checked_mul(each));
        let count = lines.expect("as many as memory can be");
        let mut lines = Vec::with_capacity(count);
        // SAFETY: the capacity is `count`, and nothing is claimed of what is there; whoever makes panels writes all of them.
        unsafe {
            lines.set_len(count);
        }
        Panels { rows, columns, lines }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(width())
    }

    /// Rows, and those that fill up the last panel.
    pub(crate) fn filled(&self) -> usize {
        self.rows.next_multiple_of(width())
    }

    /// Numbers from one panel to the next.
    fn apart(&self) -> usize {
        set_apart(self.columns * width())
    }

    pub(crate) fn pointer(&self) -> *const f32 {
        self.lines.as_ptr().cast()
    }

    pub(crate) fn pointer_mut(&mut self) -> *mut f32 {
        self.lines.as_mut_ptr().cast()
    }

    /// Of a matrix `[rows, columns]`, row after row; rows that fill up the last panel are 0.
    ///
    /// # Panics
    ///
    /// If there are not so many numbers.
    pub fn from_rows(numbers: &[f32], rows: usize, columns: usize, threads: usize) -> Self {
        assert_eq!(Some(numbers.len()), rows.checked_mul(columns), "a matrix of {rows} rows and {columns} columns");
        Panels::from_rows_apart(numbers, (rows, columns), columns, threads)
    }

    /// The same of rows whose first numbers are `apart`: some columns of a wider matrix, from the first number on.
    ///
    /// # Panics
    ///
    /// If there are not so many numbers.
    pub fn from_rows_apart(numbers: &[f32], (rows, columns): (usize, usize), apart: usize, threads: usize) -> Self {
        assert_rows(numbers.len(), (rows, columns), apart);
        let mut panels = Panels::empty(rows, columns);
        if columns == 0 {
            return panels;
        }
        let (out, width, next) = (Shared(panels.pointer_mut()), width(), panels.apart());
        in_parallel(threads.clamp(1, panels.panels().max(1)), &|part, parts| {
            for panel in share(panels.panels(), part, parts) {
                let first = panel * width;
                let count = width.min(rows - first);
                // SAFETY: the panel is there, which no other part writes, and so are `count` rows.
                unsafe {
                    transpose_rows(numbers.as_ptr().add(first * apart), apart, count, columns, out.at(panel * next))
                }
            }
        });
        panels
    }

    /// The transposed, in panels of its own. Rows that fill up the last panel stay columns: it has `columns` rows and as many columns as
    /// there are rows in whole panels.
    pub fn transposed(&self, threads: usize) -> Panels {
        let mut panels = Panels::empty(self.columns, self.filled());
        let (from, to) = (Shared(self.pointer().cast_mut()), Shared(panels.pointer_mut()));
        in_parallel(threads.clamp(1, panels.panels().max(1)), &|part, parts| {
            let own = share(panels.panels(), part, parts);
            // SAFETY: all panels of both are there, and these are this part's.
            unsafe { transpose_panels(from, (self.panels(), self.columns), own, to) }
        });
        panels
    }

    /// The same, rounded to bf16.
    pub(crate) fn rounded(&self, threads: usize) -> Panels {
        let mut panels = Panels::empty(self.rows, self.columns);
        let (to, next, count) = (Shared(panels.pointer_mut()), self.apart(), self.columns * width());
        in_parallel(threads.clamp(1, self.panels().max(1)), &|part, parts| {
            for panel in share(self.panels(), part, parts) {
                // SAFETY: the panel is there on both sides, and no other part writes it.
                unsafe { round(self.pointer().add(panel * next), count, to.at(panel * next)) }
            }
        });
        panels
    }

    /// The sum of each column, over all rows; those that fill up the last panel have to be 0.
    pub(crate) fn column_sums(&self, threads: usize) -> Vec<f32> {
        let mut sums = vec![0.0; self.columns];
        let to = Shared(sums.as_mut_ptr());
        in_parallel(worth(self.columns * self.rows, threads), &|part, parts| {
            // SAFETY: all panels are there and written, and these sums are this part's.
            unsafe { sum_columns(self, share(self.columns, part, parts), to) }
        });
        sums
    }

    /// Writes the matrix row after row.
    ///
    /// # Panics
    ///
    /// If `numbers` are not as many.
    pub fn to_rows(&self, numbers: &mut [f32], threads: usize) {
        assert_eq!(numbers.len(), self.rows * self.columns, "room for {} rows of {}", self.rows, self.columns);
        self.put(numbers, self.columns, false, threads);
    }

    /// Adds the matrix to rows whose first numbers are `apart`, from the first number on.
    ///
    /// # Panics
    ///
    /// If there are not so many numbers.
    pub fn add_to_rows(&self, numbers: &mut [f32], apart: usize, threads: usize) {
        assert_rows(numbers.len(), (self.rows, self.columns), apart);
        self.put(numbers, apart, true, threads);
    }

    /// Puts rows where they belong, or adds them; there is room for all.
    fn put(&self, numbers: &mut [f32], apart: usize, add: bool, threads: usize) {
        if self.columns == 0 {
            return;
        }
        let (from, to) = (Shared(self.pointer().cast_mut()), Shared(numbers.as_mut_ptr()));
        let (rows, columns, width, next) = (self.rows, self.columns, width(), self.apart());
        in_parallel(threads.clamp(1, self.panels().max(1)), &|part, parts| {
            for panel in share(self.panels(), part, parts) {
                let count = width.min(rows - panel * width);
                // SAFETY: the panel is there, and so are its `count` rows, which no other part writes.
                unsafe {
                    let to = to.at(panel * width * apart);
                    untranspose_rows(from.at(panel * next), count, columns, to, apart, add);
                }
            }
        });
    }
}

/// # Panics
///
/// If `len` numbers do not hold such rows.
fn assert_rows(len: usize, (rows, columns): (usize, usize), apart: usize) {
    let last = match (rows, columns) {
        (0, _) | (_, 0) => Some(0),
        _ => (rows - 1).checked_mul(apart).and_then(|start| start.checked_add(columns)),
    };
    let apart_enough = rows <= 1 || apart >= columns;
    let fits = apart_enough && last.is_some_and(|last| last <= len);
    assert!(fits, "{rows} rows of {columns} numbers, {apart} apart, among {len}");
}

with_lanes! {
    unsafe fn sum_columns(panels: &Panels, own: Range<usize>, to: Shared) = sum_columns_by
}

/// # Safety
///
/// All panels are written, and nobody else writes the places of these columns, which are there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn sum_columns_by<V: Lanes>(panels: &Panels, own: Range<usize>, to: Shared) {
    for column in own {
        unsafe {
            let mut sum = V::splat(0.0);
            for panel in 0..panels.panels() {
                let from = panels.pointer().add(panel * apart::<V>(panels.columns) + column * V::ACROSS);
                sum = sum.add(V::load(from).add(V::load(from.add(V::LANES))));
            }
            *to.at(column) = sum.sum();
        }
    }
}

with_lanes! {
    /// `count` rows of `columns` to a panel.
    unsafe fn transpose_rows(from: *const f32, apart: usize, count: usize, columns: usize, to: *mut f32) = transpose_rows_by
}

/// # Safety
///
/// `from` is `count` rows, no more than a panel's, of `columns` numbers, each `apart` from the one before, `to` a panel of as many columns.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn transpose_rows_by<V: Lanes>(from: *const f32, apart: usize, count: usize, columns: usize, to: *mut f32) {
    unsafe {
        for column in (0..columns).step_by(V::LANES) {
            let across = V::LANES.min(columns - column);
            for first in (0..V::ACROSS).step_by(V::LANES) {
                let mut rows = V::zeros();
                let there = count.saturating_sub(first).min(V::LANES);
                for (i, row) in rows.as_mut().iter_mut().enumerate().take(there) {
                    *row = V::load_first(from.add((first + i) * apart + column), across);
                }
                let turned = V::transposed(rows);
                for (i, vector) in turned.as_ref().iter().enumerate().take(across) {
                    vector.store(to.add((column + i) * V::ACROSS + first));
                }
            }
        }
    }
}

with_lanes! {
    /// So many panels of so many columns to some panels of the transposed matrix.
    unsafe fn transpose_panels(from: Shared, size: (usize, usize), own: Range<usize>, to: Shared) = transpose_panels_by
}

/// # Safety
///
/// `from` is so many panels of so many columns, `to` the panels of the transposed, and nobody else writes its `own`.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn transpose_panels_by<V: Lanes>(
    from: Shared,
    (panels, columns): (usize, usize),
    own: Range<usize>,
    to: Shared,
) {
    let block = V::ACROSS * V::ACROSS;
    for panel in own {
        let count = V::ACROSS.min(columns - panel * V::ACROSS);
        for i in 0..panels {
            unsafe {
                let from = from.at(i * apart::<V>(columns) + panel * block);
                let to = to.at(panel * apart::<V>(panels * V::ACROSS) + i * block);
                // What is read next lies too far away for processors to foresee it.
                for line in (0..block).step_by(LINE) {
                    V::prefetch(from.wrapping_add(apart::<V>(columns) + line));
                    V::prefetch_to_write(to.wrapping_add(block + line));
                }
                transpose_block::<V>(from, count, to);
            }
        }
    }
}

/// `count` columns of a panel to as many numbers of each row of another.
///
/// # Safety
///
/// `from` is `count` columns of a panel, `to` as many of one as it has rows.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn transpose_block<V: Lanes>(from: *const f32, count: usize, to: *mut f32) {
    unsafe {
        for up in (0..V::ACROSS).step_by(V::LANES) {
            let there = count.saturating_sub(up).min(V::LANES);
            for side in (0..V::ACROSS).step_by(V::LANES) {
                let mut rows = V::zeros();
                for (i, row) in rows.as_mut().iter_mut().enumerate().take(there) {
                    *row = V::load(from.add((up + i) * V::ACROSS + side));
                }
                for (i, vector) in V::transposed(rows).as_ref().iter().enumerate() {
                    vector.store(to.add((side + i) * V::ACROSS + up));
                }
            }
        }
    }
}

with_lanes! {
    /// A panel to `count` rows of `columns`.
    unsafe fn untranspose_rows(
        from: *const f32,
        count: usize,
        columns: usize,
        to: *mut f32,
        apart: usize,
        add: bool,
    ) = untranspose_rows_by
}

/// # Safety
///
/// As [`transpose_rows_by`], the other way.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn untranspose_rows_by<V: Lanes>(
    from: *const f32,
    count: usize,
    columns: usize,
    to: *mut f32,
    apart: usize,
    add: bool,
) {
    unsafe {
        for column in (0..columns).step_by(V::LANES) {
            let across = V::LANES.min(columns - column);
            for first in (0..V::ACROSS).step_by(V::LANES) {
                let there = count.saturating_sub(first).min(V::LANES);
                let mut rows = V::zeros();
                for (i, row) in rows.as_mut().iter_mut().enumerate().take(across) {
                    *row = V::load(from.add((column + i) * V::ACROSS + first));
                }
                let turned = V::transposed(rows);
                for (i, &(mut vector)) in turned.as_ref().iter().enumerate().take(there) {
                    let to = to.add((first + i) * apart + column);
                    if add {
                        vector = vector.add(V::load_first(to, across));
                    }
                    vector.store_first(to, across);
                }
            }
        }
    }
}
