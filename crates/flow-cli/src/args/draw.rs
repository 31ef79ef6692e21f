//! The commands about what a model draws, and about its latent: `sample`, `sheet`, `interpolate`, `attribute`, `resample`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};

use super::{ModelArgs, temperature};

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
