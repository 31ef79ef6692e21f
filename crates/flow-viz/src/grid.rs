//! A grid of lines in the latent plane, as points that go through a flow like any others.

use ndarray::{Array2, ArrayView2};

/// Lines parallel to both axes over the square `[-extent, extent]`.
///
/// Push [`Grid::points`] through the flow beside the data, hand each layer's output back by
/// [`Layer2d::with_grid`](crate::Layer2d::with_grid) and the grid itself in the config: the figure shows how
/// the flow bends the plane.
///
/// ```
/// let grid = flow_viz::Grid::default();
/// let points = grid.points(); // [grid.len(), 2], in latent space
/// assert_eq!(points.dim(), (grid.len(), 2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Half the side of the square, in the latent's unit.
    pub extent: f32,
    /// Lines along each axis.
    pub lines: usize,
    /// Points on each line: the more, the smoother the bend.
    pub points_per_line: usize,
}

impl Default for Grid {
    /// 13 + 13 lines of 121 points over `[-3, 3]`: half a standard deviation apart.
    fn default() -> Self {
        Self { extent: 3.0, lines: 13, points_per_line: 121 }
    }
}

impl Grid {
    /// The number of points: `2 * lines * points_per_line`.
    pub fn len(&self) -> usize {
        2 * self.lines * self.points_per_line
    }

    /// Whether there is no point at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The points in latent space, `[len, 2]`: line after line, first those parallel to the first axis.
    pub fn points(&self) -> Array2<f32> {
        let at = |i: usize, n: usize| match n {
            0 | 1 => 0.0,
            _ => self.extent * (2.0 * i as f32 / (n - 1) as f32 - 1.0),
        };
        let half = self.lines * self.points_per_line;
        Array2::from_shape_fn((self.len(), 2), |(i, axis)| {
            let (line, step) = ((i % half) / self.points_per_line, i % self.points_per_line);
            let along_first = i < half;
            match (axis == 0) == along_first {
                true => at(step, self.points_per_line),
                false => at(line, self.lines),
            }
        })
    }

    /// The lines, given where the points went (`[len, 2]`).
    pub(crate) fn paths(&self, points: ArrayView2<f32>) -> Vec<Vec<(f32, f32)>> {
        let line = |i: usize| {
            let rows = i * self.points_per_line..(i + 1) * self.points_per_line;
            rows.map(|row| (points[[row, 0]], points[[row, 1]])).collect()
        };
        (0..2 * self.lines).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_run_along_both_axes() {
        let grid = Grid { extent: 2.0, lines: 3, points_per_line: 5 };
        let paths = grid.paths(grid.points().view());
        assert_eq!(paths.len(), 6);
        assert_eq!(paths[0], [(-2.0, -2.0), (-1.0, -2.0), (0.0, -2.0), (1.0, -2.0), (2.0, -2.0)]);
        assert_eq!(paths[5], [(2.0, -2.0), (2.0, -1.0), (2.0, 0.0), (2.0, 1.0), (2.0, 2.0)]);
    }

    #[test]
    fn an_empty_grid_is_no_harm() {
        let grid = Grid { lines: 0, ..Grid::default() };
        assert!(grid.is_empty() && grid.points().is_empty());
    }
}
