//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;
use flow_data::{Part, Spec};
use flow_models::Preset;
use flow_train::Device;

/// Normalizing flows: train by exact likelihood, evaluate, sample, and look at every layer.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Train(TrainArgs),
    Eval(EvalArgs),
    Sample(SampleArgs),
    #[command(name = "log-prob")]
    LogProb(LogProbArgs),
    Trace(TraceArgs),
    Animate(AnimateArgs),
    Density(DensityArgs),
    Curve(CurveArgs),
    Info(InfoArgs),
    Completions(CompletionsArgs),
}

/// Train a model, or go on with a training that was stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Data: moons, two-moons, circles, digits, mnist, cifar10, iris, winequality, diabetes,
      csv:PATH, npy:PATH, images:DIR (PNG and JPEG), idx:FILE

Examples:
  flow train realnvp --data moons
  flow train nice --data mnist --steps 10000 --out runs/nice-mnist
  flow train realnvp --data csv:table.csv --set model.couplings=8 --set train.weight_decay=0.01
  flow train realnvp --data images:faces --set data.size=64 --set data.bits=5
  flow train --resume runs/nice-mnist

Ctrl-C saves and ends; --resume goes on as if nothing had happened.")]
pub struct TrainArgs {
    /// Which model
    #[arg(value_enum, required_unless_present = "resume")]
    pub model: Option<ModelName>,
    /// What to train on (see below)
    #[arg(long, value_name = "DATA", required_unless_present = "resume")]
    pub data: Option<Spec>,
    /// Ready configuration to start from: seed, paper, default or cpu
    #[arg(long, default_value = "default")]
    pub preset: Preset,
    /// Change a field of the configuration, as in train.ema=0.99, model.couplings=8, data.fixed=1000, data.bits=5; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Number of training steps [default: the preset's]
    #[arg(long)]
    pub steps: Option<u64>,
    /// Rows a step [default: the preset's]
    #[arg(long)]
    pub batch: Option<usize>,
    /// Where to compute: cpu, cuda, cuda:N, mps or auto
    #[arg(long, default_value = "auto")]
    pub device: Device,
    /// Threads to compute with [default: all]
    #[arg(long, value_parser = value_parser!(u16).range(1..=4096))]
    pub threads: Option<u16>,
    /// What starting weights, batches and noise depend on
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
    /// Folder of the run [default: runs/MODEL-DATA]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with the run in this folder, exactly as it was configured
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["model", "data", "preset", "set", "steps", "batch", "device", "threads", "seed", "out"]
    )]
    pub resume: Option<PathBuf>,
    /// One JSON object on standard output at the end
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ModelName {
    /// NICE: additive couplings and one scaling
    Nice,
    /// RealNVP: affine couplings
    Realnvp,
    /// Glow: ActNorm, learned mixing, coupling; multi-scale and convolutional on images
    Glow,
    /// RealNVP as its paper has it: multi-scale and convolutional, for images
    RealnvpImage,
}

impl ModelName {
    pub fn name(self) -> &'static str {
        match self {
            ModelName::Nice => "nice",
            ModelName::Realnvp => "realnvp",
            ModelName::Glow => "glow",
            ModelName::RealnvpImage => "realnvp-image",
        }
    }
}

/// A trained model, and where to compute with it.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Folder of a run, or a model file
    #[arg(value_name = "DIR")]
    pub model: PathBuf,
    /// Where to compute: cpu, cuda, cuda:N, mps or auto
    #[arg(long, default_value = "auto")]
    pub device: Device,
    /// Threads to compute with [default: all]
    #[arg(long, value_parser = value_parser!(u16).range(1..=4096))]
    pub threads: Option<u16>,
}

/// Likelihood of a split, with its standard error
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flow eval runs/realnvp-moons
  flow eval runs/nice-mnist --split test --draws 10 --json")]
pub struct EvalArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Which rows: train, validation or test
    #[arg(long, default_value = "test")]
    pub split: Part,
    /// Draws of the dequantization noise for each row of integer data
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
    pub draws: u32,
    /// What the noise depends on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Draw from a model
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flow sample runs/nice-mnist -n 225 --temperature 0.75 --out samples.png
  flow sample runs/realnvp-moons -n 100000 --out samples.npy")]
pub struct SampleArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// How many
    #[arg(short = 'n', long = "number", default_value_t = 225, value_parser = value_parser!(u32).range(1..))]
    pub number: u32,
    /// Factor on the latent: 1 draws from the model, less keeps to where the density is high
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: f64,
    /// What the draws depend on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A picture (.png), or an array (.npy, .csv)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Log-density of rows of your own
#[derive(Debug, Args)]
#[command(after_help = "\
Rows are in the model's input unit: tables as read, images on the unit cube [0, 1] (floats) or as levels (u8 in .npy,
which are dequantized). The result is in nats, one number a row.

Example:
  flow log-prob runs/realnvp-mnist --input images.npy --out lp.csv")]
pub struct LogProbArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Rows, [n, ..]: .npy or .csv
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// The log-densities: .npy or .csv
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Draws of the dequantization noise for each row of levels
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
    pub draws: u32,
    /// What the noise depends on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

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

/// Layers, shapes and parameter counts of a model
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Folder of a run, or a model file
    #[arg(value_name = "DIR")]
    pub model: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Completions for a shell, on standard output
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  flow completions bash > ~/.local/share/bash-completion/completions/flow")]
pub struct CompletionsArgs {
    pub shell: Shell,
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && (0.0..=100.0).contains(&value) => Ok(value),
        _ => Err("a temperature is a number between 0 and 100".to_owned()),
    }
}

fn reference(text: &str) -> Result<(f64, String), String> {
    let (value, label) = text.split_once(':').ok_or("a reference is VALUE:LABEL")?;
    match value.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((value, label.to_owned())),
        _ => Err(format!("{value:?} is not a finite number")),
    }
}
