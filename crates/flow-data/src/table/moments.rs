//! Mean and standard deviation by column, of rows that come some at a time.

use std::path::Path;

use ndarray::{Array1, ArrayView2, Axis};

use crate::Error;

/// The moments of the rows so far, by column.
///
/// Each part's are computed by themselves in f64 and merged: with the shares w of two parts among their rows,
///
/// ```text
/// mean = mean_a + w_b δ,    variance = w_a variance_a + w_b variance_b + w_a w_b δ²,    δ = mean_b - mean_a
/// ```
///
/// (T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
/// 1979, eq. 1.4). No sum of squares is formed from which a mean would be taken away.
#[derive(Debug, Default)]
pub(super) struct Moments {
    rows: usize,
    mean: Array1<f64>,
    variance: Array1<f64>,
    /// The first row, and whether a column has had another value since.
    first: Vec<f32>,
    varies: Vec<bool>,
}

impl Moments {
    /// Of all rows at once.
    pub fn of(rows: ArrayView2<'_, f32>) -> Moments {
        let mut moments = Moments::default();
        moments.add(rows);
        moments
    }

    /// Takes in more rows.
    pub fn add(&mut self, rows: ArrayView2<'_, f32>) {
        if rows.nrows() == 0 {
            return;
        }
        if self.rows == 0 {
            self.first = rows.row(0).to_vec();
            self.varies = vec![false; rows.ncols()];
        }
        for row in rows.outer_iter() {
            // Compared as values: a sum's rounding would give a constant column a tiny deviation instead of none.
            row.iter().zip(&self.first).zip(&mut self.varies).for_each(|((x, first), varies)| *varies |= x != first);
        }
        let wide = rows.mapv(f64::from);
        let (mean, variance) = (wide.mean_axis(Axis(0)).expect("there are rows"), wide.var_axis(Axis(0), 0.0));
        if self.rows == 0 {
            (self.mean, self.variance) = (mean, variance);
        } else {
            let all = (self.rows + rows.nrows()) as f64;
            let (a, b) = (self.rows as f64 / all, rows.nrows() as f64 / all);
            let delta = mean - &self.mean;
            self.variance = &self.variance * a + variance * b + delta.mapv(|d| d * d * a * b);
            self.mean += &(delta * b);
        }
        self.rows += rows.nrows();
    }

    /// Mean and standard deviation (divided by n) of each column.
    ///
    /// # Errors
    /// [`Error::ConstantColumn`] where a column has one value only.
    pub fn finish(self, names: &[String], path: &Path) -> Result<(Vec<f64>, Vec<f64>), Error> {
        if let Some(i) = self.varies.iter().position(|varies| !varies) {
            return Err(Error::ConstantColumn { path: path.to_owned(), column: i + 1, name: names[i].clone() });
        }
        Ok((self.mean.to_vec(), self.variance.mapv(f64::sqrt).to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array2, s};

    use super::*;

    /// Integers, so that sums are exact: far from 0, in the first column with a first row that is far from the rest.
    fn rows() -> Array2<f32> {
        let mut rows = Array2::from_shape_fn((1_000, 2), |(i, j)| (1_000_000 + (i * 37 + j * 11) % 100) as f32);
        rows[[0, 0]] = 0.0;
        rows
    }

    #[test]
    fn parts_of_any_size_give_the_moments_of_the_whole() {
        let rows = rows();
        // In integers: n² variance = n Σx² - (Σx)².
        let exact = |column: usize| {
            let (mut sum, mut squares) = (0i128, 0i128);
            rows.column(column).iter().for_each(|&x| (sum, squares) = (sum + x as i128, squares + (x as i128).pow(2)));
            (sum as f64 / 1e3, ((1_000 * squares - sum * sum) as f64 / 1e6).sqrt())
        };
        for size in [1, 7, 128, 999, 1_000] {
            let mut moments = Moments::default();
            for from in (0..1_000).step_by(size) {
                moments.add(rows.slice(s![from..(from + size).min(1_000), ..]));
                moments.add(rows.slice(s![..0, ..]));
            }
            let (mean, std) = moments.finish(&["a".into(), "b".into()], Path::new("t")).unwrap();
            for column in 0..2 {
                let expected = exact(column);
                assert_relative_eq!(mean[column], expected.0, max_relative = 1e-14);
                assert_relative_eq!(std[column], expected.1, max_relative = 1e-11);
            }
        }
    }

    #[test]
    fn a_column_of_one_value_is_refused_and_one_of_two_is_not() {
        let mut rows = Array2::from_elem((10, 2), 0.1f32);
        rows[[9, 0]] = 0.2;
        let mut parts = Moments::of(rows.slice(s![..4, ..]));
        parts.add(rows.slice(s![4.., ..]));
        for moments in [Moments::of(rows.view()), parts] {
            let error = moments.finish(&["a".into(), "b".into()], Path::new("t")).unwrap_err();
            assert!(matches!(&error, Error::ConstantColumn { column: 2, name, .. } if name == "b"), "{error}");
        }
    }
}
