//! The command `flow`: train, evaluate, sample, trace and animate normalizing flows, and look into their latents.
//!
//! Exit codes: 0 done, 1 failed (or, of `check`, that something is wrong with the model), 2 wrong usage, 130 interrupted after saving.

mod args;
mod arrays;
mod check_report;
mod commands;
mod interrupt;
mod latent;
mod layers;
mod loaded;
mod others;
mod output;
mod progress;
mod real;
mod roc;
mod rows;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    flow_train::keep_freed_memory();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            output::note(&format!("error: {}", one_line(&error)));
            if error.is::<output::Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    // What a shell reads as it starts computes nothing.
    if !matches!(cli.command, Command::Completions(_)) {
        flow_dense::check_environment()?;
    }
    match cli.command {
        Command::Train(args) => return commands::train::run(&args),
        Command::Eval(args) => commands::eval::run(&args)?,
        Command::Check(args) => return commands::check::run(&args),
        Command::Sample(args) => commands::sample::run(&args)?,
        Command::Sheet(args) => commands::sheet::run(&args)?,
        Command::Interpolate(args) => commands::interpolate::run(&args)?,
        Command::Attribute(args) => commands::attribute::run(&args)?,
        Command::Resample(args) => commands::resample::run(&args)?,
        Command::Score(args) => commands::score::run(&args)?,
        Command::Classify(args) => commands::classify::run(&args)?,
        Command::LogProb(args) => commands::log_prob::run(&args)?,
        Command::Trace(args) => commands::trace::run(&args)?,
        Command::Animate(args) => commands::animate::run(&args)?,
        Command::Density(args) => commands::density::run(&args)?,
        Command::Curve(args) => commands::curve::run(&args)?,
        Command::Info(args) => commands::info::run(&args)?,
        Command::Runs(args) => commands::runs::run(&args)?,
        Command::Completions(args) => commands::completions::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The error and its causes, each said once: some libraries' messages already end in their cause.
fn one_line(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}
