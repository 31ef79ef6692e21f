//! The folder that holds the files: what is there, and how one gets in, whole or not at all.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::mnist::File;
use super::verify::{self, Fault, Packing};

/// What a folder has of one file.
#[derive(Debug)]
pub enum Holding {
    Right(PathBuf),
    Wrong(PathBuf, Fault),
    Missing,
}

/// Looks for `file`, gzipped or not. Where both are there, both must be right: nobody knows which one a reader takes.
pub fn look(folder: &Path, file: &File) -> Holding {
    let mut found = Holding::Missing;
    for packing in [Packing::Plain, Packing::Gzip] {
        let path = folder.join(packing.file_name(file));
        if !path.exists() {
            continue;
        }
        let checked = fs::File::open(&path).map_err(Fault::Source).and_then(|opened| verify::read(opened, file));
        match checked {
            Ok(_) => found = Holding::Right(path),
            Err(fault) => return Holding::Wrong(path, fault),
        }
    }
    found
}

/// Whether every file is there and right; otherwise what is the matter with the first that is not.
pub fn complete(folder: &Path, files: &[File]) -> Result<(), String> {
    for file in files {
        match look(folder, file) {
            Holding::Right(_) => {}
            Holding::Wrong(path, fault) => return Err(format!("{}: {fault}", path.display())),
            Holding::Missing => return Err(format!("{}: no {}[.gz] there", folder.display(), file.name)),
        }
    }
    Ok(())
}

/// Why a file did not get in.
#[derive(Debug)]
pub enum Failure {
    /// This source is no good, another may be.
    Source(Fault),
    /// The folder is no good.
    Folder(anyhow::Error),
}

/// Writes what `source` gives beside its place and moves it there once it has been found right.
pub fn put(folder: &Path, file: &File, source: impl Read) -> Result<PathBuf, Failure> {
    let part = folder.join(format!("{}.part", file.name));
    let put = write(folder, file, source, &part);
    if put.is_err() {
        // Whatever went wrong before is worth more to the reader than that this failed too.
        let _ = fs::remove_file(&part);
    }
    put
}

fn write(folder: &Path, file: &File, source: impl Read, part: &Path) -> Result<PathBuf, Failure> {
    let on_disk = |action: &str, result: std::io::Result<()>| {
        result.with_context(|| format!("cannot {action} {}", part.display())).map_err(Failure::Folder)
    };
    let mut sink =
        fs::File::create(part).with_context(|| format!("cannot create {}", part.display())).map_err(Failure::Folder)?;
    let packing = verify::copy(source, &mut sink, file).map_err(|fault| match fault {
        Fault::Sink(error) => {
            Failure::Folder(anyhow::Error::new(error).context(format!("cannot write {}", part.display())))
        }
        fault => Failure::Source(fault),
    })?;
    on_disk("save", sink.sync_all())?;
    let place = folder.join(packing.file_name(file));
    on_disk("move", fs::rename(part, &place))?;
    // A wrong file in the other packing would still be found, maybe first.
    for other in [Packing::Gzip, Packing::Plain].map(|packing| folder.join(packing.file_name(file))) {
        if other != place && other.exists() {
            on_disk("make room for", fs::remove_file(&other))?;
        }
    }
    Ok(place)
}
