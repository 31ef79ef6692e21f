//! Writing a file so that a good one is never replaced by half of another.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `bytes` beside `path`, syncs, and renames: whoever reads `path` sees the old file or the whole new one. A link at
/// `path` is replaced, never followed.
///
/// # Errors
///
/// What the system says, and that there is something else than a file or a link at `path`, a device, a pipe or a folder;
/// nothing is left beside `path` then.
pub fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Prepared::new(path, bytes)?.put()
}

/// A file that is on disk whole beside the one it is to replace. Files that belong together are prepared first, all of
/// them, so that a disk which has room for some replaces none. Dropped without [`put`](Self::put), it is removed.
#[derive(Debug)]
#[must_use = "the file takes its place by `put`"]
pub struct Prepared {
    path: PathBuf,
    beside: PathBuf,
    placed: bool,
}

impl Prepared {
    /// Writes `bytes` beside `path` and syncs.
    ///
    /// # Errors
    ///
    /// As of [`write_beside`].
    pub fn new(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let name = path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "not a file name"))?;
        refuse_special(path)?;
        // A name of its own for each call: two that write one path at once must not share the file beside it.
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let mut beside = name.to_owned();
        beside.push(format!(".{}.{call}.part", std::process::id()));
        let prepared = Prepared { path: path.to_owned(), beside: path.with_file_name(beside), placed: false };
        write_synced(&prepared.beside, bytes)?;
        Ok(prepared)
    }

    /// Renames it into its place.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn put(mut self) -> io::Result<()> {
        fs::rename(&self.beside, &self.path)?;
        self.placed = true;
        // The rename itself must reach the disk too.
        sync_folder(&self.path)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Refuses what a rename would do away with although it was no file: a device, a pipe, a folder.
fn refuse_special(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() && !found.is_symlink() => {
            Err(io::Error::new(ErrorKind::InvalidInput, "there already, and not a plain file"))
        }
        _ => Ok(()),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Of this name there can be what a process of our number left behind, or a link that somebody put there: not followed.
    if let Err(e) = fs::remove_file(path)
        && e.kind() != ErrorKind::NotFound
    {
        return Err(e);
    }
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Brings the folder that `path` is in to disk, and with it that there is a `path`; where folders cannot be brought to disk,
/// or this one may not be opened, nothing is done.
///
/// # Errors
///
/// What the system says.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // To write in a folder one need not be allowed to read it, and some file systems have no such sync: the file is in
        // its place, and to say that it could not be written would be wrong.
        Err(e)
            if matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        done => done,
    }
}
