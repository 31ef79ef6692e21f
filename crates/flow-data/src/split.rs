//! One split of a data set: its rows, and their labels where it has any.

use std::{borrow::Cow, ops::Range, sync::Arc};

use ndarray::{Array1, Array2};

use crate::{Error, Rows, Values, mapped::MappedRows};

/// Rows with labels where the data set has any: in memory, or left in their file and read when they are asked for. A
/// copy shares the rows.
#[derive(Clone, Debug)]
pub struct Split {
    rows: Stored,
    /// A class for each row, `[n]`: the digit, the flower, the wine's mark, the arc a toy point was born on.
    pub labels: Option<Array1<u8>>,
    /// The shape of one row; its product is D.
    event_shape: Vec<usize>,
}

/// Where the rows are.
#[derive(Clone, Debug)]
enum Stored {
    Memory(Arc<Values>),
    /// Those of `order` in `range`, by their number in the file.
    File {
        rows: Arc<MappedRows>,
        order: Arc<Vec<u32>>,
        range: Range<usize>,
    },
}

impl Split {
    /// Rows of `event_shape` with their labels, in memory. Values of another memory layout are copied to row-major.
    ///
    /// # Errors
    /// [`Error::Shape`] where a row has not as many values as `event_shape`, or the labels are not one a row.
    pub fn new(values: Values, event_shape: Vec<usize>, labels: Option<Array1<u8>>) -> Result<Split, Error> {
        let (rows, columns) = values.dim();
        let dim = event_shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        if dim != Some(columns) || labels.as_ref().is_some_and(|labels| labels.len() != rows) {
            let labels = labels.map(|labels| labels.len());
            return Err(Error::Shape { rows, columns, event_shape, labels });
        }
        Ok(Split { rows: Stored::Memory(Arc::new(values.into_standard_layout())), labels, event_shape })
    }

    /// The rows of a file whose numbers are `order[range]`, with the labels that all rows of the file have.
    pub(crate) fn in_file(
        rows: &Arc<MappedRows>,
        order: &Arc<Vec<u32>>,
        range: Range<usize>,
        event_shape: &[usize],
        labels: Option<&Array1<u8>>,
    ) -> Split {
        let labels = labels.map(|labels| order[range.clone()].iter().map(|&row| labels[row as usize]).collect());
        let rows = Stored::File { rows: rows.clone(), order: order.clone(), range };
        Split { rows, labels, event_shape: event_shape.to_vec() }
    }

    /// All values, `[n, D]`, as read. Rows that are in a file are read into memory for it, every one: to go through many
    /// of them, [`gather`](Rows::gather) some at a time.
    pub fn values(&self) -> Cow<'_, Values> {
        match &self.rows {
            Stored::Memory(values) => Cow::Borrowed(values),
            Stored::File { rows, order, range } => Cow::Owned(rows.gather(in_order(&order[range.clone()]))),
        }
    }

    /// The number of levels, where values are levels.
    pub fn levels(&self) -> Option<u32> {
        match self.gather(&[]) {
            Values::Levels { levels, .. } => Some(levels),
            Values::Reals(_) => None,
        }
    }

    /// The rows of these indices with their labels, in their order.
    ///
    /// # Panics
    /// Where an index is not below the number of rows.
    pub fn select(&self, indices: &[usize]) -> Split {
        let rows = match &self.rows {
            Stored::Memory(values) => Stored::Memory(Arc::new(values.gather(indices))),
            Stored::File { rows, order, range } => {
                let picked: Vec<u32> = indices.iter().map(|&index| order[range.clone()][index]).collect();
                Stored::File { rows: rows.clone(), range: 0..picked.len(), order: Arc::new(picked) }
            }
        };
        Split {
            rows,
            labels: self.labels.as_ref().map(|labels| indices.iter().map(|&index| labels[index]).collect()),
            event_shape: self.event_shape.clone(),
        }
    }

    /// The rows as real numbers, levels as the whole numbers they are: `[n, D]`.
    pub fn to_reals(&self) -> Array2<f32> {
        self.values().to_reals()
    }
}

fn in_order(rows: &[u32]) -> impl ExactSizeIterator<Item = usize> {
    rows.iter().map(|&row| row as usize)
}

/// Whether rows, labels and shape are the same, wherever the rows are; it reads all of them.
impl PartialEq for Split {
    fn eq(&self, other: &Split) -> bool {
        self.event_shape == other.event_shape && self.labels == other.labels && self.values() == other.values()
    }
}

impl Rows for Split {
    fn len(&self) -> usize {
        match &self.rows {
            Stored::Memory(values) => values.len(),
            Stored::File { range, .. } => range.len(),
        }
    }

    fn event_shape(&self) -> &[usize] {
        &self.event_shape
    }

    fn gather(&self, indices: &[usize]) -> Values {
        match &self.rows {
            Stored::Memory(values) => values.gather(indices),
            Stored::File { rows, order, range } => {
                let order = &order[range.clone()];
                rows.gather(indices.iter().map(|&index| order[index] as usize))
            }
        }
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
        // Its product is 2 where it overflows.
        let huge = vec![usize::MAX / 2 + 2, 2];
        assert!(matches!(Split::new(values(), huge, None), Err(Error::Shape { columns: 2, .. })));
        assert!(matches!(Split::new(values(), vec![2], Some(array![1])), Err(Error::Shape { labels: Some(1), .. })));
        assert!(Split::new(values(), vec![1, 2, 1], Some(array![1, 2])).is_ok());
    }

    #[test]
    fn labels_follow_their_rows() {
        let values = Values::Reals(array![[1.0], [2.0], [3.0]]);
        let split = Split::new(values, vec![1], Some(array![1, 2, 3])).unwrap();
        let two = split.select(&[2, 0]);
        assert_eq!(*two.values(), Values::Reals(array![[3.0], [1.0]]));
        assert_eq!(two.labels, Some(array![3, 1]));
        assert_eq!((two.len(), two.event_shape()), (2, &[1][..]));
    }
}
