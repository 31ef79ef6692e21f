//! Deals the rows of a finite data set out to its three splits, in a seeded order.

use std::{ops::Range, path::Path, sync::Arc};

use ndarray::Array1;

use crate::{DataSet, Error, Preprocessing, Rows, Source, Spec, Split, mapped::MappedRows, random::permutation};

/// With fewer rows a tenth of them is none.
pub(crate) const MIN_ROWS: usize = 10;
/// With more rows their numbers are not those of a permutation of `i32`.
pub(crate) const MAX_ROWS: usize = i32::MAX as usize;

/// Refuses too few rows to be split, and too many to be numbered.
pub(crate) fn check_rows(rows: usize, path: &Path) -> Result<(), Error> {
    match rows {
        ..MIN_ROWS => Err(Error::TooFewRows { path: path.to_owned(), rows, needed: MIN_ROWS }),
        MIN_ROWS..=MAX_ROWS => Ok(()),
        _ => Err(Error::TooManyRows { path: path.to_owned(), rows, most: MAX_ROWS }),
    }
}

/// How many rows are held back; the rest is for training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub validation: usize,
    pub test: usize,
}

impl Sizes {
    /// 80 / 10 / 10, each tenth rounded down.
    pub fn tenths(rows: usize) -> Sizes {
        Sizes { validation: rows / 10, test: rows / 10 }
    }
}

/// The three splits of a finite data set.
pub(crate) struct Parts {
    pub train: Split,
    pub validation: Split,
    pub test: Split,
}

/// The seeded order of all rows: training rows first, then validation, then test.
pub(crate) struct Deal {
    order: Arc<Vec<u32>>,
    sizes: Sizes,
}

impl Deal {
    /// Deals `rows` out.
    pub fn new(rows: usize, sizes: Sizes, seed: u64) -> Deal {
        Deal { order: Arc::new(permutation(rows, seed)), sizes }
    }

    /// The places in the order of the training, validation and test rows.
    fn ranges(&self) -> [Range<usize>; 3] {
        let test = self.order.len() - self.sizes.test;
        let validation = test - self.sizes.validation;
        [0..validation, validation..test, test..self.order.len()]
    }

    /// For each row in the order of its file, whether it is for training.
    pub fn trains(&self) -> Vec<bool> {
        let mut trains = vec![false; self.order.len()];
        let [train, ..] = self.ranges();
        self.order[train].iter().for_each(|&row| trains[row as usize] = true);
        trains
    }

    /// The splits of rows that stay in their file.
    pub fn in_file(&self, rows: &Arc<MappedRows>, event_shape: &[usize], labels: Option<&Array1<u8>>) -> Parts {
        let [train, validation, test] =
            self.ranges().map(|range| Split::in_file(rows, &self.order, range, event_shape, labels));
        Parts { train, validation, test }
    }

    /// The splits of rows in memory, or of other splits.
    fn of(&self, all: &Split) -> Parts {
        let [train, validation, test] = self.ranges().map(|range| {
            let rows: Vec<usize> = self.order[range].iter().map(|&row| row as usize).collect();
            all.select(&rows)
        });
        Parts { train, validation, test }
    }
}

/// Deals rows in memory out in the seeded order.
pub(crate) fn deal(all: &Split, sizes: Sizes, seed: u64) -> Parts {
    Deal::new(all.len(), sizes, seed).of(all)
}

impl Parts {
    pub fn into_data_set(self, spec: Spec, preprocessing: Preprocessing) -> DataSet {
        DataSet {
            spec,
            event_shape: self.test.event_shape().to_vec(),
            preprocessing,
            train: Source::Fixed(self.train),
            validation: self.validation,
            test: self.test,
            notes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::Values;

    #[test]
    fn every_row_is_dealt_once_and_the_seed_decides_where() {
        let values = Values::Reals(Array2::from_shape_fn((57, 1), |(row, _)| row as f32));
        let all = Split::new(values, vec![1], None).unwrap();
        let parts = deal(&all, Sizes::tenths(57), 3);
        assert_eq!((parts.train.len(), parts.validation.len(), parts.test.len()), (47, 5, 5));
        let dealt = [&parts.train, &parts.validation, &parts.test];
        let mut rows: Vec<f32> = dealt.iter().flat_map(|split| split.to_reals()).collect();
        rows.sort_by(f32::total_cmp);
        assert!(rows.iter().enumerate().all(|(i, &row)| row == i as f32));
        assert_eq!(parts.test, deal(&all, Sizes::tenths(57), 3).test);
        assert_ne!(parts.test, deal(&all, Sizes::tenths(57), 4).test);
    }
}
