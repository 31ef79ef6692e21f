//! One module a command, each with a `run`.

pub mod animate;
pub mod completions;
pub mod curve;
pub mod density;
pub mod eval;
pub mod info;
pub mod log_prob;
pub mod sample;
pub mod trace;
pub mod train;
