//! The space whose density a number is of.

use std::fmt;
use std::str::FromStr;

use flow_core::{Bijection, Logit};
use serde::{Serialize, Serializer};
use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// In which space the likelihood of images is reported; whatever preprocessing a model has of its own, it can be asked
/// for any. Parses from its name and prints as it.
///
/// ```
/// use flow_train::evaluate::Protocol;
///
/// let maf: Protocol = "logit-1e-6".parse()?;
/// assert_eq!(maf, Protocol::Logit { alpha: 1e-6 });
/// assert_eq!(maf.to_string(), "logit-1e-6");
/// # Ok::<_, flow_train::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Protocol {
    /// `unit-cube`: the density of `x = (k + u) / L`, as in NICE.
    #[default]
    UnitCube,
    /// `logit-ALPHA`: the density of `z = logit(α + (1 - 2α) x)`, as the MAF paper reports, with α = 1e-6 on MNIST and
    /// 0.05 on CIFAR-10 (its code, datasets/mnist.py and cifar10.py).
    Logit {
        /// The margin, between 0 and 1/2.
        alpha: f64,
    },
}

impl Protocol {
    /// The unit of the likelihood, in words.
    pub(super) fn unit(self) -> String {
        match self {
            Protocol::UnitCube => "unit cube".to_owned(),
            Protocol::Logit { alpha } => format!("logit space, alpha {alpha:?}"),
        }
    }

    /// `ln|det dz/dx|` of rows `x: [n, D]` on the unit cube, `[n]` in nats; `None` where z is x.
    ///
    /// A density of x is one of z times this determinant: `ln p_z = ln p_x - ln|det dz/dx|`, with
    /// `dz_i/dx_i = (1 - 2α) / (y_i (1 - y_i))`, `y = α + (1 - 2α) x`.
    pub(super) fn log_det(self, x: &Tensor) -> Result<Option<Tensor>> {
        let Protocol::Logit { alpha } = self else { return Ok(None) };
        let logit = Logit::new(alpha).map_err(|e| Error::Config(format!("protocol {self}: {e}")))?;
        // In f64, for a sum of a thousand logarithms near -14; and on the processor, for Metal has no f64.
        let (_, log_det) = logit.forward(&x.to_device(Device::Cpu).to_kind(Kind::Double), None);
        Ok(Some(log_det))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::UnitCube => f.write_str("unit-cube"),
            Protocol::Logit { alpha } => write!(f, "logit-{alpha:?}"),
        }
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if name == "unit-cube" {
            return Ok(Protocol::UnitCube);
        }
        match name.strip_prefix("logit-").and_then(|alpha| alpha.parse().ok()) {
            Some(alpha) if alpha > 0.0 && alpha < 0.5 => Ok(Protocol::Logit { alpha }),
            _ => Err(Error::Config(format!(
                "no protocol is called {name:?}; there are unit-cube and logit-ALPHA, ALPHA between 0 and 0.5: logit-1e-6"
            ))),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_print_as_themselves() {
        for name in ["unit-cube", "logit-1e-6", "logit-0.05"] {
            assert_eq!(name.parse::<Protocol>().unwrap().to_string(), name);
        }
        assert_eq!("logit-0.000001".parse::<Protocol>().unwrap().to_string(), "logit-1e-6");
        for name in ["", "unit", "logit", "logit-", "logit-0", "logit-0.5", "logit-nan", "logit--1e-6", "logit-inf"] {
            assert!(name.parse::<Protocol>().unwrap_err().to_string().contains("logit-1e-6"), "{name}");
        }
    }
}
