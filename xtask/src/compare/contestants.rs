//! Who takes part: this workspace's worker and the peers', and how a process of each is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::plan::{Device, Peer, Work};

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
    pub fn command(&self, work: &Work, threads: usize, device: Device) -> Command {
        let threads = threads.to_string();
        let mut command = self.program();
        if let Contestant::Peer { peer, .. } = self {
            command.arg(peer.name);
        }
        command.args([work.name, &threads]);
        if let Contestant::Ours { precision: Some(precision), .. } = self {
            command.arg(precision);
        }
        command.args(device.arguments());
        alike(command, &threads)
    }

    /// The process that draws 16 samples from the model in `folder`, and says so.
    pub fn cold(&self, work: &Work, threads: usize, device: Device, folder: &Path) -> Command {
        let threads = threads.to_string();
        let model = folder.join("model.safetensors");
        let mut command = self.program();
        match self {
            Contestant::Ours { .. } => command.arg("cold").arg(model).arg(&threads),
            Contestant::Peer { peer, .. } => command.args([peer.name, work.name, &threads, "cold"]).arg(model),
        };
        command.args(device.arguments());
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
    // CUDA counts cards as nvidia-smi does.
    command.env("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
    command
}

#[cfg(test)]
mod tests {
    use super::super::plan::{PEERS, WORK};
    use super::*;

    fn line(command: &Command) -> String {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_worker_is_told_the_device() {
        let ours = Contestant::Ours { program: "ours".into(), precision: Some("bf16".into()) };
        let theirs = Contestant::Peer { peer: PEERS[0], python: "python".into(), script: "worker.py".into() };
        let of = |contestant: &Contestant, device| {
            let cold = contestant.cold(&WORK[0], 2, device, Path::new("models"));
            (line(&contestant.command(&WORK[0], 2, device)), line(&cold))
        };
        let (command, cold) = of(&ours, Device::Cuda);
        assert_eq!(command, "ours nice-moons 2 bf16 --device cuda");
        assert_eq!(cold, "ours cold models/model.safetensors 2 --device cuda");
        let (command, cold) = of(&theirs, Device::Cuda);
        assert_eq!(command, "python worker.py torch nice-moons 2 --device cuda");
        assert_eq!(cold, "python worker.py torch nice-moons 2 cold models/model.safetensors --device cuda");
        assert_eq!(of(&theirs, Device::Cpu).0, "python worker.py torch nice-moons 2");
    }
}
