//! Rows of a mapped file: where each of their values lies, and how they are gathered.

use std::ops::Range;

use ndarray::Array2;

use super::{
    FileBytes,
    numbers::{Element, Number, ReadNumbers},
};
use crate::Values;

/// Values that a pass through the file gathers at a time: 1 MiB of them as `f32`.
const PASS: usize = 1 << 18;

/// Rows in a file.
#[derive(Debug)]
pub(crate) struct MappedRows {
    bytes: FileBytes,
    layout: Layout,
}

/// Where the values of rows lie in a file, all counted in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// What a value is.
    pub element: Element,
    /// How many rows there are.
    pub rows: usize,
    /// Where the first row begins.
    pub start: usize,
    /// From the beginning of a row to that of the next.
    pub pitch: usize,
    /// The values of a row.
    pub columns: Columns,
}

/// Where the values of a row lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    /// So many, one after another.
    Together(usize),
    /// Each so many bytes after the beginning of the row: a column-major file.
    Apart(Vec<usize>),
}

impl MappedRows {
    /// The rows that `layout` finds in `bytes`, whose length whoever made the layout has checked: where it says more than
    /// the file has, gathering panics.
    pub fn new(bytes: FileBytes, layout: Layout) -> MappedRows {
        bytes.here_and_there();
        MappedRows { bytes, layout }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.layout.rows
    }

    /// The number of values in a row.
    pub fn columns(&self) -> usize {
        match &self.layout.columns {
            Columns::Together(columns) => *columns,
            Columns::Apart(offsets) => offsets.len(),
        }
    }

    /// Whether every value is a finite `f32`, whatever its bytes.
    pub fn always_finite(&self) -> bool {
        match self.layout.element {
            Element::Levels { .. } => true,
            Element::Real(number) => number.always_finite(),
        }
    }

    /// The same rows, levels as the whole numbers they are.
    pub fn into_reals(mut self) -> MappedRows {
        if let Element::Levels { .. } = self.layout.element {
            self.layout.element = Element::Real(Number::U8);
        }
        self
    }

    /// The rows of these indices, in their order.
    ///
    /// # Panics
    /// Where an index is not below [`len`](MappedRows::len).
    pub fn gather(&self, rows: impl ExactSizeIterator<Item = usize>) -> Values {
        let dim = (rows.len(), self.columns());
        match self.layout.element {
            Element::Levels { levels, shift } => {
                let data = self.read(rows, |[level]| level >> shift);
                Values::Levels { data: Array2::from_shape_vec(dim, data).expect("a value a column"), levels }
            }
            Element::Real(number) => {
                let data = number.read(Gather { rows: self, of: rows, real: |value| value as f32 });
                Values::Reals(Array2::from_shape_vec(dim, data).expect("a value a column"))
            }
        }
    }

    /// A value before it is an `f32`.
    pub fn exact(&self, row: usize, column: usize) -> f64 {
        let number = match self.layout.element {
            Element::Levels { .. } => Number::U8,
            Element::Real(number) => number,
        };
        number.read(Gather { rows: self, of: [row].into_iter(), real: |value| value })[column]
    }

    /// All rows in the order of the file, some at a time, told which.
    pub fn pass(&self) -> impl Iterator<Item = (Range<usize>, Values)> {
        self.bytes.in_order();
        let (len, step) = (self.len(), (PASS / self.columns().max(1)).max(1));
        let parts = (0..len).step_by(step).map(move |from| {
            let part = from..(from + step).min(len);
            (part.clone(), self.gather(part))
        });
        // The iterator's end is the end of the pass.
        parts.chain(std::iter::from_fn(|| {
            self.bytes.here_and_there();
            None
        }))
    }

    fn read<const N: usize, T>(
        &self,
        rows: impl ExactSizeIterator<Item = usize>,
        value: impl Fn([u8; N]) -> T,
    ) -> Vec<T> {
        let Layout { rows: len, start, pitch, columns, .. } = &self.layout;
        let bytes = self.bytes.as_slice();
        let mut out = Vec::with_capacity(rows.len() * self.columns());
        for row in rows {
            assert!(row < *len, "row {row} of {len}");
            let row = &bytes[start + row * pitch..];
            match columns {
                Columns::Together(columns) => {
                    out.extend(row[..columns * N].as_chunks().0.iter().map(|bytes| value(*bytes)));
                }
                Columns::Apart(offsets) => {
                    let at = |offset: &usize| *row[*offset..].first_chunk().expect("the layout was checked");
                    out.extend(offsets.iter().map(|offset| value(at(offset))));
                }
            }
        }
        out
    }
}

/// Rows on their way to being numbers.
struct Gather<'a, I, F> {
    rows: &'a MappedRows,
    of: I,
    real: F,
}

impl<T, I: ExactSizeIterator<Item = usize>, F: Fn(f64) -> T> ReadNumbers<Vec<T>> for Gather<'_, I, F> {
    fn read<const N: usize>(self, number: impl Fn([u8; N]) -> f64) -> Vec<T> {
        self.rows.read(self.of, |bytes| (self.real)(number(bytes)))
    }
}
