//! Rows of data: the values themselves, and the small trait through which training sees them.

use ndarray::{Array2, ArrayView2, Axis};

/// Rows that can be counted and gathered by index, wherever they lie: in memory, or mapped from a file.
pub trait Rows {
    /// The number of rows.
    fn len(&self) -> usize;

    /// The shape of one row, for example `[1, 28, 28]` (channels, height, width) or `[2]`.
    fn event_shape(&self) -> &[usize];

    /// The rows of these indices, in their order, repeats allowed: `[indices.len(), D]`.
    ///
    /// # Panics
    /// Where an index is not below [`len`](Rows::len).
    fn gather(&self, indices: &[usize]) -> Values;

    /// Whether there is no row at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Values as they were read, `[n, D]`, row-major and contiguous: nothing is rescaled here.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Whole numbers 0 to `levels` - 1, such as grey levels. A density model needs noise on them first: (k + u) /
    /// levels with u uniform on [0, 1).
    Levels {
        /// The numbers.
        data: Array2<u8>,
        /// How many different ones there can be.
        levels: u32,
    },
    /// Real numbers.
    Reals(Array2<f32>),
}

impl Values {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.dim().0
    }

    /// Whether there is no row at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of rows and of values in a row, (n, D).
    pub fn dim(&self) -> (usize, usize) {
        match self {
            Values::Levels { data, .. } => data.dim(),
            Values::Reals(data) => data.dim(),
        }
    }

    /// The rows of these indices, in their order, repeats allowed.
    ///
    /// # Panics
    /// Where an index is not below [`len`](Values::len).
    pub fn gather(&self, indices: &[usize]) -> Values {
        match self {
            Values::Levels { data, levels } => Values::Levels { data: gather(data.view(), indices), levels: *levels },
            Values::Reals(data) => Values::Reals(gather(data.view(), indices)),
        }
    }

    /// The values as real numbers: levels as the whole numbers they are, reals unchanged. `[n, D]`.
    pub fn to_reals(&self) -> Array2<f32> {
        match self {
            Values::Levels { data, .. } => data.mapv(f32::from),
            Values::Reals(data) => data.clone(),
        }
    }

    /// The same values laid out row-major and contiguous.
    pub(crate) fn into_standard_layout(self) -> Values {
        match self {
            Values::Levels { data, levels } => Values::Levels { data: data.as_standard_layout().into_owned(), levels },
            Values::Reals(data) => Values::Reals(data.as_standard_layout().into_owned()),
        }
    }
}

/// Copies whole rows: several times faster than a general selection along an axis, and a training step waits for it.
fn gather<A: Copy>(data: ArrayView2<'_, A>, indices: &[usize]) -> Array2<A> {
    let mut out = Vec::with_capacity(indices.len() * data.ncols());
    for &index in indices {
        let row = data.index_axis(Axis(0), index);
        match row.as_slice() {
            Some(row) => out.extend_from_slice(row),
            None => out.extend(row.iter()),
        }
    }
    Array2::from_shape_vec((indices.len(), data.ncols()), out).expect("every row has the same length")
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn rows_are_gathered_in_the_order_asked_for() {
        let levels = Values::Levels { data: array![[0, 1], [2, 3], [4, 5]], levels: 6 };
        assert_eq!(levels.gather(&[2, 0, 2]), Values::Levels { data: array![[4, 5], [0, 1], [4, 5]], levels: 6 });
        let reals = Values::Reals(array![[0.5, 1.0], [2.0, 3.0]]);
        assert_eq!(reals.gather(&[1]), Values::Reals(array![[2.0, 3.0]]));
        assert_eq!(reals.gather(&[]).dim(), (0, 2));
    }

    #[test]
    fn any_memory_layout_is_gathered_right() {
        let transposed = Values::Reals(array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]].reversed_axes());
        assert_eq!(transposed.gather(&[2, 1]), Values::Reals(array![[3.0, 6.0], [2.0, 5.0]]));
        let Values::Reals(standard) = transposed.into_standard_layout() else { unreachable!() };
        assert!(standard.is_standard_layout());
    }

    #[test]
    #[should_panic]
    fn an_index_beyond_the_end_panics() {
        Values::Reals(array![[1.0]]).gather(&[1]);
    }
}
