//! The tests of flow-models, in one binary: linking libtorch is what takes the time.

mod check;
mod common;
mod files;
mod hostile;
mod presets;
mod start;
mod write;
