//! Refusing what has no end: a name may come from somebody else's model file, and be that of `/dev/zero`.

use std::{
    fs::{self, File, FileType},
    io::{self, Read},
    path::Path,
};

/// All bytes of a file or a pipe.
///
/// # Errors
/// What the system says, and that `path` is a device or a folder.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file or a pipe.
///
/// # Errors
/// As of [`read`].
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Before it is opened, for that alone can make a device do something.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() || is_pipe(kind) {
        return File::open(path);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"))
}

#[cfg(unix)]
fn is_pipe(kind: FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&kind)
}

#[cfg(not(unix))]
fn is_pipe(_: FileType) -> bool {
    false
}
