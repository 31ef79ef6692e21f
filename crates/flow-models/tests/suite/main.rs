//! The tests of flow-models, in one binary: linking libtorch is what takes the time.

mod bf16;
mod changed;
mod check;
mod common;
mod edges;
mod files;
mod frozen;
mod hostile;
mod inputs;
mod plain;
mod presets;
mod start;
mod write;
