//! What can be said on the command line.

mod about;
mod check;
mod draw;
mod likelihood;
mod look;
mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};
use flow_train::Device;

pub use about::{CompletionsArgs, InfoArgs, RunsArgs};
pub use check::CheckArgs;
pub use draw::{AttributeArgs, InterpolateArgs, ResampleArgs, SampleArgs, SheetArgs, SheetKind};
pub use likelihood::{Against, ClassifyArgs, EvalArgs, LogProbArgs, ScoreArgs};
pub use look::{AnimateArgs, CurveArgs, DensityArgs, Direction, TraceArgs};
pub use train::{ModelName, TrainArgs};

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
    Check(CheckArgs),
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
    Runs(RunsArgs),
    Completions(CompletionsArgs),
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

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && (0.0..=100.0).contains(&value) => Ok(value),
        _ => Err("a temperature is a number between 0 and 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_of_the_readme_are_accepted() {
        Cli::command().debug_assert();
        let readme = include_str!("../../../../README.md");
        let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("flow ")).collect();
        assert!(lines.len() > 10, "{lines:?}");
        for line in lines {
            let words = line.split('#').next().unwrap_or_default().split_whitespace();
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
