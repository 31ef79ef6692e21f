//! A run's files are its own: a folder that somebody else packed must not lead out of itself by a link.

use std::fs;
use std::path::Path;

use crate::folder::{metrics_file, model_file, state_file};
use crate::{Error, Result};

/// Refuses a folder in which a file that a training reads or writes is a link or no plain file: what is written through a
/// link is written to where it leads, and a pipe never ends.
///
/// # Errors
///
/// [`Error::Run`] for the first such file.
pub fn refuse_links(dir: &Path) -> Result<()> {
    for path in [state_file(dir), model_file(dir), metrics_file(dir), dir.join("config.toml"), dir.join("lock")] {
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(Error::run(path, "not a plain file: a run's files are never links"));
        }
    }
    Ok(())
}

/// Refuses a `file` of `dir` that is a link to somewhere outside of it.
///
/// # Errors
///
/// [`Error::Run`], and what the system says of either.
pub fn require_inside(dir: &Path, file: &Path) -> Result<()> {
    let real = |path: &Path| path.canonicalize().map_err(Error::io(path));
    match real(file)?.starts_with(real(dir)?) {
        true => Ok(()),
        false => {
            Err(Error::run(file, "a link that leads out of the run's folder; name the file itself if it is meant"))
        }
    }
}
