//! What can be said on the command line.

use std::fmt;
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
    Sheet(SheetArgs),
    Interpolate(InterpolateArgs),
    Attribute(AttributeArgs),
    Resample(ResampleArgs),
    Score(ScoreArgs),
    Classify(ClassifyArgs),
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
  flow train glow --data digits --preset cpu --classes
  flow train realnvp-image --data mnist --device cuda
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
    /// Condition the model on the data's labels, as many classes as they have (glow, realnvp-image); the same as
    /// --set model.classes=N
    #[arg(long)]
    pub classes: bool,
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
        conflicts_with_all = ["model", "data", "preset", "set", "classes", "steps", "batch", "device", "threads", "seed", "out"]
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
A model that is conditioned on classes is told the class of each row, log p(x|c); then, by one draw of the noise, log p(x) \
with the class summed out and how often the likeliest class is the true one. This takes as many passes as there are classes.

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

/// Draw from a model
#[derive(Debug, Args)]
#[command(after_help = "\
A model that is conditioned on classes draws them uniformly for an array, and a row a class for a picture, unless --class \
names one.

Examples:
  flow sample runs/nice-mnist -n 225 --temperature 0.75 --out samples.png
  flow sample runs/glow-digits -n 100 --class 3 --out threes.png
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
    /// The class, for a model that is conditioned on classes, counted from 0 [default: all of them]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub class: Option<usize>,
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

/// Sheet of images with labelled rows: the same noise at several temperatures, or as every class
#[derive(Debug, Args)]
#[command(after_help = "\
temperature: a row for each of --temperatures; the columns are the same noise, scaled.
classes: a row for each class of a model that is conditioned on them; the columns are the same noise.

Examples:
  flow sheet runs/glow-mnist temperature --out temperatures.png
  flow sheet runs/glow-mnist classes --temperature 0.7 --out classes.png")]
pub struct SheetArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// What differs from row to row
    #[arg(value_enum)]
    pub kind: SheetKind,
    /// Images in a row
    #[arg(short = 'n', long = "number", default_value_t = 10, value_parser = value_parser!(u32).range(1..=1_000))]
    pub number: u32,
    /// The rows of a sheet of temperatures
    #[arg(
        long,
        value_name = "T,T,..",
        value_delimiter = ',',
        default_value = "0,0.25,0.5,0.6,0.7,0.8,0.9,1",
        value_parser = temperature
    )]
    pub temperatures: Vec<f64>,
    /// Factor on the noise of a sheet of classes
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: f64,
    /// The class of a sheet of temperatures, for a model that is conditioned on classes [default: a column a class]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub class: Option<usize>,
    /// What the noise depends on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A .png
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SheetKind {
    /// A row a temperature
    Temperature,
    /// A row a class
    Classes,
}

/// From one test image to another, through the latent
#[derive(Debug, Args)]
#[command(after_help = "\
The way is the arc between the two latents, its length changing evenly (spherical interpolation). Both ends are the images \
themselves. Images of a model that is conditioned on classes are encoded with their own class; on the way the two one-hot \
vectors are mixed linearly, (1 - t) from + t to, which the nets have not seen in training.

Examples:
  flow interpolate runs/glow-mnist --from 3 --to 18 --out one.png
  flow interpolate runs/glow-mnist --from 3 --to 18 --from 2 --to 5 --steps 12 --out two.png
  flow interpolate runs/glow-mnist --pairs 16 --out pairs.gif")]
pub struct InterpolateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where to begin: the number of a test image, from 0; repeatable
    #[arg(long, value_name = "I", requires = "to", allow_negative_numbers = true)]
    pub from: Vec<usize>,
    /// Where to end; as often as --from
    #[arg(long, value_name = "J", requires = "from", allow_negative_numbers = true)]
    pub to: Vec<usize>,
    /// So many pairs drawn by --seed, where none is named
    #[arg(
        long,
        value_name = "N",
        default_value_t = 6,
        conflicts_with = "from",
        value_parser = value_parser!(u32).range(1..=100)
    )]
    pub pairs: u32,
    /// Images from one end to the other, both included [default: 10 for a .png, 30 for a .gif]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(2..=200))]
    pub steps: Option<u32>,
    /// What the pairs depend on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A picture (.png), a row a pair, or a film (.gif), forth and back
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Real images moved along what tells one class from another
#[derive(Debug, Args)]
#[command(after_help = "\
The direction is the mean latent of --to-class less that of --from-class, over as many as 2,000 training images each. It is \
added to the latents of test images of --from-class, at strengths from -1 to 1; at 0 stands the image itself. The labels are \
the data's, so any model of labelled images will do.

A model that is conditioned on classes is told --from-class throughout, for the images of both: told the true class, it would \
leave the latent nothing of it.

Example:
  flow attribute runs/glow-mnist --from-class 4 --to-class 9 --out attribute.png")]
pub struct AttributeArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The label of the images that are shown
    #[arg(long, value_name = "A", allow_negative_numbers = true)]
    pub from_class: usize,
    /// The label that they are moved to
    #[arg(long, value_name = "B", allow_negative_numbers = true)]
    pub to_class: usize,
    /// How many images
    #[arg(short = 'n', long = "number", default_value_t = 6, value_parser = value_parser!(u32).range(1..=100))]
    pub number: u32,
    /// Images in a row, an odd number
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = odd)]
    pub steps: u8,
    /// The strength of the last image in a row; that of the first is its negative
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, value_parser = strength)]
    pub strength: f64,
    /// A .png
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What each level of a multi-scale model holds: the coarsest kept, the finer ones drawn anew
#[derive(Debug, Args)]
#[command(after_help = "\
Of the latents of test images the coordinates of the K coarsest levels are kept, and those of the finer ones drawn from the \
base. Without --keep-levels there is a row for each K from all but one down to none, with the same draw in every row.

Examples:
  flow resample runs/glow-mnist --out levels.png
  flow resample runs/glow-mnist --keep-levels 1 --temperature 0.8 --out coarsest.png")]
pub struct ResampleArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// How many of the coarsest levels are kept [default: a row for each number]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub keep_levels: Option<usize>,
    /// Rows of draws with --keep-levels
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u8).range(1..=100))]
    pub draws: u8,
    /// How many test images, a column each
    #[arg(short = 'n', long = "number", default_value_t = 10, value_parser = value_parser!(u32).range(1..=100))]
    pub number: u32,
    /// Factor on what is drawn
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: f64,
    /// What is drawn depends on
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A .png
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
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

/// Log-density of rows of your own
#[derive(Debug, Args)]
#[command(after_help = "\
Rows are in the model's input unit: tables as read, images on the unit cube [0, 1] (floats) or as levels (u8 in .npy, \
which are dequantized). The result is in nats, one number a row. For a model that is conditioned on classes it is log p(x|K) \
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

fn odd(text: &str) -> Result<u8, String> {
    match text.parse::<u8>() {
        Ok(steps) if steps % 2 == 1 && (3..=41).contains(&steps) => Ok(steps),
        _ => Err("an odd number from 3 to 41, so that the image itself is in the middle".to_owned()),
    }
}

fn strength(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 100.0 => Ok(value),
        _ => Err("a strength is a number above 0, 100 at most".to_owned()),
    }
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

fn reference(text: &str) -> Result<(f64, String), String> {
    let (value, label) = text.split_once(':').ok_or("a reference is VALUE:LABEL")?;
    match value.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((value, label.to_owned())),
        _ => Err(format!("{value:?} is not a finite number")),
    }
}
