//! Tables: named columns of finite real numbers, from a file or embedded.

mod csv_file;
mod embedded;
mod npy_file;

use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2, Axis};

pub(crate) use self::embedded::{diabetes, iris, winequality};
use crate::{
    DataSet, Error, Preprocessing, Spec, Split, Values,
    partition::{MIN_ROWS, Sizes, deal},
};

/// Named columns of finite numbers, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The names of the columns: the header's, or `x1`, `x2`, ...
    pub columns: Vec<String>,
    /// The rows, `[n, columns]`: levels where the file's numbers are `u8`, reals otherwise.
    pub values: Values,
    /// Where it was read from.
    pub path: PathBuf,
}

impl Table {
    /// Reads a CSV file: numbers between commas, with or without a header.
    ///
    /// The first line is a header where none of its cells is a number. Every number becomes an `f32`.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Empty`], and [`Error::Csv`] with line and column for a cell that is not a finite
    /// number and for a row of another length.
    pub fn read_csv(path: &Path) -> Result<Table, Error> {
        csv_file::read(path)
    }

    /// Reads an NPY file: an array `[n, ..]` of `f32`, `f64`, `u8`, or `i8` to `i64`, `u16` to `u64`, of two axes or more;
    /// those after the first are flattened, the last one fastest.
    ///
    /// `u8` arrays become [`Values::Levels`] with 256 levels, all others reals.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Empty`], [`Error::Npy`] for another type or shape or a damaged file, and
    /// [`Error::NpyCell`] with row and column for an entry that is not a finite `f32`.
    pub fn read_npy(path: &Path) -> Result<Table, Error> {
        npy_file::read(path)
    }

    /// Splits the rows 80 / 10 / 10 in a seeded order, as reals, with the training rows' moments by column.
    ///
    /// # Errors
    /// [`Error::TooFewRows`] below 10 rows, [`Error::ConstantColumn`] for a column without spread in the training rows.
    pub fn into_data_set(self, spec: Spec, seed: u64) -> Result<DataSet, Error> {
        self.with_labels(None, spec, seed)
    }

    fn with_labels(self, labels: Option<Array1<u8>>, spec: Spec, seed: u64) -> Result<DataSet, Error> {
        let rows = self.values.len();
        if rows < MIN_ROWS {
            return Err(Error::TooFewRows { path: self.path, rows, needed: MIN_ROWS });
        }
        let all = Split::new(Values::Reals(self.values.to_reals()), vec![self.columns.len()], labels)?;
        let parts = deal(&all, Sizes::tenths(rows), seed);
        let (mean, std) = moments(&parts.train.to_reals(), &self.columns, &self.path)?;
        Ok(parts.into_data_set(spec, Preprocessing::Table { columns: self.columns, mean, std }))
    }
}

/// Mean and standard deviation (divided by n) of each column.
fn moments(rows: &Array2<f32>, names: &[String], path: &Path) -> Result<(Vec<f64>, Vec<f64>), Error> {
    for (i, column) in rows.axis_iter(Axis(1)).enumerate() {
        // Compared as values: a sum's rounding would give a constant column a tiny deviation instead of none.
        if column.iter().all(|value| *value == column[0]) {
            return Err(Error::ConstantColumn { path: path.to_owned(), column: i + 1, name: names[i].clone() });
        }
    }
    let rows = rows.mapv(f64::from);
    let mean = rows.mean_axis(Axis(0)).expect("a table has rows");
    Ok((mean.to_vec(), rows.std_axis(Axis(0), 0.0).to_vec()))
}

/// Names for columns that have none.
fn numbered(columns: usize) -> Vec<String> {
    (1..=columns).map(|i| format!("x{i}")).collect()
}

/// A number as `f32`, or why it cannot be one.
fn finite(value: f64) -> Result<f32, String> {
    match value as f32 {
        rounded if rounded.is_finite() => Ok(rounded),
        _ if value.is_finite() => Err(format!("{value:e} is beyond the range of f32")),
        _ => Err(format!("{value} is not a finite number")),
    }
}
