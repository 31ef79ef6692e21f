//! The binary as a person uses it, one idea a file.

mod common;
mod digits;
mod images;
mod interrupt;
mod moons;
mod refusals;
