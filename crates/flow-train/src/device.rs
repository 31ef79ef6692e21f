//! Where to compute, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A device by the name a person gives it: `cpu`, `cuda`, `cuda:1`, `mps`, `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Device {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU by its number.
    Cuda(usize),
    /// The GPU of an Apple computer.
    Mps,
    /// The first CUDA GPU that is there, then MPS, else the processor.
    #[default]
    Auto,
}

impl Device {
    /// The device as libtorch names it.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] where it is not there, with what to do.
    pub fn resolve(self) -> Result<tch::Device> {
        match self {
            Device::Cpu => Ok(tch::Device::Cpu),
            Device::Cuda(index) => cuda(index),
            Device::Mps if tch::utils::has_mps() => Ok(tch::Device::Mps),
            Device::Mps => Err(Error::Device("this libtorch has no MPS device; use --device cpu".to_owned())),
            Device::Auto if tch::Cuda::is_available() => Ok(tch::Device::Cuda(0)),
            Device::Auto if tch::utils::has_mps() => Ok(tch::Device::Mps),
            Device::Auto => Ok(tch::Device::Cpu),
        }
    }

    /// The device that is used where this one is asked for: what `auto` comes out as.
    ///
    /// # Errors
    ///
    /// As [`Device::resolve`].
    pub fn found(self) -> Result<Self> {
        Ok(match self.resolve()? {
            tch::Device::Cuda(index) => Device::Cuda(index),
            tch::Device::Mps => Device::Mps,
            _ => Device::Cpu,
        })
    }
}

fn cuda(index: usize) -> Result<tch::Device> {
    if !tch::utils::has_cuda() {
        let why = "the libtorch of this program is without CUDA. `tools/libtorch.py --cuda` in the checkout fetches the CUDA \
                   build, and programs find it without being built again (docs/libtorch.md); or use --device cpu";
        return Err(Error::Device(why.to_owned()));
    }
    let count = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    if !tch::Cuda::is_available() || index >= count {
        return Err(Error::Device(format!(
            "there is no GPU cuda:{index}: {count} found by libtorch; use --device cpu"
        )));
    }
    Ok(tch::Device::Cuda(index))
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            "mps" => Ok(Device::Mps),
            "auto" => Ok(Device::Auto),
            _ => name.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map(Device::Cuda).ok_or_else(|| {
                Error::Device(format!("no device is called {name:?}; there are cpu, cuda, cuda:N, mps and auto"))
            }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
            Device::Mps => f.write_str("mps"),
            Device::Auto => f.write_str("auto"),
        }
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}
