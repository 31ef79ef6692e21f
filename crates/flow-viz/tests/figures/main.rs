//! Figures decoded again: where the ink is, in which colour, for how long.

mod checks;
mod classes;
mod errors;
mod films;
mod images;
mod plane;
mod plots;
mod rows;
mod scores;
mod seen;
mod strips;
