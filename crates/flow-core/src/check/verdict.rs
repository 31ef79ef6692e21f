//! From numbers to a verdict: what is a fault, what is worth a warning, and in which words.

use tch::Kind;

use super::bounds::*;
use super::{Latent, Layer, LogDet, Method, OnRows, Rounded, Rows, Whole};
use crate::Scales;

/// The round trip error up to which a step's output says something of the steps behind it.
pub(super) fn lets_through(kind: Kind) -> f64 {
    if kind == Kind::Double { NO_DIGITS_LEFT } else { 0.1 }
}

/// Findings as they are made.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, verdict: Verdict, what: String) {
        self.0.push(Finding { verdict, what });
    }

    /// Finds a fault from `fails` on, else a warning from `warns` on. What is not a number is as bad as it can be.
    fn grade(&mut self, value: f64, warns: f64, fails: f64, what: impl FnOnce() -> String) {
        if value >= fails || value.is_nan() {
            self.add(Verdict::Fails, what());
        } else if value >= warns {
            self.add(Verdict::Warns, what());
        }
    }

    fn worst_first(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        self.0
    }
}

pub(super) fn of_layer(layer: &Layer, rows: &[&Rows]) -> Vec<Finding> {
    let mut findings = Findings::default();
    if let Some(scales) = layer.scales {
        of_scales(scales, &mut findings);
    }
    round_trips(&layer.on, rows, &mut findings);
    log_dets(layer.log_det, layer.far_log_det, &mut findings);
    if let Some(edge) = layer.edge() {
        let its = |on: &OnRows| !on.far && on.edge == Some(edge);
        let on = layer.on.iter().position(its).map_or("", |at| rows[at].name.as_str());
        findings.grade(edge.share, EDGE_WARNS, f64::INFINITY, || {
            format!("{:.0} % of coordinates {} on {on}", 100.0 * edge.share, edge.what)
        });
    }
    findings.0.extend(layer.rounded.iter().map(of_rounded));
    if layer.on.iter().all(|on| on.double.is_none()) {
        findings.add(Verdict::Warns, "not checked: no rows reached it, for a step beside it fails".to_owned());
    }
    findings.worst_first()
}

/// A fault: the parameters are not those that were trained.
pub(super) fn of_rounded(variable: &Rounded) -> Finding {
    let Rounded { name, numbers, fits } = variable;
    let what = format!("{name} was rounded to {}: all of its {numbers} numbers fit it", fits.name());
    Finding { verdict: Verdict::Fails, what }
}

fn of_scales(scales: Scales, findings: &mut Findings) {
    let Scales { smallest, largest, mixes } = scales;
    if scales.condition().is_infinite() {
        findings.add(Verdict::Fails, format!("singular: it stretches by {smallest:.1e} to {largest:.1e}"));
    } else if mixes {
        findings.grade(scales.condition(), CONDITION_WARNS, CONDITION_FAILS, || {
            format!("condition number {:.1e}: in f32 it is close to having no inverse", scales.condition())
        });
    }
}

/// What is wrong on rows that are far is a warning, and only said where it is right on the others.
fn log_dets(near: Option<LogDet>, far: Option<LogDet>, findings: &mut Findings) {
    let wrong = |log_det: &LogDet| log_det.excess() >= 1.0;
    if let Some(near) = near.filter(wrong) {
        findings.add(Verdict::Fails, format!("log-det is {}", off_its_jacobian(near)));
    } else if let Some(far) = far.filter(wrong) {
        findings.add(Verdict::Warns, format!("far out, log-det is {}", off_its_jacobian(far)));
    }
}

fn off_its_jacobian(LogDet { method, error }: LogDet) -> String {
    let about = match method {
        Method::Exact => String::new(),
        Method::Probes { resolution } => format!(", ± {resolution:.1e}"),
    };
    format!("{} nats off its Jacobian's{about}", number(error.absolute))
}

/// Round trips and the sum of both log-determinants, on each batch of rows. The worst of each kind is said once: of like
/// verdicts that on rows that are not far, for these are the ones that matter.
fn round_trips(on: &[OnRows], rows: &[&Rows], findings: &mut Findings) {
    for kind in [in_double, cancelling, in_single] {
        let graded = on.iter().zip(rows).filter_map(|(on, rows)| kind(on).map(|graded| (graded, rows)));
        let worst = graded.max_by(|(a, on_a), (b, on_b)| {
            let near = on_b.far.cmp(&on_a.far);
            a.verdict.cmp(&b.verdict).then(near).then(a.error.total_cmp(&b.error))
        });
        if let Some((Graded { verdict, error, what }, rows)) = worst.filter(|(graded, _)| graded.verdict > Verdict::Ok)
        {
            let error = if error.is_finite() { number(error) } else { "infinitely".to_owned() };
            findings.add(verdict, format!("{what} {error} off on {}", rows.name));
        }
    }
}

/// An error with what is to be said of it.
struct Graded {
    verdict: Verdict,
    error: f64,
    what: &'static str,
}

/// The round trip in f64.
fn in_double(on: &OnRows) -> Option<Graded> {
    let error = on.double?.round_trip();
    let verdict = kept_digits(error, on.single.map(|e| e.round_trip()), on.far);
    let what = if verdict == Verdict::Fails { "no inverse: round trip in f64 is" } else { "round trip in f64 is" };
    Some(Graded { verdict, error, what })
}

