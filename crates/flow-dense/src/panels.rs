//! Matrices in panels: 32 rows side by side, so that a product reads lines of them in a row.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::lanes::{LINE, Lanes, with_lanes};
use crate::pool::{Shared, in_parallel, share};

/// Rows of a panel: two lines. A part of them takes as long to compute.
pub const PANEL: usize = 2 * LINE;

/// A cache line of numbers, and what panels are aligned to.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; LINE]);

/// Numbers from the first of a panel of so many columns to the first of the next. Where these would lie a multiple of a kilobyte apart
/// there are some lines between them that are nobody's: caches have few places for numbers that lie so, and a gradient goes through
/// all panels at once.
pub(crate) fn apart(columns: usize) -> usize {
    let lines = columns * (PANEL / LINE);
    (lines + if lines > 0 && lines.is_multiple_of(16) { 13 } else { 0 }) * LINE
}

/// A matrix `[rows, columns]` of f32 in panels of 32 rows: `[rows / 32, columns, 32]` in memory, with
/// some lines between panels where that helps. Rows that fill up the last
/// panel are part of every product. They begin as 0 ([`Panels::from_rows`]); what [`forward`](crate::forward) makes of them
/// means nothing, and [`backward`](crate::backward) keeps them 0.
#[derive(Debug)]
pub struct Panels {
    rows: usize,
    columns: usize,
    lines: Vec<MaybeUninit<Line>>,
}

impl Panels {
    /// Numbers that mean nothing yet.
    pub(crate) fn empty(rows: usize, columns: usize) -> Self {
        let lines =
            columns.checked_mul(PANEL / LINE).and_then(|_| rows.div_ceil(PANEL).checked_mul(apart(columns) / LINE));
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
        self.rows.div_ceil(PANEL)
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
        let out = Shared(panels.pointer_mut());
        in_parallel(threads.clamp(1, panels.panels().max(1)), &|part, parts| {
            for panel in share(panels.panels(), part, parts) {
                let first = panel * PANEL;
                let count = PANEL.min(rows - first);
                // SAFETY: the panel has `columns` times 32 numbers, which no other part writes, and `count` rows are there.
                unsafe {
                    let out = out.at(panel * self::apart(columns));
                    transpose_rows(numbers.as_ptr().add(first * apart), apart, count, columns, out);
                }
            }
        });
        panels
    }

    /// The transposed, in panels of 32 columns. Rows that fill up the last panel stay columns of their own: it has `columns` rows
    /// and as many columns as rows rounded up to a multiple of 32.
    pub fn transposed(&self, threads: usize) -> Panels {
        let mut panels = Panels::empty(self.columns, self.panels() * PANEL);
        let (from, to) = (self.pointer(), Shared(panels.pointer_mut()));
        let from = Shared(from.cast_mut());
        let (columns, depth) = (self.columns, self.panels() * PANEL);
        in_parallel(threads.clamp(1, panels.panels().max(1)), &|part, parts| {
            for panel in share(columns.div_ceil(PANEL), part, parts) {
                let first = panel * PANEL;
                let count = PANEL.min(columns - first);
                for block in 0..depth / PANEL {
                    // SAFETY: 32 numbers of `count` columns are there, and 32 rows of this panel, which is this part's.
                    unsafe {
                        let from = from.at(block * apart(columns) + first * PANEL);
                        transpose_block(from, count, to.at(panel * apart(depth) + block * PANEL * PANEL));
                    }
                }
            }
        });
        panels
    }

