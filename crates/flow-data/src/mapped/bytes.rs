//! The bytes of a file, of which only what is looked at is read.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use memmap2::{Advice, Mmap};

use crate::{Error, endless};

/// The strictest alignment of a number that a view is laid over.
const ALIGN: usize = 8;

/// A file's bytes: mapped, or in memory where they cannot be mapped (a pipe) or must lie elsewhere.
#[derive(Debug)]
pub(crate) enum FileBytes {
    Mapped(Mmap),
    Read { buffer: Vec<u8>, skip: usize },
}

impl FileBytes {
    /// Opens a file; nothing but what can only be read once is read.
    ///
    /// # Errors
    /// [`Error::Read`] where it is a device or a folder, or cannot be opened, mapped or read.
    pub fn open(path: &Path) -> Result<FileBytes, Error> {
        let open = || -> io::Result<FileBytes> {
            let mut file = endless::open(path)?;
            if file.metadata()?.is_file() {
                return Ok(FileBytes::Mapped(map(&file)?));
            }
            let mut buffer = Vec::new();
            file.read_to_end(&mut buffer)?;
            Ok(FileBytes::Read { buffer, skip: 0 })
        };
        open().map_err(|source| Error::Read { path: path.to_owned(), source })
    }

    /// All of them.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            FileBytes::Mapped(map) => map,
            FileBytes::Read { buffer, skip } => &buffer[*skip..],
        }
    }

    /// The same, byte `start` at an address where a view of any number may begin. NumPy pads its headers so that this
    /// is so in any file of its own; of another's, which is not, this is a copy in memory.
    pub fn aligned(self, start: usize) -> FileBytes {
        let bytes = self.as_slice();
        if (bytes.as_ptr().addr() + start).is_multiple_of(ALIGN) {
            return self;
        }
        let mut buffer = vec![0; bytes.len() + ALIGN];
        let skip = (ALIGN - (buffer.as_ptr().addr() + start) % ALIGN) % ALIGN;
        buffer.truncate(skip + bytes.len());
        buffer[skip..].copy_from_slice(bytes);
        FileBytes::Read { buffer, skip }
    }

    /// Tells the system that the file will now be read from front to back: it reads ahead.
    pub fn in_order(&self) {
        self.advise(Advice::Sequential);
    }

    /// Tells the system that rows will now be read here and there: it reads no more than them.
    pub fn here_and_there(&self) {
        self.advise(Advice::Random);
    }

    fn advise(&self, advice: Advice) {
        if let FileBytes::Mapped(map) = self {
            // Only advice: where the system does not take it, the same bytes come more slowly.
            let _ = map.advise(advice);
        }
    }
}

#[allow(unsafe_code, reason = "mapping a file is unsafe by nature")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this process, but the file is not: that nobody writes to it or
    // shortens it while it is mapped cannot be checked and is assumed, as `load` says in its documentation.
    //
    // What breaks where the assumption does: every length and offset used on the map was checked against its length,
    // which does not change, so no access leaves it. The bytes are only ever copied out as plain numbers, of which every
    // bit pattern is valid, after the header was parsed; a value that was changed is a changed value, which training
    // takes for data, or refuses where it is not finite. A page beyond the end of a file that was cut off raises
    // SIGBUS: the process ends, and a run folder keeps its last save.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_files_wherever_they_are_put() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for len in [0, 1, 9, 5_000] {
            let content: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            std::fs::write(&path, &content).unwrap();
            for start in 0..=ALIGN.min(len) {
                let bytes = FileBytes::open(&path).unwrap().aligned(start);
                assert_eq!(bytes.as_slice(), content);
                assert!((bytes.as_slice().as_ptr().addr() + start).is_multiple_of(ALIGN));
            }
        }
    }

    #[test]
    fn what_is_no_file_is_refused_by_its_name() {
        for path in ["no/such", "."] {
            let error = FileBytes::open(Path::new(path)).unwrap_err();
            assert!(matches!(&error, Error::Read { path: named, .. } if named == Path::new(path)), "{error}");
        }
    }
}
