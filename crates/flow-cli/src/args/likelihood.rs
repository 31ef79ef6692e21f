//! The commands about likelihoods: `eval`, `log-prob`, `score`, `classify`.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, value_parser};
use flow_data::Part;
use flow_train::evaluate::Protocol;

use super::ModelArgs;

/// Likelihood of a split, with its standard error
#[derive(Debug, Args)]
#[command(after_help = "\
With two draws or more, log P(k) bounds the probability of the levels themselves, tighter than their mean log p(x) does, and \
what the noise alone does to the mean is told. Where rows have labels, a line a class follows. How each number is \
computed, and the published ones by protocol: docs/evaluation.md.

A model that is conditioned on classes is told the class of each row, log p(x|c); then, by --marginal-draws, log p(x) with the \
class summed out and how often the likeliest class is the true one. A draw takes as many passes as there are classes.

Examples:
  flow eval runs/realnvp-moons
  flow eval runs/nice-mnist --split test --draws 10 --json
  flow eval runs/realnvp-mnist --protocol logit-1e-6     # in the space of the MAF paper's numbers")]
pub struct EvalArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Which rows: train, validation or test
    #[arg(long, default_value = "test")]
    pub split: Part,
    /// Draws of the dequantization noise for each row of integer data
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
    pub draws: u32,
    /// The space whose density of images is reported, whatever the model's own preprocessing: unit-cube, or logit-ALPHA
    /// [default: unit-cube]
    #[arg(long, value_name = "NAME")]
    pub protocol: Option<Protocol>,
    /// Draws for what a model with classes says when it is not told the class
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000), conflicts_with = "no_marginal")]
    pub marginal_draws: u32,
    /// Leave out what a model with classes says when it is not told the class
    #[arg(long)]
    pub no_marginal: bool,
    /// What the noise depends on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Log-density of rows of your own
#[derive(Debug, Args)]
#[command(after_help = "\
Rows are in the model's input unit: tables as read, images on the unit cube [0, 1] (floats) or as levels (u8 in .npy, \
which are dequantized). Where a .csv and the table of the model's data both have a header, it must name the same columns in the \
same order. The result is in nats, one number a row. For a model that is conditioned on classes it is log p(x|K) \
with --class K, and log p(x) without, each class being as likely.

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
    /// The class, for a model that is conditioned on classes, counted from 0 [default: summed out, log p(x)]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub class: Option<usize>,
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

/// Log-likelihood image by image, and whether it tells other images from the model's own kind
#[derive(Debug, Args)]
#[command(after_help = "\
--against upside-down turns each image by half a turn, negative swaps black and white, noise draws every level uniformly; or \
give images in a file. Files are as flow log-prob reads them: u8 levels or floats on the unit cube in .npy, or .csv. One draw \
of the dequantization noise; a model that is conditioned on classes has them summed out.

--out .png is a histogram of both; .csv has a line an image: set, image, nats, bits_per_dim; .npy is [images of both, 2]: \
0 or 1 for the set, nats.

Examples:
  flow score runs/glow-mnist --out report.png --out scores.csv
  flow score runs/glow-mnist --input mine.npy --against noise --json")]
pub struct ScoreArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Images of your own in place of a split: .npy or .csv
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    pub input: Option<PathBuf>,
    /// Which rows: train, validation or test [default: test]
    #[arg(long)]
    pub split: Option<Part>,
    /// The first so many images of each set [default: all]
    #[arg(short = 'n', long = "number", value_parser = value_parser!(u32).range(1..))]
    pub number: Option<u32>,
    /// What to tell them from: upside-down, negative, noise, or a .npy or .csv file
    #[arg(long, value_name = "WHAT", default_value = "upside-down", value_parser = against)]
    pub against: Against,
    /// What the noise depends on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A histogram (.png) or the scores (.csv, .npy); repeatable
    #[arg(long, value_name = "FILE")]
    pub out: Vec<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Images that a model has not been trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against {
    UpsideDown,
    Negative,
    Noise,
    File(PathBuf),
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Against::UpsideDown => f.write_str("upside down"),
            Against::Negative => f.write_str("negative"),
            Against::Noise => f.write_str("noise"),
            Against::File(path) => path.display().fmt(f),
        }
    }
}

/// The class of each row by Bayes, and the likelihood with the class summed out
#[derive(Debug, Args)]
#[command(after_help = "\
p(class | x) of a model that is conditioned on classes, each being as likely before a row is seen; one draw of the \
dequantization noise a row.

Example:
  flow classify runs/glow-mnist --out confusion.png")]
pub struct ClassifyArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Which rows: train, validation or test
    #[arg(long, default_value = "test")]
    pub split: Part,
    /// The first so many rows [default: all]
    #[arg(short = 'n', long = "number", value_parser = value_parser!(u32).range(1..))]
    pub number: Option<u32>,
    /// What the noise depends on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The table of true and likeliest classes: a .png
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

fn against(text: &str) -> Result<Against, String> {
    match text {
        "upside-down" => Ok(Against::UpsideDown),
        "negative" => Ok(Against::Negative),
        "noise" => Ok(Against::Noise),
        file if [".npy", ".csv"].iter().any(|ending| file.ends_with(ending)) => Ok(Against::File(file.into())),
        _ => Err("there are upside-down, negative, noise, and files whose names end in .npy or .csv".to_owned()),
    }
}
