//! The binary as a person uses it, one idea a file.

mod changed_data;
mod check;
mod classes;
mod common;
mod damage;
mod digits;
mod divergence;
mod evaluation;
mod hostile;
mod images;
mod interrupt;
#[cfg(unix)]
mod kill;
mod latent;
mod moons;
mod outputs;
mod refusals;
mod runs;
mod score;