    /// The sum of each column, over all rows; those that fill up the last panel have to be 0.
    pub fn column_sums(&self, threads: usize) -> Vec<f32> {
        let mut sums = vec![0.0; self.columns];
        let out = Shared(sums.as_mut_ptr());
        in_parallel(threads.clamp(1, self.columns.div_ceil(PANEL).max(1)), &|part, parts| {
            let own = share(self.columns, part, parts);
            // SAFETY: as many sums as columns, whole panels of these, and each sum is one part's.
            unsafe { sum_columns(self.pointer(), self.panels(), self.columns, own, out) }
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
        let (from, to) = (Shared(self.pointer().cast_mut()), Shared(numbers.as_mut_ptr()));
        let (rows, columns) = (self.rows, self.columns);
        in_parallel(threads.clamp(1, self.panels().max(1)), &|part, parts| {
            for panel in share(self.panels(), part, parts) {
                let count = PANEL.min(rows - panel * PANEL);
                // SAFETY: the panel is there, and so are its `count` rows, which no other part writes.
                unsafe {
                    let to = to.at(panel * PANEL * apart);
                    untranspose_rows(from.at(panel * self::apart(columns)), count, columns, to, apart, add);
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
    /// `count` rows of `columns` to a panel.
    unsafe fn transpose_rows(from: *const f32, apart: usize, count: usize, columns: usize, to: *mut f32) = transpose_rows_by
}

/// # Safety
///
/// `from` is `count` (at most 32) rows of `columns` numbers, each `apart` from the one before, `to` a panel of as many columns.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn transpose_rows_by<V: Lanes>(from: *const f32, apart: usize, count: usize, columns: usize, to: *mut f32) {
    unsafe {
        for column in (0..columns).step_by(V::LANES) {
            let across = V::LANES.min(columns - column);
            for first in (0..PANEL).step_by(V::LANES) {
                let mut rows = V::zeros();
                let there = count.saturating_sub(first).min(V::LANES);
                for (i, row) in rows.as_mut().iter_mut().enumerate().take(there) {
                    *row = V::load_first(from.add((first + i) * apart + column), across);
                }
                let turned = V::transposed(rows);
                for (i, vector) in turned.as_ref().iter().enumerate().take(across) {
                    vector.store(to.add((column + i) * PANEL + first));
                }
            }
        }
    }
}

with_lanes! {
    /// `count` columns of a panel to the rows of a panel of the transposed matrix.
    unsafe fn transpose_block(from: *const f32, count: usize, to: *mut f32) = transpose_block_by
}

/// # Safety
///
/// `from` is `count` (at most 32) columns of a panel, `to` 32 of one.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn transpose_block_by<V: Lanes>(from: *const f32, count: usize, to: *mut f32) {
    unsafe {
        for up in (0..PANEL).step_by(V::LANES) {
            let there = count.saturating_sub(up).min(V::LANES);
            for side in (0..PANEL).step_by(V::LANES) {
                let mut rows = V::zeros();
                for (i, row) in rows.as_mut().iter_mut().enumerate().take(there) {
                    *row = V::load(from.add((up + i) * PANEL + side));
                }
                for (i, vector) in V::transposed(rows).as_ref().iter().enumerate() {
                    vector.store(to.add((side + i) * PANEL + up));
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
            for first in (0..PANEL).step_by(V::LANES) {
                let there = count.saturating_sub(first).min(V::LANES);
                let mut rows = V::zeros();
                for (i, row) in rows.as_mut().iter_mut().enumerate().take(across) {
                    *row = V::load(from.add((column + i) * PANEL + first));
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

with_lanes! {
    unsafe fn sum_columns(from: *const f32, panels: usize, columns: usize, own: Range<usize>, to: Shared) = sum_columns_by
}

/// # Safety
///
/// `from` is so many panels of so many columns, and `to` has a place for each column.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn sum_columns_by<V: Lanes>(from: *const f32, panels: usize, columns: usize, own: Range<usize>, to: Shared) {
    for column in own {
        unsafe {
            let mut total = V::splat(0.0);
            for panel in 0..panels {
                for line in (0..PANEL).step_by(V::ACROSS) {
                    let from = from.add(panel * apart(columns) + column * PANEL + line);
                    total = total.add(V::load(from).add(V::load(from.add(V::LANES))));
                }
            }
            *to.at(column) = total.sum();
        }
    }
}
