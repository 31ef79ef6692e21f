//! `flow train`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};
use flow_core::Precision;
use flow_data::Spec;
use flow_models::Preset;
use flow_train::{Device, OnDivergence};

/// Train a model, or go on with a training that was stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Data: moons, two-moons, circles, digits, mnist, cifar10, iris, winequality, diabetes,
      csv:PATH, npy:PATH, images:DIR (PNG and JPEG), idx:FILE

Examples:
  flow train realnvp --data moons
  flow train nice --data mnist --steps 10000 --out runs/nice-mnist
  flow train glow --data digits --preset cpu --classes
  flow train realnvp-image --data mnist --device cuda --precision bf16
  flow train realnvp --data csv:table.csv --set model.couplings=8 --set train.weight_decay=0.01
  flow train realnvp --data images:faces --set data.size=64 --set data.bits=5
  flow train --resume runs/nice-mnist
  flow train glow --data mnist --preset cpu --on-divergence rewind

Ctrl-C saves and ends, a second one ends at once; --resume goes on as if nothing had happened.")]
pub struct TrainArgs {
    /// Which model
    #[arg(value_enum, required_unless_present = "resume")]
    pub model: Option<ModelName>,
    /// What to train on (see below)
    #[arg(long, value_name = "DATA", required_unless_present = "resume")]
    pub data: Option<Spec>,
    /// Ready configuration to start from: seed (the original's nets; nice and realnvp only), paper, default (of the image
    /// models for hours on a GPU) or cpu (ten minutes on two cores)
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
    /// Where to compute: cpu, cuda, cuda:N, mps or auto [default: auto]
    #[arg(long)]
    pub device: Option<Device>,
    /// How the factors of the nets' products are rounded in training: f32, bf16 (faster where the processor
    /// multiplies bf16, slower elsewhere) or tf32 (faster on NVIDIA GPUs, f32 elsewhere) [default: f32]
    #[arg(long)]
    pub precision: Option<Precision>,
    /// Threads to compute with [default: all]
    #[arg(long, value_parser = value_parser!(u16).range(1..=4096))]
    pub threads: Option<u16>,
    /// What starting weights, batches and noise depend on [default: 0]
    #[arg(long, value_parser = value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Folder of the run [default: runs/MODEL-DATA]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// What to do where a number is not finite any more: stop with a report, or rewind to the last good save and go on at
    /// half the learning rate, train.rewinds times at most; also for a run that is resumed [default: stop]
    #[arg(long, value_enum)]
    pub on_divergence: Option<OnDivergenceName>,
    /// Go on with the run in this folder, exactly as it was configured
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["model", "data", "preset", "set", "classes", "steps", "batch", "device", "precision", "threads", "seed", "out"]
    )]
    pub resume: Option<PathBuf>,
    /// One JSON object on standard output at the end
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OnDivergenceName {
    Stop,
    Rewind,
}

impl From<OnDivergenceName> for OnDivergence {
    fn from(name: OnDivergenceName) -> Self {
        match name {
            OnDivergenceName::Stop => OnDivergence::Stop,
            OnDivergenceName::Rewind => OnDivergence::Rewind,
        }
    }
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
