//! Tables: named columns of finite real numbers, from a file or embedded.

mod csv_file;
mod embedded;
mod moments;
mod npy_file;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ndarray::Array1;

pub(crate) use self::embedded::{diabetes, iris, winequality};
use self::moments::Moments;
use crate::{
    DataSet, Error, Preprocessing, Spec, Split, Values,
    mapped::MappedRows,
    partition::{Deal, Sizes, check_rows, deal},
};

/// The most columns that are read: each gets a name, which takes far more memory than its byte in a file.
const MAX_COLUMNS: usize = 1 << 22;

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
    /// [`Error::Read`], of a device or a folder, too, [`Error::Empty`], and [`Error::Csv`] with line and column for a
    /// cell that is not a finite number, for a row of another length, and for more than 4,194,304 columns.
    pub fn read_csv(path: &Path) -> Result<Table, Error> {
        csv_file::read(path)
    }

    /// Reads an NPY file: an array `[n, ..]` of `f32`, `f64`, `u8`, or `i8` to `i64`, `u16` to `u64`, of two axes or more;
    /// those after the first are flattened, the last one fastest.
    ///
    /// `u8` arrays become [`Values::Levels`] with 256 levels, all others reals.
    ///
    /// # Errors
    /// [`Error::Read`], of a device or a folder, too, [`Error::Empty`], [`Error::Npy`] for another type or shape, more
    /// than 4,194,304 columns or a damaged file, and [`Error::NpyCell`] with row and column for an entry that is not a
    /// finite `f32`.
    pub fn read_npy(path: &Path) -> Result<Table, Error> {
        npy_file::read(path)
    }

    /// Splits the rows 80 / 10 / 10 in a seeded order, as reals, with the training rows' moments by column.
    ///
    /// # Errors
    /// [`Error::TooFewRows`] below 10 rows, [`Error::TooManyRows`] above 2³¹ - 1, [`Error::ConstantColumn`] for a column without spread in the training rows.
    pub fn into_data_set(self, spec: Spec, seed: u64) -> Result<DataSet, Error> {
        self.with_labels(None, spec, seed)
    }

    fn with_labels(self, labels: Option<Array1<u8>>, spec: Spec, seed: u64) -> Result<DataSet, Error> {
        let rows = self.values.len();
        check_rows(rows, &self.path)?;
        let all = Split::new(Values::Reals(self.values.to_reals()), vec![self.columns.len()], labels)?;
        let parts = deal(&all, Sizes::tenths(rows), seed);
        let (mean, std) = Moments::of(parts.train.to_reals().view()).finish(&self.columns, &self.path)?;
        Ok(parts.into_data_set(spec, Preprocessing::Table { columns: self.columns, mean, std }))
    }
}

/// `npy:PATH`: the rows stay in the file, which is gone through once: every value must be a finite `f32`, and the moments
/// of the training rows are taken.
pub(crate) fn npy(path: &Path, spec: &Spec, seed: u64) -> Result<DataSet, Error> {
    let rows = Arc::new(npy_file::open(path)?.into_reals());
    check_rows(rows.len(), path)?;
    let deal = Deal::new(rows.len(), Sizes::tenths(rows.len()), seed);
    let columns = numbered(rows.columns());
    let (mean, std) = training_moments(&rows, &deal.trains(), path)?.finish(&columns, path)?;
    let parts = deal.in_file(&rows, &[columns.len()], None);
    Ok(parts.into_data_set(spec.clone(), Preprocessing::Table { columns, mean, std }))
}

/// One pass through the file, in its order: what a seeded order would read here and there is read ahead.
fn training_moments(rows: &MappedRows, trains: &[bool], path: &Path) -> Result<Moments, Error> {
    let mut moments = Moments::default();
    for (part, values) in rows.pass() {
        npy_file::check(rows, part.start, &values, path)?;
        let training: Vec<usize> = (0..part.len()).filter(|row| trains[part.start + row]).collect();
        moments.add(values.gather(&training).to_reals().view());
    }
    Ok(moments)
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
