//! What can go wrong in training and evaluation.

use std::path::PathBuf;

use crate::Divergence;

/// A configuration, a run folder or a training that cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of the run's configuration outside its range, or unknown.
    #[error("configuration: {0}")]
    Config(String),
    /// The data set refused.
    #[error(transparent)]
    Data(#[from] flow_data::Error),
    /// The model refused.
    #[error(transparent)]
    Model(#[from] flow_models::Error),
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A run folder that is not what it should be.
    #[error("{path}: {why}")]
    Run {
        /// The folder or the file in it.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// The device asked for is not there.
    #[error("{0}")]
    Device(String),
    /// A likelihood, a gradient or a parameter stopped being finite.
    #[error("{}. In a run's folder the last good save is kept; {}", .0, .0.place.advice())]
    NotFinite(Box<Divergence>),
    /// A save, or a line of metrics, cannot be written; the save before is whole.
    #[error("step {step} cannot be kept: {source}; {}", kept_save(*.kept))]
    NotSaved {
        /// Steps taken.
        step: u64,
        /// The step of the save that is on disk.
        kept: Option<u64>,
        /// Why.
        source: Box<Error>,
    },
    /// An evaluation met a likelihood that is not finite.
    #[error("log p(x) is not finite for {count} of {rows} {part} rows, counted from 0: {}", named(first, *count))]
    LikelihoodNotFinite {
        /// How many rows.
        count: usize,
        /// Out of how many.
        rows: usize,
        /// Of which split.
        part: String,
        /// Their indices in the split, of the first ten.
        first: Vec<usize>,
    },
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

fn kept_save(step: Option<u64>) -> String {
    match step {
        Some(step) => format!("the save of step {step} is whole, and --resume goes on from there"),
        None => "there is no save before it".to_owned(),
    }
}

/// As in "3, 4 and 7 more".
pub(crate) fn named(first: &[usize], count: usize) -> String {
    let list = first.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    match count.saturating_sub(first.len()) {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }

    pub(crate) fn run(path: impl Into<PathBuf>, why: impl Into<String>) -> Error {
        Error::Run { path: path.into(), why: why.into() }
    }
}
