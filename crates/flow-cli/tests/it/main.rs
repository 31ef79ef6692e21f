//! The binary as a person uses it, one idea a file.

mod classes;
mod common;
mod digits;
mod evaluation;
mod hostile;
mod images;
mod interrupt;
mod latent;
mod moons;
mod refusals;
mod score;
