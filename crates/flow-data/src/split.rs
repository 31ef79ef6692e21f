//! One split of a data set: its rows, and their labels where it has any.

use ndarray::{Array1, Array2};

use crate::{Error, Rows, Values};

/// Rows in memory, with labels where the data set has any.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The rows, `[n, D]`, as read.
    pub values: Values,
    /// A class for each row, `[n]`: the digit, the flower, the wine's mark, the arc a toy point was born on.
    pub labels: Option<Array1<u8>>,
    /// The shape of one row; its product is D.
    event_shape: Vec<usize>,
}

impl Split {
    /// Rows of `event_shape` with their labels. Values of another memory layout are copied to row-major.
    ///
    /// # Errors
    /// [`Error::Shape`] where a row has not as many values as `event_shape`, or the labels are not one a row.
    pub fn new(values: Values, event_shape: Vec<usize>, labels: Option<Array1<u8>>) -> Result<Split, Error> {
        let (rows, columns) = values.dim();
        let fits = event_shape.iter().product::<usize>() == columns;
        if !fits || labels.as_ref().is_some_and(|labels| labels.len() != rows) {
            let labels = labels.map(|labels| labels.len());
            return Err(Error::Shape { rows, columns, event_shape, labels });
        }
        Ok(Split { values: values.into_standard_layout(), labels, event_shape })
    }

    /// The rows of these indices with their labels, in their order.
    ///
    /// # Panics
    /// Where an index is not below the number of rows.
    pub fn select(&self, indices: &[usize]) -> Split {
        Split {
            values: self.values.gather(indices),
            labels: self.labels.as_ref().map(|labels| indices.iter().map(|&index| labels[index]).collect()),
            event_shape: self.event_shape.clone(),
        }
    }

    /// The rows as real numbers, levels as the whole numbers they are: `[n, D]`.
    pub fn to_reals(&self) -> Array2<f32> {
        self.values.to_reals()
    }
}

impl Rows for Split {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn event_shape(&self) -> &[usize] {
        &self.event_shape
    }

    fn gather(&self, indices: &[usize]) -> Values {
        self.values.gather(indices)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let values = || Values::Reals(array![[1.0, 2.0], [3.0, 4.0]]);
        assert!(matches!(Split::new(values(), vec![3], None), Err(Error::Shape { columns: 2, .. })));
        assert!(matches!(Split::new(values(), vec![2], Some(array![1])), Err(Error::Shape { labels: Some(1), .. })));
        assert!(Split::new(values(), vec![1, 2, 1], Some(array![1, 2])).is_ok());
    }

    #[test]
    fn labels_follow_their_rows() {
        let values = Values::Reals(array![[1.0], [2.0], [3.0]]);
        let split = Split::new(values, vec![1], Some(array![1, 2, 3])).unwrap();
        let two = split.select(&[2, 0]);
        assert_eq!(two.values, Values::Reals(array![[3.0], [1.0]]));
        assert_eq!(two.labels, Some(array![3, 1]));
        assert_eq!((two.len(), two.event_shape()), (2, &[1][..]));
    }
}
