//! One module a command, each with a `run`.

pub mod animate;
pub mod attribute;
pub mod check;
pub mod classify;
pub mod completions;
pub mod curve;
pub mod density;
pub mod eval;
pub mod info;
pub mod interpolate;
pub mod log_prob;
pub mod resample;
pub mod runs;
pub mod sample;
pub mod score;
pub mod sheet;
pub mod trace;
pub mod train;
