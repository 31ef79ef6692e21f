//! What is compared, with whom, and for how long.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A configuration, by the name that all workers know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    pub name: &'static str,
    pub title: &'static str,
    /// Rows of a training step.
    pub batch: u32,
    /// Whether it is made of convolutions.
    pub image: bool,
    /// Whether the time from the start of a process to its first samples is taken, too.
    pub cold: bool,
}

pub const WORK: [Work; 6] = [
    work("nice-moons", "NICE, moons, the original's nets", 1_000),
    work("realnvp-moons", "RealNVP, moons, the original's nets", 1_000),
    Work { cold: true, ..work("nice-mnist", "NICE, MNIST, the original's nets", 128) },
    work("realnvp-mnist", "RealNVP, MNIST, the original's nets", 128),
    Work { image: true, ..work("glow-mnist", "Glow, MNIST, multi-scale, preset `cpu`", 32) },
    Work { image: true, ..work("realnvp-image-mnist", "RealNVP, MNIST, multi-scale, preset `cpu`", 32) },
];

const fn work(name: &'static str, title: &'static str, batch: u32) -> Work {
    Work { name, title, batch, image: false, cold: false }
}

/// Where everybody computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The processor
    Cpu,
    /// An NVIDIA GPU, the first
    Cuda,
}

impl Device {
    /// What a worker is told beside its usual arguments.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Device::Cpu => &[],
            Device::Cuda => &["--device", "cuda"],
        }
    }

    /// The page and the JSON file beside it, without their ending.
    pub fn file_name(self) -> &'static str {
        match self {
            Device::Cpu => "benchmarks",
            Device::Cuda => "benchmarks-cuda",
        }
    }
}

/// Somebody else's library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub name: &'static str,
    /// What pip is asked for, beside what the environment has for all.
    pub packages: &'static [&'static str],
    pub environment: Environment,
    /// Whether it has layers for images.
    pub images: bool,
    /// Whether it compiles what it computes, for minutes where that is much.
    pub compiles: bool,
    /// Whether it is of use on a GPU alone.
    pub needs_gpu: bool,
}

impl Peer {
    /// Why it does not compute on `device`, whatever the work is.
    pub fn absence_on(&self, device: Device) -> Option<&'static str> {
        match device {
            Device::Cpu if self.needs_gpu => Some("CUDA graphs need a GPU"),
            Device::Cuda if self.environment != Environment::Torch => Some("not timed on a GPU here"),
            _ => None,
        }
    }

    /// Why it has no part in `work`, `named` being whether a person asked for it by name.
    pub fn absence(&self, work: &Work, named: bool, quick: bool) -> Option<&'static str> {
        match self {
            Peer { images: false, .. } if work.image => Some("it has no layers for images"),
            Peer { compiles: true, .. } if !named && work.image => {
                Some("compiling image models takes too long, unless --only names it")
            }
            Peer { compiles: true, .. } if !named && quick => {
                Some("compiling takes too long for --quick, unless --only names it")
            }
            _ => None,
        }
    }
}

/// Libraries that may want different versions of the same things have environments of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    Torch,
    Jax,
    TensorFlow,
}

impl Environment {
    pub fn name(self) -> &'static str {
        match self {
            Environment::Torch => "torch",
            Environment::Jax => "jax",
            Environment::TensorFlow => "tensorflow",
        }
    }

    /// What all peers in it need. PyTorch is of the version of this workspace's libtorch.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Environment::Torch => &["torch==2.11.0", "numpy"],
            Environment::Jax => &["jax==0.10.2", "numpy"],
            Environment::TensorFlow => &["tensorflow-cpu==2.21.0", "numpy"],
        }
    }
}

pub const PEERS: [Peer; 8] = [
    Peer { images: true, ..peer("torch", &[], Environment::Torch) },
    Peer { images: true, compiles: true, ..peer("torch.compile", &[], Environment::Torch) },
    Peer { images: true, needs_gpu: true, ..peer("torch.graph", &[], Environment::Torch) },
    Peer { images: true, ..peer("nflows", &["nflows==0.14"], Environment::Torch) },
    Peer { images: true, ..peer("normflows", &["normflows==1.7.3"], Environment::Torch) },
    peer("zuko", &["zuko==1.6.0"], Environment::Torch),
    peer("flowjax", &["flowjax==19.1.2"], Environment::Jax),
    peer("tensorflow", &[], Environment::TensorFlow),
];

const fn peer(name: &'static str, packages: &'static [&'static str], environment: Environment) -> Peer {
    Peer { name, packages, environment, images: false, compiles: false, needs_gpu: false }
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    Step,
    LogProb,
    Sample,
    #[serde(rename = "log_prob_1")]
    LogProbOne,
    #[serde(rename = "sample_1")]
    SampleOne,
}

impl Measure {
    pub const ALL: [Measure; 5] =
        [Measure::Step, Measure::LogProb, Measure::Sample, Measure::LogProbOne, Measure::SampleOne];

    /// As a person reads it.
    pub fn title(self) -> &'static str {
        match self {
            Measure::Step => "training step",
            Measure::LogProb => "log_prob of 1,000",
            Measure::Sample => "sample of 1,000",
            Measure::LogProbOne => "log_prob of 1",
            Measure::SampleOne => "sample of 1",
        }
    }
}

impl fmt::Display for Measure {
    /// As workers know it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Measure::Step => "step",
            Measure::LogProb => "log_prob",
            Measure::Sample => "sample",
            Measure::LogProbOne => "log_prob_1",
            Measure::SampleOne => "sample_1",
        })
    }
}

/// How long it takes, and so how well it is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Effort {
    /// How many times everybody's turn comes.
    pub rounds: usize,
    /// The same for image models, that take seconds for 1,000 images.
    pub image_rounds: usize,
    /// Of training in a turn.
    pub step_seconds: f64,
    /// Of each other measure in a turn.
    pub other_seconds: f64,
    /// Processes started for the cold start.
    pub starts: usize,
}

pub const FULL: Effort = Effort { rounds: 6, image_rounds: 4, step_seconds: 0.6, other_seconds: 0.2, starts: 5 };
pub const QUICK: Effort = Effort { rounds: 3, image_rounds: 1, step_seconds: 0.3, other_seconds: 0.1, starts: 2 };

impl Effort {
    pub fn rounds(&self, work: &Work) -> usize {
        if work.image { self.image_rounds } else { self.rounds }
    }

    pub fn seconds(&self, measure: Measure) -> f64 {
        if measure == Measure::Step { self.step_seconds } else { self.other_seconds }
    }
}

/// Of training before its memory is read.
pub const TRAINED_SECONDS: f64 = 0.5;
/// Of training while a GPU is asked how busy it is, and how many of these it has to come to a steady answer: that is a mean of
/// up to a second.
pub const WATCHED_SECONDS: f64 = 1.6;
pub const SETTLED: Duration = Duration::from_secs(1);
/// A worker that has not answered by then is given up: a compiler may be at work in it.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Nats per dimension by which log-densities of the same weights may differ.
pub const TOLERANCE: f64 = 1e-4;
/// By how much of their number parameters may differ where weights cannot be given: nflows has other ends of its splines.
pub const NEARLY: f64 = 1e-2;
