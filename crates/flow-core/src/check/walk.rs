//! Rows taken through a flow step by step, every step measured on what reaches it.

use tch::{Kind, Tensor};

use super::log_det::{self, LogDet};
use super::{Config, Rows, verdict};
use crate::shape::zero_log_det;
use crate::testing::Measured;
use crate::{Direction, Flow, Inspection, Step};

/// Rows that go through at a time, so that any number fits in memory.
const AT_ONCE: i64 = 250;

/// What a step, or the whole flow, is off by on some rows. Every error would be 0 in exact arithmetic; each is the largest
/// over rows and coordinates.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Errors {
    /// `inverse(forward(x))` against `x`.
    pub round_trip_data: Measured,
    /// `forward(inverse(z))` against `z`.
    pub round_trip_latent: Measured,
    /// The sum of the log-determinants of both directions, in nats.
    pub log_det_sum: Measured,
}

impl Errors {
    pub(super) fn max(self, other: Self) -> Self {
        Errors {
            round_trip_data: self.round_trip_data.max(other.round_trip_data),
            round_trip_latent: self.round_trip_latent.max(other.round_trip_latent),
            log_det_sum: self.log_det_sum.max(other.log_det_sum),
        }
    }

    /// The larger round trip error, relative to `1 + |expected|`.
    pub fn round_trip(&self) -> f64 {
        self.round_trip_data.max(self.round_trip_latent).relative
    }
}

/// One step of a walk.
pub(super) struct Walked {
    pub name: String,
    /// Nothing where a step before let nothing sound through.
    pub errors: Option<Errors>,
    pub inspection: Inspection,
    pub log_det: Option<LogDet>,
}

/// What rows met on their way.
pub(super) struct Walk {
    pub steps: Vec<Walked>,
    pub whole: Errors,
    /// The value of the whole map against that of its steps one after another, and its log-determinant against their sum.
    pub composition: Measured,
    /// Where the rows came out, `[n, ..event]`.
    pub end: Tensor,
}

/// Takes `rows` through `flow`, whose parameters are of `kind`, without gradients.
pub(super) fn walk(flow: &Flow, rows: &Rows, kind: Kind, config: &Config) -> Walk {
    let all = rows.start.size()[0];
    let n = if kind == Kind::Double { rows.doubles.clamp(1, all) } else { all };
    let parts = (0..n).step_by(AT_ONCE as usize).map(|first| {
        let part = |t: &Tensor| placed(&t.narrow(0, first, AT_ONCE.min(n - first)), flow, kind);
        let jacobians = if first == 0 && kind == Kind::Double { rows.jacobians } else { 0 };
        (first, walk_part(flow, rows.direction, &part(&rows.start), rows.context.as_ref().map(part), jacobians, config))
    });
    parts
        .reduce(|(_, all), (first, part)| (first, all.joined(part, first as f64)))
        .map(|(_, walk)| walk)
        .expect("there are rows")
}

/// `rows` where `flow` takes them. First there, then of that kind: Metal, from where they may come, has no f64.
pub(super) fn placed(rows: &Tensor, flow: &Flow, kind: Kind) -> Tensor {
    rows.to_device(flow.device()).to_kind(kind)
}

impl Walk {
    /// Both together; `before` rows are in this one.
    fn joined(self, other: Walk, before: f64) -> Walk {
        let n = other.end.size()[0] as f64;
        let steps = self.steps.into_iter().zip(other.steps).map(|(a, b)| a.joined(b, before / (before + n)));
        Walk {
            steps: steps.collect(),
            whole: self.whole.max(other.whole),
            composition: self.composition.max(other.composition),
            end: Tensor::cat(&[self.end, other.end], 0),
        }
    }
}

impl Walked {
    fn joined(mut self, other: Walked, share: f64) -> Walked {
        self.errors = self.errors.zip(other.errors).map(|(a, b)| a.max(b));
        if let (Some(a), Some(b)) = (&mut self.inspection.edge, other.inspection.edge) {
            a.share = share * a.share + (1.0 - share) * b.share;
        }
        if let (Some(a), Some(b)) = (&mut self.inspection.scales, other.inspection.scales) {
            (a.smallest, a.largest) = (a.smallest.min(b.smallest), a.largest.max(b.largest));
        }
        self
    }
}

fn walk_part(
    flow: &Flow,
    direction: Direction,
    start: &Tensor,
    context: Option<Tensor>,
    jacobians: i64,
    config: &Config,
) -> Walk {
    let context = context.as_ref();
    let mut steps = Vec::new();
    let mut total = zero_log_det(start);
    let mut sound = finite(start);
    let mut visit = |name: &str, step: &dyn Step, input: &Tensor| {
        let (out, log_det) = crate::no_grad(|| step.take(direction, input, context));
        total = &total + &log_det;
        let mut walked =
            Walked { name: name.to_owned(), errors: None, inspection: Inspection::default(), log_det: None };
        if sound {
            let errors = crate::no_grad(|| errors(step, direction, input, &out, &log_det, context));
            let x = if direction == Direction::Forward { input } else { &out };
            walked.inspection = crate::no_grad(|| step.inspect(x, context));
            if jacobians > 0 && finite(x) {
                walked.log_det = Some(log_det::of(step, x, context, jacobians, config));
            }
            sound = finite(&out) && errors.round_trip() <= verdict::lets_through(start.kind());
            walked.errors = Some(errors);
        }
        steps.push(walked);
        out
    };
    let bijection = flow.bijection();
    let end = bijection.steps("", direction, start, context, &mut visit);
    let whole = crate::step::Whole(bijection);
    let (plain, log_det) = crate::no_grad(|| whole.take(direction, start, context));
    let composition = Measured::between(&end, &plain).max(Measured::between(&total, &log_det));
    let whole = crate::no_grad(|| errors(&whole, direction, start, &plain, &log_det, context));
    Walk { steps, whole, composition, end: plain }
}

/// Round trips from both sides; `out` and `log_det` are those of `input` taken in `direction`.
fn errors(
    step: &dyn Step,
    direction: Direction,
    input: &Tensor,
    out: &Tensor,
    log_det: &Tensor,
    context: Option<&Tensor>,
) -> Errors {
    let (back, log_det_back) = step.take(direction.turned(), out, context);
    let (again, _) = step.take(direction, &back, context);
    let (near, far) = (Measured::between(&back, input), Measured::between(&again, out));
    let (round_trip_data, round_trip_latent) = if direction == Direction::Forward { (near, far) } else { (far, near) };
    Errors { round_trip_data, round_trip_latent, log_det_sum: Measured::between(log_det, &log_det_back.neg()) }
}

pub(super) fn finite(t: &Tensor) -> bool {
    t.isfinite().all().int64_value(&[]) == 1
}
