//! The commands about models, runs and the program itself: `info`, `runs`, `completions`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

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

/// Runs, and how each stands: running, done, interrupted, diverged, or damaged
#[derive(Debug, Args)]
#[command(after_help = "\
Steps and likelihoods are those of the last save. Nothing but the headers of files is read: what `train --resume` and
`eval` would find in their numbers, such as a turned bit, is not found here.

Examples:
  flow runs
  flow runs elsewhere --json")]
pub struct RunsArgs {
    /// Folder that holds the folders of runs, or one such folder
    #[arg(value_name = "DIR", default_value = "runs")]
    pub dir: PathBuf,
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
