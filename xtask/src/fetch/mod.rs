//! `cargo xtask fetch`: puts the files of a data set where the programs look for them, checked.

mod folder;
mod http;
mod mirrors;
pub mod mnist;
#[cfg(test)]
mod tests;
pub mod verify;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use folder::{Failure, Holding};
use http::{Client, Patience};
use mnist::File;

use crate::workspace::Workspace;

/// Download a data set, checked, into `datasets/`
///
/// The files may also lie elsewhere: with the variable FLOW_DATA_DIR set, the programs read them from
/// FLOW_DATA_DIR/mnist or FLOW_DATA_DIR itself, and nothing is fetched.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask fetch mnist\n  cargo xtask fetch mnist --from ~/Downloads")]
pub struct Args {
    /// Which data set
    data: DataSet,
    /// Copy the files, gzipped or not, from this folder instead of downloading them
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Ask this mirror instead of the usual ones (may be given several times)
    #[arg(long = "mirror", value_name = "URL")]
    mirrors: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum DataSet {
    /// 70,000 handwritten digits, 28 x 28; 11.6 MB to download
    Mnist,
}

pub fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let DataSet::Mnist = args.data;
    match &args.from {
        Some(from) => copy(&mnist::files(), from, &workspace.mnist()),
        None => mnist_folder(&args.mirrors, workspace).map(drop),
    }
}

/// The folder that holds MNIST, fetched first if it is nowhere yet, for a chore that goes on from there.
pub fn mnist_folder(mirrors: &[String], workspace: &Workspace) -> Result<PathBuf> {
    let client = Client::new(Patience::default());
    provide(&client, &mnist::files(), std::env::var_os("FLOW_DATA_DIR"), mirrors, workspace)
}

/// The folder that holds `files`, fetched first if they are nowhere yet. An absolute path: the programs that are told of
/// it are started in another folder than this one was.
fn provide(
    client: &Client,
    files: &[File],
    data_dir: Option<OsString>,
    mirrors: &[String],
    workspace: &Workspace,
) -> Result<PathBuf> {
    if let Some(data_dir) = data_dir.filter(|dir| !dir.is_empty()) {
        let data_dir = std::path::absolute(data_dir).context("what folder is FLOW_DATA_DIR?")?;
        match in_data_dir(files, &data_dir) {
            Ok(folder) => {
                say!("MNIST is in {} (FLOW_DATA_DIR), checked: nothing to fetch", folder.display());
                return Ok(folder);
            }
            Err(why) => say!("FLOW_DATA_DIR has no complete MNIST ({why})"),
        }
    }
    let folder = workspace.mnist();
    let Some(_lock) = lock_unless_complete(&folder, files)? else {
        say!("MNIST is in {}, checked: nothing to fetch", workspace.shown(&folder));
        return Ok(folder);
    };
    let usual = || mnist::MIRRORS.map(str::to_owned).to_vec();
    let mirrors = if mirrors.is_empty() { usual() } else { mirrors.to_vec() };
    mirrors::download(client, files, &mirrors, &folder).context("MNIST could not be fetched")?;
    say!("MNIST is in {}, checked", workspace.shown(&folder));
    Ok(folder)
}

/// The files in `data_dir/mnist` or in `data_dir` itself; otherwise what is the matter there.
fn in_data_dir(files: &[File], data_dir: &Path) -> Result<PathBuf, String> {
    let below = data_dir.join("mnist");
    match (folder::complete(&below, files), folder::complete(data_dir, files)) {
        (Ok(()), _) => Ok(below),
        (_, Ok(())) => Ok(data_dir.to_path_buf()),
        (Err(why), _) if below.is_dir() => Err(why),
        (_, Err(why)) => Err(why),
    }
}

/// Brings the files in from another folder of this machine.
fn copy(files: &[File], from: &Path, into: &Path) -> Result<()> {
    let Some(_lock) = lock_unless_complete(into, files)? else {
        say!("MNIST is in {} already, checked: nothing to copy", into.display());
        return Ok(());
    };
    let source = in_data_dir(files, from).map_err(|why| anyhow::anyhow!("nothing was copied: {why}"))?;
    for file in files {
        let Holding::Right(path) = folder::look(&source, file) else {
            bail!("{} changed while it was being copied", source.display());
        };
        let opened = fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let place = folder::put(into, file, opened).map_err(|failure| match failure {
            Failure::Folder(error) => error,
            Failure::Source(fault) => anyhow::anyhow!("{}: {fault}", path.display()),
        })?;
        say!("{} -> {}", path.display(), place.display());
    }
    say!("MNIST is in {}, checked", into.display());
    Ok(())
}

/// The lock of a folder in which something is missing. A complete one may be on a disk that nobody can write to; and it
/// may have become complete while another fetch held the lock.
fn lock_unless_complete(folder: &Path, files: &[File]) -> Result<Option<fs::File>> {
    let is_complete = || folder::complete(folder, files).is_ok();
    if is_complete() {
        return Ok(None);
    }
    let lock = lock(folder)?;
    Ok((!is_complete()).then_some(lock))
}

/// Makes the folder and waits until no other fetch is busy in it. Unlocks when dropped.
fn lock(folder: &Path) -> Result<fs::File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(".lock");
    let file = fs::File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
