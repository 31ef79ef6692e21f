//! Data sets for density models: toys with known densities, MNIST, digits, tables, your own files.

mod dataset;
mod digits;
mod error;
pub mod idx;
mod linfa_view;
mod load;
mod mnist;
mod partition;
mod preprocessing;
mod random;
mod rows;
mod spec;
mod split;
mod table;
mod toy;

pub use dataset::{DataSet, Part, Source};
pub use error::{Error, MissingIn};
pub use load::{LoadOptions, load};
pub use mnist::DATA_DIR_VARIABLE;
pub use preprocessing::Preprocessing;
pub use rows::{Rows, Values};
pub use spec::Spec;
pub use split::Split;
pub use table::Table;
pub use toy::{Moments, Toy};
