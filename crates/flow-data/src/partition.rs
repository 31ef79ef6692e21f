//! Deals the rows of a finite data set out to its three splits, in a seeded order.

use crate::{DataSet, Preprocessing, Rows, Source, Spec, Split, random::permutation};

/// With fewer rows a tenth of them is none.
pub(crate) const MIN_ROWS: usize = 10;

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

/// Training rows first in the seeded order, then validation, then test.
pub(crate) fn deal(all: &Split, sizes: Sizes, seed: u64) -> Parts {
    let order = permutation(all.len(), seed);
    let (rest, test) = order.split_at(order.len() - sizes.test);
    let (train, validation) = rest.split_at(rest.len() - sizes.validation);
    Parts { train: all.select(train), validation: all.select(validation), test: all.select(test) }
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
