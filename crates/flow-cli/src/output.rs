//! What commands leave and say: files, each written beside and renamed, a result on standard output, and notes on standard
//! error.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, bail};
use flow_data::DataSet;
use serde_json::Value;

use crate::interrupt;

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

/// The ending of an output's name, as [`ending`] gives it, where there is a place for it: what takes minutes to compute is not
/// computed for nothing. Folders that are not there yet are made when it is written.
pub fn place<'a>(path: &Path, known: &[&'a str]) -> anyhow::Result<&'a str> {
    let ending = ending(path, known)?;
    let path = target(path);
    let shown = path.display();
    if let Some(above) = path.ancestors().skip(1).find(|above| above.exists())
        && !above.is_dir()
    {
        bail!("{shown}: {} is no folder; give another --out", above.display());
    }
    match fs::metadata(&path) {
        Ok(found) if !found.is_file() => bail!("{shown}: there already, and not a plain file; give another --out"),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| shown.to_string()),
        _ => Ok(ending),
    }
}

/// Refuses an output that is a file which is read: what is made of it would take its place.
pub fn refuse_input(out: &Path, flag: &str, input: &Path) -> anyhow::Result<()> {
    match (out.canonicalize(), input.canonicalize()) {
        (Ok(written), Ok(read)) if written == read => {
            let text =
                format!("--out {} is the file of {flag}, which it would replace; give another name", out.display());
            Err(Usage(text).into())
        }
        _ => Ok(()),
    }
}

/// Where a link leads in the end: a file that is given by a link is replaced, and the link stays.
fn target(path: &Path) -> PathBuf {
    /// As many as a system follows; of links that lead in a circle it says so itself.
    const LINKS: usize = 40;
    let next = |path: &PathBuf| fs::read_link(path).ok().map(|to| path.with_file_name(to));
    let links = std::iter::successors(Some(path.to_owned()), next);
    links.take(LINKS + 1).last().expect("the path itself")
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

/// A path as a report has it: JSON is UTF-8, which a path need not be.
pub fn path_text(path: &Path) -> String {
    path.display().to_string()
}

/// Writes `bytes` to `path`, or to where it leads if it is a link, making its folder.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let path = &target(path);
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    // What is written beside would be left there for good by a signal: the first one waits.
    interrupt::listen()?;
    flow_models::write_beside(path, bytes).with_context(|| path.display().to_string())?;
    if interrupt::asked() {
        process::exit(i32::from(interrupt::CODE));
    }
    Ok(())
}
