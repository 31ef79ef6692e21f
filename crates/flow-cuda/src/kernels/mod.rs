//! Kernels of this crate's own, where libtorch has none that does as much at once: compiled for the GPU that is there when they
//! are first wanted.

mod adam;
mod arguments;
mod coupling;
mod gradients;
mod kept;
mod launch;
mod mixing;
mod products;
mod spline;

pub(crate) use adam::adam;
pub use coupling::{Change, Coupled, Places};
pub use gradients::{Layer, filter_gradients, layer_gradients};
pub use launch::{applies, emulated};
pub use mixing::{ActNorm, ActNormGradients, Lu, LuGradients};
pub use products::{Rounding, Second, Then, filter, filter_back, layer, layer_back};
pub use spline::{SplineGradients, spline_backward, spline_forward, spline_has, spline_inverse};
