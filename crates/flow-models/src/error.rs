//! What can go wrong when a model is configured, saved or loaded.

use std::path::PathBuf;

/// A configuration that no model can be built from, or a file that is no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of a configuration outside its range.
    #[error("configuration: {field} must be {expected}, not {value}")]
    Config {
        /// The field, with dots: `conditioner.hidden`.
        field: String,
        /// What it may be.
        expected: String,
        /// What it was.
        value: String,
    },
    /// A constructor of flow-core refused.
    #[error(transparent)]
    Core(#[from] flow_core::Error),
    /// Rows or a context that the model does not take.
    #[error("{0}")]
    Input(String),
    /// The device asked for is not there.
    #[error("libtorch finds no device {0:?}; Device::Cpu is always there, and docs/libtorch.md says how to get CUDA")]
    Device(tch::Device),
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was to be saved is nothing that could be loaded again.
    #[error("{path} is not written: {why}")]
    NotSaved {
        /// The file.
        path: PathBuf,
        /// The first thing wrong, and where.
        why: String,
    },
    /// The file is not a model file, or a damaged one.
    #[error("{path}: not a sound model file: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// The first thing wrong with it, and where.
        why: String,
    },
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// `Err(Error::Config)` unless `ok`.
pub(crate) fn require(
    ok: bool,
    field: impl Into<String>,
    expected: impl Into<String>,
    value: impl ToString,
) -> Result<()> {
    if ok {
        return Ok(());
    }
    Err(Error::Config { field: field.into(), expected: expected.into(), value: value.to_string() })
}
