//! The crate from outside: every data set, and every way a file can be wrong.

mod csv;
mod data_sets;
mod idx;
mod mnist;
mod npy;

use std::path::PathBuf;

use tempfile::TempDir;

/// A file with these bytes, in a folder that goes with the first value.
fn file(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}