/// The sum of the log-determinants of both directions in f64, where values come back at all.
fn cancelling(on: &OnRows) -> Option<Graded> {
    let double = on.double.filter(|e| e.round_trip().is_finite())?;
    let error = double.log_det_sum.relative;
    let verdict = kept_digits(error, on.single.map(|e| e.log_det_sum.relative), on.far);
    Some(Graded { verdict, error, what: "the log-dets of both directions do not cancel: they are" })
}

/// The round trip in f32.
fn in_single(on: &OnRows) -> Option<Graded> {
    let error = on.single?.round_trip();
    let verdict = match error {
        e if !e.is_finite() && !on.far => Verdict::Fails,
        e if e >= SINGLE_WARNS => Verdict::Warns,
        _ => Verdict::Ok,
    };
    Some(Graded { verdict, error, what: "round trip in f32 is" })
}

/// The verdict on an error in f64, beside the same in f32. Rounding is 2^29 times smaller in f64, however steep a map is;
/// what is wrong with it stays.
fn kept_digits(double: f64, single: Option<f64>, far: bool) -> Verdict {
    let stays = double >= ROUND_TRIP_FAILS && single.is_some_and(|single| double >= STAYS * single);
    match double {
        _ if far && double >= ROUND_TRIP_WARNS => Verdict::Warns,
        e if stays || e >= NO_DIGITS_LEFT => Verdict::Fails,
        e if e >= ROUND_TRIP_WARNS => Verdict::Warns,
        _ => Verdict::Ok,
    }
}

/// `broken`: whether a step fails, so that what the whole does wrong is known already.
pub(super) fn of_whole(whole: &Whole, rows: &[&Rows], broken: bool) -> Vec<Finding> {
    let mut findings = Findings::default();
    round_trips(&whole.on, rows, &mut findings);
    findings.grade(whole.composition.relative, LOG_DET_FAILS, LOG_DET_FAILS, || {
        format!("it is not its steps one after another: {} off", number(whole.composition.relative))
    });
    log_dets(whole.log_det, None, &mut findings);
    if broken && !findings.0.is_empty() {
        findings.add(Verdict::Warns, "a step fails: see there first".to_owned());
    }
    findings.worst_first()
}

/// Warnings only: a model that fits imperfectly is not broken.
pub(super) fn of_latent(latent: &Latent) -> Vec<Finding> {
    let mut findings = Findings::default();
    let distance = latent.median_distance();
    // Of few rows the distance is large by chance.
    findings.grade(distance, LATENT_WARNS.max(latent.critical), f64::INFINITY, || {
        format!("the latent of data is far from the base: median distance {distance:.3}")
    });
    findings.0
}

fn number(value: f64) -> String {
    if (0.01..1e5).contains(&value) { format!("{value:.2}") } else { format!("{value:.1e}") }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Tensor};

    use super::super::Errors;
    use super::*;
    use crate::testing::Measured;
    use crate::{Direction, Edge};

    /// A step that does nothing wrong, on rows that are far or not, so many of them at its bound.
    fn sound(on: &[(bool, Option<f64>)]) -> Layer {
        let reached = Some(Errors::default());
        let on = on.iter().map(|&(far, share)| {
            let edge = share.map(|share| Edge { what: "lie there", share });
            OnRows { far, single: reached, double: reached, edge }
        });
        Layer {
            name: "step".to_owned(),
            on: on.collect(),
            log_det: None,
            far_log_det: None,
            scales: None,
            rounded: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn rows(name: &str) -> Rows {
        Rows::new(name, Direction::Forward, Tensor::zeros([1, 2], (Kind::Float, Device::Cpu)))
    }

    /// What is said of a step whose log-determinant is `near` nats off on rows of data, and `far` on rows that are far.
    fn said(near: f64, far: f64) -> Vec<Finding> {
        let off = |by: f64| Some(LogDet { method: Method::Exact, error: Measured { absolute: by, relative: by } });
        let layer = Layer { log_det: off(near), far_log_det: off(far), ..sound(&[(false, None)]) };
        of_layer(&layer, &[&rows("data")])
    }

    #[test]
    fn an_edge_is_named_after_rows_that_are_not_far() {
        let layer = sound(&[(true, Some(0.75)), (false, Some(0.75))]);
        let findings = of_layer(&layer, &[&rows("far"), &rows("data")]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].what.ends_with("lie there on data"), "{findings:?}");
    }

    #[test]
    fn a_log_det_that_is_off_is_a_fault_near_and_a_warning_far_out() {
        assert_eq!(said(0.0, 0.0), []);
        for (near, far, verdict, words) in [
            (0.25, 0.0, Verdict::Fails, "log-det is 0.25 nats off"),
            (0.25, 3.0, Verdict::Fails, "log-det is 0.25 nats off"),
            (0.0, 3.0, Verdict::Warns, "far out, log-det is 3.00 nats off"),
            (0.0, f64::INFINITY, Verdict::Warns, "far out, log-det is inf nats off"),
        ] {
            let findings = said(near, far);
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(findings[0].verdict == verdict && findings[0].what.starts_with(words), "{findings:?}");
        }
    }
}
