//! The commands about models and the program itself: `info`, `completions`.

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

/// Completions for a shell, on standard output
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  flow completions bash > ~/.local/share/bash-completion/completions/flow")]
pub struct CompletionsArgs {
    pub shell: Shell,
}
