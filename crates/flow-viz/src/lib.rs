//! Figures of normalizing flows: arrays in, PNG and GIF bytes out.

mod animate_2d;
mod animate_images;
mod axes;
mod canvas;
mod color;
mod colormap;
mod curve;
mod density;
mod ease;
mod error;
mod extent;
mod film;
mod font;
mod grid;
mod layer;
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
pub use color::Rgb;
pub use colormap::{angle_color, angle_colors, density_color};
pub use curve::{CurveConfig, Reference, Series, curve};
pub use density::{DensityConfig, density};
pub use error::{Error, Result};
pub use extent::Extent;
pub use grid::Grid;
pub use layer::{Layer2d, LayerImages};
pub use panels_2d::{Layers2dConfig, layers_2d};
pub use panels_images::{LayersImagesConfig, layers_images};
pub use sheet::{SheetConfig, sheet};
