//! The commands that show a model's layers, density and training: `trace`, `animate`, `density`, `curve`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};

use super::{ModelArgs, temperature};

/// Picture of every layer's output
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flow trace runs/realnvp-moons --direction inverse --out inverse.png
  flow trace runs/nice-mnist --direction forward --out forward.png")]
pub struct TraceArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// forward: test data to latent; inverse: latent to data
    #[arg(long, value_enum)]
    pub direction: Direction,
    /// How many points or images [default: 2000 points, 8 images]
    #[arg(short = 'n', long = "number", value_parser = value_parser!(u32).range(1..=100_000))]
    pub number: Option<u32>,
    /// Factor on the latent, inverse only
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: f64,
    /// The class, for a model that is conditioned on classes, counted from 0 [default: each image's own, or all in turn]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub class: Option<usize>,
    /// The most layers that are shown, one a step of a multi-scale model; of more, some evenly left out, never first and
    /// last
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u8).range(2..))]
    pub layers: u8,
    /// What the latent depends on, inverse only
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A .png
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    Forward,
    Inverse,
}

/// Film from latent to data, layer by layer
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  flow animate runs/realnvp-moons --out moons.gif")]
pub struct AnimateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// How many points or images [default: 1000 points, 16 images]
    #[arg(short = 'n', long = "number", value_parser = value_parser!(u32).range(1..=10_000))]
    pub number: Option<u32>,
    /// Factor on the latent [default: 1 for points, 0.75 for images]
    #[arg(long, allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: Option<f64>,
    /// The class, for a model that is conditioned on classes, counted from 0 [default: all in turn]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub class: Option<usize>,
    /// The most layers that are shown, one a step of a multi-scale model; of more, some evenly left out, never first and
    /// last
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u8).range(2..))]
    pub layers: u8,
    /// What the latent depends on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A .gif
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Picture of a density on the plane, beside the true one where that is known
#[derive(Debug, Args)]
pub struct DensityArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// What the draws beside it depend on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A .png
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Picture of training and validation likelihoods against steps
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  flow curve runs/nice-mnist --reference '1980.5:NICE paper' --out curve.png")]
pub struct CurveArgs {
    /// Folder of a run
    #[arg(value_name = "DIR")]
    pub run: PathBuf,
    /// A horizontal line, in nats of log p(x); repeatable
    #[arg(long, value_name = "VALUE:LABEL", value_parser = reference, allow_hyphen_values = true)]
    pub reference: Vec<(f64, String)>,
    /// A .png
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Figures have room for less than f32 has: axes go beyond what they show.
const MOST_NATS: f64 = 1e30;

fn reference(text: &str) -> Result<(f64, String), String> {
    let (value, label) = text.split_once(':').ok_or("a reference is VALUE:LABEL")?;
    match value.parse::<f64>() {
        Ok(value) if value.abs() <= MOST_NATS => Ok((value, label.to_owned())),
        _ => Err(format!("{value:?} is not a number between -{MOST_NATS:e} and {MOST_NATS:e}")),
    }
}
