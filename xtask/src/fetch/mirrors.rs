//! Downloading: each missing file from the first mirror that gives it as it should be.

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Result, bail};

use super::folder::{self, Failure, Holding};
use super::http::{Client, Refusal};
use super::mnist::File;
use super::verify::Fault;
use crate::progress::Progress;

const ADVICE: &str = "If the files are on this machine or can be brought to it: `cargo xtask fetch mnist --from DIR`";

/// Brings every one of `files` that is not in `folder` yet. What is right already stays as it is.
pub fn download(client: &Client, files: &[File], mirrors: &[String], folder: &Path) -> Result<()> {
    // A mirror that is silent once is not asked again: five seconds a file are not wanted twice.
    let mut alive: Vec<&str> = mirrors.iter().map(String::as_str).collect();
    let mut complaints = Vec::new();
    for file in files {
        match folder::look(folder, file) {
            Holding::Right(_) => continue,
            Holding::Wrong(path, fault) => say!("{}: {fault}; fetching it anew", path.display()),
            Holding::Missing => {}
        }
        let mut there = false;
        for mirror in alive.clone() {
            match from_mirror(client, file, mirror, folder)? {
                Ok(()) => {
                    there = true;
                    break;
                }
                Err(complaint) => {
                    if alive.last() != Some(&mirror) {
                        say!("{}; asking the next mirror", complaint.text);
                    }
                    if complaint.dead {
                        alive.retain(|other| *other != mirror);
                    }
                    complaints.push(complaint.text);
                }
            }
        }
        if !there {
            let complaints = complaints.join("\n  ");
            bail!("no mirror gave {}.gz as it should be\n  {complaints}\n{ADVICE}", file.name);
        }
    }
    Ok(())
}

struct Complaint {
    text: String,
    /// The mirror as a whole does not answer.
    dead: bool,
}

/// The outer error is one of this machine, which no other mirror could mend.
fn from_mirror(client: &Client, file: &File, mirror: &str, folder: &Path) -> Result<Result<(), Complaint>> {
    let url = format!("{}/{}.gz", mirror.trim_end_matches('/'), file.name);
    let complaint = |what: &dyn std::fmt::Display, dead| Ok(Err(Complaint { text: format!("{url}: {what}"), dead }));
    let (length, body) = match client.get(&url) {
        Ok(answer) => answer,
        Err(Refusal::Host(why)) => return complaint(&why, true),
        Err(Refusal::File(why)) => return complaint(&why, false),
    };
    let progress = Progress::start(&format!("{}.gz", file.name), mirror, length);
    let put = folder::put(folder, file, Followed { source: body, progress });
    match put {
        Ok(_) => Ok(Ok(())),
        Err(Failure::Folder(error)) => Err(error),
        Err(Failure::Source(fault)) => {
            let silent = matches!(&fault, Fault::Source(error) if error.kind() == io::ErrorKind::TimedOut);
            complaint(&fault, silent)
        }
    }
}

/// Tells the progress bar what passes through.
struct Followed<R> {
    source: R,
    progress: Progress,
}

impl<R: Read> Read for Followed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.progress.advance(n);
        Ok(n)
    }
}
