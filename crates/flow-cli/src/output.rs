//! What commands leave and say: files, each written beside and renamed, a result on standard output, and notes on standard
//! error.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, bail};
use flow_data::DataSet;
use serde_json::Value;

/// What a person asked for that makes no sense whatever the model: wrong usage, like what the parser refuses.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The ending of a file's name, which must be one of `known`.
pub fn ending<'a>(path: &Path, known: &[&'a str]) -> anyhow::Result<&'a str> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match known.iter().find(|k| k.eq_ignore_ascii_case(ending)) {
        Some(known) => Ok(known),
        None => bail!("{}: the name must end in .{}", path.display(), known.join(" or .")),
    }
}

/// A line on standard error. Whether anybody reads it does not matter: a training goes on, and saves, without its reader.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says what a person should know of how data were read, such as which files were left out.
pub fn notes(data: &DataSet) {
    data.notes.iter().for_each(|text| note(text));
}

/// Writes a command's result to standard output. A reader that has seen enough, as `head` has, is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(text.as_bytes())
}

/// The same of one that is no text of ours.
pub fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

/// One object on a line.
pub fn print_json(object: &Value) -> anyhow::Result<()> {
    print(&format!("{object}\n"))
}

/// Writes `bytes` to `path`, making its folder.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    flow_models::write_beside(path, bytes).with_context(|| path.display().to_string())
}
