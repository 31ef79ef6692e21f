//! What a figure knows of a layer: its name, and where the samples are after it.

use ndarray::{Array2, Array3, Array4, Axis};

use crate::color::Rgb;
use crate::error::{Error, Result};
use crate::extent::percentiles;
use crate::grid::Grid;

/// Points of the plane after one layer of a flow. Row `i` is the same sample in every layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer2d {
    /// The layer's name, shown as title.
    pub name: String,
    /// `[n, 2]`.
    pub points: Array2<f32>,
    /// Where the points of a [`Grid`] are after the layer, `[grid.len(), 2]`.
    pub grid: Option<Array2<f32>>,
}

impl Layer2d {
    /// A layer without a grid; `points` is `[n, 2]`.
    pub fn new(name: impl Into<String>, points: Array2<f32>) -> Self {
        Self { name: name.into(), points, grid: None }
    }

    /// The same with the grid's points after this layer, `[grid.len(), 2]`.
    pub fn with_grid(self, points: Array2<f32>) -> Self {
        Self { grid: Some(points), ..self }
    }
}

/// Images after one layer of a flow, grey or in colour. Image `i` is the same sample in every layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerImages {
    /// The layer's name, shown as title.
    pub name: String,
    /// `[n, 1, h, w]` in grey, `[n, 3, h, w]` in red, green and blue, in the layer's own unit.
    pub images: Array4<f32>,
    /// The values shown as black and as white, for all channels alike; chosen from the values where it is `None`.
    pub range: Option<(f32, f32)>,
}

impl LayerImages {
    /// A grey layer whose black and white are the percentiles 1 and 99 of its values; `images` is `[n, h, w]`.
    pub fn new(name: impl Into<String>, images: Array3<f32>) -> Self {
        Self::rgb(name, images.insert_axis(Axis(1)))
    }

    /// A layer in colour, `images` being `[n, 3, h, w]`. Its black and white are the percentiles 1 and 99 of all three
    /// channels together: were each stretched on its own, a hidden layer would be tinted by nothing but its scale.
    pub fn rgb(name: impl Into<String>, images: Array4<f32>) -> Self {
        Self { name: name.into(), images, range: None }
    }

    /// The same with fixed values for black and white, e.g. 0 and 1 for data on the unit cube.
    pub fn with_range(self, black: f32, white: f32) -> Self {
        Self { range: Some((black, white)), ..self }
    }

    /// The values shown as black and as white.
    pub(crate) fn black_and_white(&self) -> Result<(f32, f32)> {
        if let Some((black, white)) = self.range {
            if black.is_finite() && white.is_finite() && black < white {
                return Ok((black, white));
            }
            let reason = format!("black {black} is not below white {white} in {:?}", self.name);
            return Err(Error::setting("range", reason));
        }
        let values: Vec<f32> = self.images.iter().copied().collect();
        let (black, white) =
            percentiles(values, 0.01, 0.99).ok_or_else(|| Error::not_finite(format!("layer {:?}", self.name)))?;
        // A constant image is shown as middle grey.
        let least = 1e-6 * black.abs().max(1.0);
        match white - black >= least {
            true => Ok((black, white)),
            false => Ok((black - least, white + least)),
        }
    }
}

/// Checks that every layer has `[n, 2]` points with the same n > 0, and the grid's points where there is a grid;
/// gives n.
pub(crate) fn check_points(layers: &[Layer2d], colors: &[Rgb], grid: Option<&Grid>) -> Result<usize> {
    let first = layers.first().ok_or_else(|| Error::empty("the list of layers"))?;
    let n = first.points.nrows();
    if n == 0 {
        return Err(Error::empty(format!("layer {:?}", first.name)));
    }
    for layer in layers {
        let what = || format!("layer {:?}", layer.name);
        if layer.points.dim() != (n, 2) {
            return Err(Error::shape(what(), format!("[{n}, 2]"), layer.points.shape()));
        }
        if let (Some(grid), Some(points)) = (grid, &layer.grid)
            && points.dim() != (grid.len(), 2)
        {
            let expected = format!("[{}, 2], as the grid has", grid.len());
            return Err(Error::shape(format!("the grid in {}", what()), expected, points.shape()));
        }
    }
    if colors.len() != n {
        return Err(Error::shape("the colours", format!("[{n}]"), &[colors.len()]));
    }
    Ok(n)
}

/// Checks that all layers have the same `[n, c, h, w]`, none of them 0 and c 1 or 3; gives them.
pub(crate) fn check_images(layers: &[LayerImages]) -> Result<(usize, usize, usize, usize)> {
    let first = layers.first().ok_or_else(|| Error::empty("the list of layers"))?;
    let (n, c, h, w) = first.images.dim();
    if first.images.is_empty() {
        return Err(Error::empty(format!("layer {:?}", first.name)));
    }
    if c != 1 && c != 3 {
        let what = format!("layer {:?}", first.name);
        return Err(Error::shape(what, "[n, 1, h, w] or [n, 3, h, w]", first.images.shape()));
    }
    for layer in layers {
        if layer.images.dim() != (n, c, h, w) {
            let what = format!("layer {:?}", layer.name);
            return Err(Error::shape(what, format!("[{n}, {c}, {h}, {w}]"), layer.images.shape()));
        }
    }
    Ok((n, c, h, w))
}
