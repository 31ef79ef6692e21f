//! Python environments made with pip, and what could not be installed in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::plan::{Environment, Peer};
use super::report::LeftOut;
use crate::interrupt::Stopped;
use crate::reproduce::process::{self, Messages};

/// PyTorch's own index of builds without CUDA, for every system that it is built for.
pub const WITHOUT_CUDA: &str = "https://download.pytorch.org/whl/cpu";

/// How the environments are made.
pub struct Environments<'a> {
    /// Where they lie.
    pub folder: PathBuf,
    /// An index of packages that is asked for PyTorch in front of pip's own.
    pub torch_index: Option<&'a str>,
    /// A Python that has everything already.
    pub given: Option<&'a Path>,
}

impl Environments<'_> {
    /// The Python of each peer that can be had; the others join `left_out`.
    pub fn prepare(&self, peers: &[Peer], left_out: &mut Vec<LeftOut>) -> Result<Vec<(Peer, PathBuf)>> {
        let mut ready = Vec::new();
        for environment in [Environment::Torch, Environment::Jax, Environment::TensorFlow] {
            let wanted: Vec<&Peer> = peers.iter().filter(|peer| peer.environment == environment).collect();
            if wanted.is_empty() {
                continue;
            }
            let python = match self.base(environment) {
                Ok(python) => python,
                Err(error) if error.is::<Stopped>() => return Err(error),
                Err(error) => {
                    left_out.extend(wanted.iter().map(|peer| LeftOut::new(peer.name, None, &error)));
                    continue;
                }
            };
            for peer in wanted {
                match self.install(&python, peer.packages, None) {
                    Ok(()) => ready.push((*peer, python.clone())),
                    Err(error) if error.is::<Stopped>() => return Err(error),
                    Err(error) => left_out.push(LeftOut::new(peer.name, None, &error)),
                }
            }
        }
        Ok(ready)
    }

    /// An environment with what all its peers need.
    fn base(&self, environment: Environment) -> Result<PathBuf> {
        if let Some(given) = self.given {
            self.install(given, environment.packages(), None)?;
            return Ok(given.to_owned());
        }
        let folder = self.folder.join(environment.name());
        let python = folder.join("bin/python");
        if !python.is_file() {
            say!("Making a Python environment in {}", folder.display());
            let mut command = Command::new("python3");
            command.args(["-m", "venv"]).arg(&folder);
            self.run(command, "venv")
                // Half of one would be taken for a whole one the next time.
                .inspect_err(|_| drop(fs::remove_dir_all(&folder)))
                .context("no Python environment could be made (python3 with venv and pip)")?;
        }
        let index = self.torch_index.filter(|_| environment == Environment::Torch);
        self.install(&python, environment.packages(), index)?;
        Ok(python)
    }

    /// Installs what is not there yet.
    fn install(&self, python: &Path, packages: &[&str], index: Option<&str>) -> Result<()> {
        let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_there(python, package)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if self.given.is_some() {
            bail!("{} has no {}", python.display(), missing.join(", "));
        }
        for package in missing {
            say!("Installing {package}");
            let pip = |index: Option<&str>| {
                let mut command = Command::new(python);
                command.args(["-m", "pip", "install", "--disable-pip-version-check", package]);
                // With little patience, for there is another.
                command.args(index.iter().flat_map(|index| ["--index-url", index, "--retries", "1"]));
                self.run(command, package)
            };
            match index {
                None => pip(None),
                // What the other index has not, pip's own may.
                Some(_) => pip(index).or_else(|error| if error.is::<Stopped>() { Err(error) } else { pip(None) }),
            }
            .with_context(|| format!("{package} could not be installed"))?;
        }
        Ok(())
    }

    fn run(&self, command: Command, what: &str) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot create {}", self.folder.display()))?;
        let log = self.folder.join(format!("install-{what}.log"));
        process::run(command, &Messages::Logged(log), None).map(drop)
    }
}

/// Whether Python has the package, in its version if one is named.
fn is_there(python: &Path, package: &str) -> bool {
    let (name, version) = package.split_once("==").map_or((package, ""), |(name, version)| (name, version));
    // A build may add to its version what it was built for: 2.11.0+cpu.
    let ask = "import sys, importlib.metadata as m; v = m.version(sys.argv[1]).split('+')[0]; \
               sys.exit(sys.argv[2] not in ('', v))";
    let mut command = Command::new(python);
    command.args(["-c", ask, name, version]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
