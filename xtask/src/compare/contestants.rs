//! Who takes part: this workspace's worker and the peers', and how a process of each is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::plan::{Peer, Work};

/// One side of the comparison.
#[derive(Debug, Clone)]
pub enum Contestant {
    /// This workspace, with matrix products of a precision, where it is not the usual one.
    Ours {
        program: PathBuf,
        precision: Option<String>,
    },
    Peer {
        peer: Peer,
        python: PathBuf,
        script: PathBuf,
    },
}

impl Contestant {
    pub fn name(&self) -> String {
        match self {
            Contestant::Ours { precision: None, .. } => "flow".into(),
            Contestant::Ours { precision: Some(precision), .. } => format!("flow, {precision}"),
            Contestant::Peer { peer, .. } => peer.name.into(),
        }
    }

    pub fn is_ours(&self) -> bool {
        matches!(self, Contestant::Ours { .. })
    }

    /// Whether a comparison without it makes no sense.
    pub fn is_needed(&self) -> bool {
        matches!(self, Contestant::Ours { precision: None, .. })
    }

    /// The process that answers requests.
    pub fn command(&self, work: &Work, threads: usize) -> Command {
        let threads = threads.to_string();
        let mut command = self.program();
        if let Contestant::Peer { peer, .. } = self {
            command.arg(peer.name);
        }
        command.args([work.name, &threads]);
        if let Contestant::Ours { precision: Some(precision), .. } = self {
            command.arg(precision);
        }
        alike(command, &threads)
    }

    /// The process that draws 16 samples from the model in `folder`, and says so.
    pub fn cold(&self, work: &Work, threads: usize, folder: &Path) -> Command {
        let threads = threads.to_string();
        let model = folder.join("model.safetensors");
        let mut command = self.program();
        match self {
            Contestant::Ours { .. } => command.arg("cold").arg(model).arg(&threads),
            Contestant::Peer { peer, .. } => command.args([peer.name, work.name, &threads, "cold"]).arg(model),
        };
        alike(command, &threads)
    }

    fn program(&self) -> Command {
        match self {
            Contestant::Ours { program, .. } => Command::new(program),
            Contestant::Peer { python, script, .. } => {
                let mut command = Command::new(python);
                command.arg(script);
                // No folder of this clone's is written to.
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
        }
    }
}

/// The same number of threads by every way of saying so, and compilers that leave no processes of their own waiting.
fn alike(mut command: Command, threads: &str) -> Command {
    command.envs([("OMP_NUM_THREADS", threads), ("MKL_NUM_THREADS", threads)]);
    command.envs([("TORCHINDUCTOR_COMPILE_THREADS", "1"), ("TF_CPP_MIN_LOG_LEVEL", "2")]);
    command
}
