//! The rectangle of the plane that a figure shows, and how to choose one that a few far points cannot spoil.

use ndarray::{Array2, ArrayView2};

use crate::error::{Error, Result};

/// A rectangle in the units of the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Left and right edge.
    pub x: (f32, f32),
    /// Lower and upper edge.
    pub y: (f32, f32),
}

impl Extent {
    /// The rectangle `[x0, x1] x [y0, y1]`.
    pub fn new(x: (f32, f32), y: (f32, f32)) -> Self {
        Self { x, y }
    }

    /// A square that shows nearly all rows of all `sets` (each `[n, 2]`): the range between the percentiles 0.25
    /// and 99.75 of all finite points together, widened by 8 %.
    ///
    /// # Errors
    ///
    /// When no point is finite, or a set has not two columns.
    pub fn robust<'a>(sets: impl IntoIterator<Item = ArrayView2<'a, f32>>) -> Result<Self> {
        let mut columns = [Vec::new(), Vec::new()];
        for set in sets {
            if set.ncols() != 2 {
                return Err(Error::shape("a set of points", "[n, 2]", set.shape()));
            }
            for row in set.rows().into_iter().filter(|r| r.iter().all(|v| v.is_finite())) {
                columns[0].push(row[0]);
                columns[1].push(row[1]);
            }
        }
        let [x, y] = columns.map(|column| percentiles(column, 0.0025, 0.9975));
        match (x, y) {
            (Some(x), Some(y)) => Ok(Self { x, y }.widened(0.08).squared()),
            _ => Err(Error::not_finite("every set of points")),
        }
    }

    /// The centres of a grid of `rows` x `columns` cells over the rectangle, `[rows * columns, 2]`: the points at
    /// which to evaluate a density for [`density`](crate::density()). They run along x first, and upwards from the
    /// lower edge, so that `reshape((rows, columns))` of the values gives what that figure takes.
    pub fn cell_centers(&self, rows: usize, columns: usize) -> Array2<f32> {
        let at = |(low, high): (f32, f32), i: usize, n: usize| low + (high - low) * (i as f32 + 0.5) / n as f32;
        Array2::from_shape_fn((rows * columns, 2), |(cell, axis)| match axis {
            0 => at(self.x, cell % columns, columns),
            _ => at(self.y, cell / columns, rows),
        })
    }

    pub(crate) fn width(&self) -> f32 {
        self.x.1 - self.x.0
    }

    pub(crate) fn height(&self) -> f32 {
        self.y.1 - self.y.0
    }

    pub(crate) fn contains(&self, x: f32, y: f32) -> bool {
        (self.x.0..=self.x.1).contains(&x) && (self.y.0..=self.y.1).contains(&y)
    }

    pub(crate) fn check(&self, setting: &'static str) -> Result<()> {
        let rising = |(low, high): (f32, f32)| low.is_finite() && high.is_finite() && low < high;
        match rising(self.x) && rising(self.y) {
            true => Ok(()),
            false => Err(Error::setting(setting, format!("{self:?} is no rectangle"))),
        }
    }

    fn widened(self, share: f32) -> Self {
        let widen = |(low, high): (f32, f32)| {
            let more = share * (high - low);
            (low - more, high + more)
        };
        Self { x: widen(self.x), y: widen(self.y) }
    }

    /// The smallest square around the rectangle, so that one unit is as long across as upwards.
    fn squared(self) -> Self {
        let side = self.width().max(self.height()).max(1e-6);
        let around = |(low, high): (f32, f32)| {
            let middle = 0.5 * (low + high);
            let half = 0.5 * side.max(middle.abs() * 1e-5);
            (middle - half, middle + half)
        };
        Self { x: around(self.x), y: around(self.y) }
    }
}

/// Whether a value lies between two limits.
pub(crate) fn within(value: f64, (low, high): (f32, f32)) -> bool {
    value >= low as f64 && value <= high as f64
}

/// The values at two shares (0 to 1) of the sorted finite `values`; nothing where there are none.
pub(crate) fn percentiles(mut values: Vec<f32>, low: f64, high: f64) -> Option<(f32, f32)> {
    values.retain(|v| v.is_finite());
    if values.is_empty() {
        return None;
    }
    values.sort_by(f32::total_cmp);
    let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
    Some((at(low), at(high)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn far_points_do_not_spoil_the_extent() {
        let mut points = Array2::from_shape_fn((2000, 2), |(i, j)| ((i * (7 + 4 * j)) % 2000) as f32 / 1000.0 - 1.0);
        points[[0, 0]] = 1e9;
        points[[1, 1]] = f32::NAN;
        let extent = Extent::robust([points.view()]).unwrap();
        assert!(extent.x.1 < 1.3 && extent.x.1 > 0.95, "{extent:?}");
        assert!((extent.width() - extent.height()).abs() < 1e-4);
    }

    #[test]
    fn a_single_point_still_has_an_extent() {
        let extent = Extent::robust([array![[3000.0, -1.0]].view()]).unwrap();
        assert!(extent.check("extent").is_ok(), "{extent:?}");
        assert!(extent.contains(3000.0, -1.0));
    }

    #[test]
    fn nothing_finite_is_an_error() {
        let points = array![[f32::NAN, 0.0]];
        assert!(matches!(Extent::robust([points.view()]), Err(Error::NotFinite { .. })));
        let points = array![[0.0, 0.0, 0.0]];
        assert!(matches!(Extent::robust([points.view()]), Err(Error::Shape { .. })));
    }

    #[test]
    fn cell_centers_run_along_x_and_upwards() {
        let centers = Extent::new((0.0, 4.0), (10.0, 12.0)).cell_centers(2, 4);
        assert_eq!(centers.dim(), (8, 2));
        assert_eq!(centers.row(0), array![0.5, 10.5]);
        assert_eq!(centers.row(1), array![1.5, 10.5]);
        assert_eq!(centers.row(7), array![3.5, 11.5]);
    }
}
