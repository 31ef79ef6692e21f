//! Figures of normalizing flows: arrays in, PNG and GIF bytes out.
//!
//! A flow is a stack of layers, each a map that can be run backwards, and the best way to understand one is to watch
//! samples go through it. That takes two kinds of data and two kinds of picture:
//!
//! | | side by side (PNG) | in motion (GIF) |
//! | --- | --- | --- |
//! | points of the plane, [`Layer2d`] | [`layers_2d()`] | [`animate_2d()`] |
//! | images, grey or in colour, [`LayerImages`] | [`layers_images()`] | [`animate_images()`] |
//!
//! Beside these stand pictures of what a model makes and of what it knows:
//!
//! | | |
//! | --- | --- |
//! | [`sheet()`] | samples of images |
//! | [`image_rows()`] | rows of images with labels: temperatures, interpolations, attributes, classes |
//! | [`animate_strip()`] | a few images that change from frame to frame, forth and back |
//! | [`density()`] | what a model of the plane takes for likely |
//! | [`histograms()`] | how likely it takes each of many images to be, one data set beside another |
//! | [`confusion()`] | which class it takes for which |
//! | [`curve()`] | how it was trained |
//! | [`check()`] | how far each of its layers is from being a bijection, and its latent from the base |
//! | [`log_log()`] | how a cost grows with a size, both axes logarithmic |
//!
//! What a reader compares is drawn alike. A point keeps its colour from layer to layer ([`angle_colors`] gives it one
//! by its angle in the latent), all panels of a figure share their limits ([`Extent`]), and an image's black and white
//! are always named. What cannot be drawn, values that are not finite or points beyond the limits, is counted in a still
//! figure itself; a film leaves it out.
//!
//! Every function takes plain arrays, what is to be seen in a config with defaults, and gives the bytes of a file;
//! none of them reads or writes one. The font is embedded: the same input gives the same bytes on every machine.
//!
//! ```
//! use flow_viz::{Animate2dConfig, Grid, Layer2d, angle_colors, animate_2d};
//! use ndarray::{Array2, array};
//!
//! // A flow of one layer, which shears the plane. Points and the lines of a grid go through it alike.
//! let shear = |z: &Array2<f32>| z.dot(&array![[1.0, 0.0], [0.8, 1.0]]);
//! let latent = array![[0.3, 1.1], [-0.9, 0.2], [1.2, -0.7], [-0.4, -1.3]];
//! let grid = Grid::default();
//!
//! let layers = [
//!     Layer2d::new("latent", latent.clone()).with_grid(grid.points()),
//!     Layer2d::new("shear", shear(&latent)).with_grid(shear(&grid.points())),
//! ];
//! let config = Animate2dConfig {
//!     title: "A shear".into(),
//!     grid: Some(grid),
//!     ..Animate2dConfig::default()
//! };
//! let gif: Vec<u8> = animate_2d(&layers, &angle_colors(latent.view()), &config)?;
//! assert!(gif.starts_with(b"GIF89a"));
//! # Ok::<(), flow_viz::Error>(())
//! ```
//!
//! The example `gallery` makes one of each.

mod animate_2d;
mod animate_images;
mod animate_strip;
mod axes;
mod bins;
mod canvas;
mod check;
mod color;
mod colormap;
mod confusion;
mod curve;
mod density;
mod ease;
mod error;
mod error_rows;
mod extent;
mod film;
mod film_head;
mod film_sheet;
mod font;
mod grid;
mod heads;
mod histograms;
mod image_rows;
mod images;
mod layer;
mod legend;
mod log_axis;
mod log_log;
mod mask;
mod number;
mod palette;
mod panels_2d;
mod panels_images;
mod pixels;
mod plot;
mod sheet;

pub use animate_2d::{Animate2dConfig, animate_2d};
pub use animate_images::{AnimateImagesConfig, animate_images};
pub use animate_strip::{AnimateStripConfig, animate_strip};
pub use check::{CheckConfig, LayerErrors, Marginal, check};
pub use color::Rgb;
pub use colormap::{angle_color, angle_colors, density_color};
pub use confusion::{ConfusionConfig, confusion};
pub use curve::{CurveConfig, Reference, Series, curve};
pub use density::{DensityConfig, density};
pub use error::{Error, Result};
pub use extent::Extent;
pub use grid::Grid;
pub use histograms::{Histogram, HistogramsConfig, histograms};
pub use image_rows::{ImageRow, ImageRowsConfig, image_rows};
pub use layer::{Layer2d, LayerImages};
pub use log_log::{LogLogConfig, LogLogPanel, log_log};
pub use panels_2d::{Layers2dConfig, layers_2d};
pub use panels_images::{LayersImagesConfig, layers_images, most_images};
pub use sheet::{SheetConfig, sheet};
