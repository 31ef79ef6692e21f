//! The log-determinant that a step claims against that of its Jacobian.

use tch::Tensor;

use super::{Config, LOG_DET_FAILS, probes};
use crate::Step;
use crate::testing::{Measured, jacobian_log_det};

/// How far a claimed forward log-determinant is from that of autograd's Jacobian, in f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogDet {
    /// How the Jacobian's was found.
    pub method: Method,
    /// The difference, largest over rows; of estimates that of the row that is furthest off its own resolution.
    pub error: Measured,
}

/// How the log-determinant of a Jacobian was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// From the whole Jacobian, by LU decomposition.
    Exact,
    /// Estimated from products of the Jacobian with random directions; differences below `resolution`, in nats, are not
    /// seen.
    Probes {
        /// Six standard errors of the estimate, and three times what its second half of steps still moved it by.
        resolution: f64,
    },
}

impl LogDet {
    /// How many times what is allowed the claim is off by: from 1 on it is wrong.
    pub(super) fn excess(&self) -> f64 {
        match self.method {
            // Also where no estimate has a resolution any more.
            _ if !self.error.absolute.is_finite() => f64::INFINITY,
            Method::Exact => self.error.relative / LOG_DET_FAILS,
            Method::Probes { resolution } => self.error.absolute / resolution.max(LOG_DET_FAILS),
        }
    }

    /// The one that is further off what is allowed: each is judged by its own resolution, or a coarse estimate of one row
    /// would excuse another.
    pub(super) fn worse(self, other: Self) -> Self {
        if other.excess() > self.excess() { other } else { self }
    }
}

/// Of the first `rows` rows of `x: [n, ..event]`, on the data side of `step`.
pub(super) fn of(step: &dyn Step, x: &Tensor, context: Option<&Tensor>, rows: i64, config: &Config) -> LogDet {
    let rows = rows.min(x.size()[0]);
    let first = |t: &Tensor| t.narrow(0, 0, rows);
    let (x, context) = (first(x), context.map(first));
    let claimed = crate::no_grad(|| step.forward(&x, context.as_ref()).1);
    let dim: i64 = x.size()[1..].iter().product();
    let map = |x: &Tensor, context: Option<&Tensor>, copies: i64| {
        let context = context.map(|c| c.repeat_interleave_self_int(copies, 0, None::<i64>));
        step.forward(x, context.as_ref()).0
    };
    if dim <= config.exact_dim {
        let truth = jacobian_log_det(&x, |x, copies| map(x, context.as_ref(), copies));
        return LogDet { method: Method::Exact, error: Measured::between(&claimed, &truth) };
    }
    let row = |i: i64| {
        let (x, context) = (x.narrow(0, i, 1), context.as_ref().map(|c| c.narrow(0, i, 1)));
        let estimate = probes::estimate(&x, config, |x, copies| map(x, context.as_ref(), copies));
        let truth = Tensor::from_slice(&[estimate.log_det]);
        let error = Measured::between(&claimed.narrow(0, i, 1).to_device(tch::Device::Cpu), &truth);
        LogDet { method: Method::Probes { resolution: estimate.resolution }, error }
    };
    (0..rows).map(row).reduce(LogDet::worse).expect("one row or more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_estimate_of_one_row_excuses_no_other() {
        let estimated = |absolute, resolution| LogDet {
            method: Method::Probes { resolution },
            error: Measured { absolute, relative: 0.0 },
        };
        let (coarse, fault) = (estimated(4.0, 5.0), estimated(0.5, 0.01));
        assert!(coarse.excess() < 1.0 && fault.excess() >= 1.0);
        assert_eq!([coarse.worse(fault), fault.worse(coarse)], [fault; 2]);
        let lost = LogDet { method: Method::Probes { resolution: f64::NAN }, error: Measured::INFINITE };
        assert_eq!([lost.worse(fault).error, fault.worse(lost).error], [Measured::INFINITE; 2]);
    }
}
