//! The command that holds a model against itself: `check`.

use std::path::PathBuf;

use clap::{Args, value_parser};
use flow_data::Part;

use super::ModelArgs;

/// Whether a model is what it claims to be: invertible, with right log-determinants, layer by layer
#[derive(Debug, Args)]
#[command(after_help = "\
Every layer is run both ways in f32 and in f64 on what reaches it of rows of the data and of latents at temperatures 0.5, 1 \
and 2; its log-determinant is held against the Jacobian that automatic differentiation gives. docs/check.md defines every \
column and its bounds. A layer that fails is wrong, or no bijection; a warning is about digits or quality. That the latent \
of the data is not quite the base is no fault: no model fits perfectly.

The exit code is 1 where anything fails.

Examples:
  flow check runs/glow-mnist
  flow check runs/realnvp-moons -n 5000 --out check.png
  flow check runs/nice-mnist --json")]
pub struct CheckArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Which rows: train, validation or test
    #[arg(long, default_value = "test")]
    pub split: Part,
    /// The first so many rows, and as many latents, 100 at most, at each temperature
    #[arg(short = 'n', long = "number", default_value_t = 500, value_parser = value_parser!(u32).range(2..=1_000_000))]
    pub number: u32,
    /// What latents and the dequantization noise depend on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Errors by layer and the latent beside the base: a .png
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}
