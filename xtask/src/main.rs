//! `cargo xtask`: the chores of this workspace. `fetch` brings the data, `reproduce` makes the gallery, `compare` times
//! this project beside others.
//!
//! Nothing here depends on libtorch or on a flow crate, so that it builds on a machine that has neither yet.

// In front of those that use its macro.
#[macro_use]
mod text;

mod compare;
mod fetch;
mod interrupt;
mod progress;
mod reproduce;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use workspace::Workspace;

/// Chores of the workspace
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    /// Work in this folder instead of the clone (for the tests)
    #[arg(long, global = true, hide = true, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compare(compare::Args),
    Fetch(fetch::Args),
    Reproduce(reproduce::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let workspace = Workspace::at(cli.root);
    let outcome = match &cli.command {
        Command::Compare(args) => compare::run(args, &workspace),
        Command::Fetch(args) => fetch::run(args, &workspace),
        Command::Reproduce(args) => reproduce::run(args, &workspace),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<interrupt::Stopped>() => {
            say!("\n{error}");
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Err(error) => {
            say!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
