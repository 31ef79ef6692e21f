//! What the check found, a step a line.

use super::walk::Walk;
use super::{Errors, Finding, Latent, LogDet, Rounded, Rows, Verdict, verdict};
use crate::testing::Measured;
use crate::{Edge, Scales};

/// What one step, or the whole flow, is off by on one batch of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnRows {
    /// [`Rows::far`] of them.
    pub far: bool,
    /// In f32; nothing where the rows did not reach the step.
    pub single: Option<Errors>,
    /// In f64, on the first of them, likewise.
    pub double: Option<Errors>,
    /// How much of the rows is at a bound of the step, where it has one.
    pub edge: Option<Edge>,
}

/// A step of the flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// As in a trace.
    pub name: String,
    /// On each batch of rows, in their order.
    pub on: Vec<OnRows>,
    /// Its forward log-determinant against its Jacobian, on rows that are not far; nothing where no row was asked for,
    /// or none reached it.
    pub log_det: Option<LogDet>,
    /// The same on rows that are far.
    pub far_log_det: Option<LogDet>,
    /// How much it stretches, where it is linear.
    pub scales: Option<Scales>,
    /// Its variables that went through a coarser type.
    pub rounded: Vec<Rounded>,
    /// What is to be said of it, the worst first.
    pub findings: Vec<Finding>,
}

/// The flow as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    /// On each batch of rows, in their order.
    pub on: Vec<OnRows>,
    /// Values and log-determinants of the whole against its steps one after another, in f64, on rows that are not far.
    pub composition: Measured,
    /// Its forward log-determinant against its Jacobian, where that could be written down.
    pub log_det: Option<LogDet>,
    /// What is to be said of it, the worst first.
    pub findings: Vec<Finding>,
}

/// What the check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The names of the rows.
    pub rows: Vec<String>,
    /// The steps in data to latent order.
    pub layers: Vec<Layer>,
    /// All of them together.
    pub whole: Whole,
    /// The latent of the data beside the base.
    pub latent: Option<Latent>,
    /// What is to be said of the latent.
    pub latent_findings: Vec<Finding>,
}

impl Report {
    /// The worst verdict of all.
    pub fn verdict(&self) -> Verdict {
        let layers = self.layers.iter().map(Layer::verdict);
        layers.chain([Verdict::of(&self.whole.findings), Verdict::of(&self.latent_findings)]).max().unwrap_or_default()
    }
}

impl Layer {
    /// The worst of its findings.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(&self.findings)
    }

    /// The largest share of coordinates at a bound, over all rows that are not far.
    pub fn edge(&self) -> Option<Edge> {
        self.on.iter().filter(|on| !on.far).filter_map(|on| on.edge).max_by(|a, b| a.share.total_cmp(&b.share))
    }
}

impl OnRows {
    /// The largest errors over all batches of rows that are `far`, or that are not, in f32 and in f64; nothing where none of
    /// them reached the step.
    pub fn worst(all: &[OnRows], far: bool) -> (Option<Errors>, Option<Errors>) {
        let these = || all.iter().filter(|on| on.far == far);
        let (single, double) = (these().filter_map(|on| on.single), these().filter_map(|on| on.double));
        (single.reduce(Errors::max), double.reduce(Errors::max))
    }
}

/// What the walks brought home: each batch of rows, in f32 and in f64.
pub(super) struct Walks<'a> {
    pub walks: &'a [(&'a Rows, Walk, Walk)],
    pub log_det: Option<LogDet>,
}

impl Walks<'_> {
    pub fn report(&self, rounded: Vec<Rounded>, latent: Option<Latent>) -> Report {
        let rows: Vec<&Rows> = self.walks.iter().map(|(rows, _, _)| *rows).collect();
        let mut layers: Vec<Layer> = self.names().into_iter().map(|name| self.layer(name)).collect();
        let near = self.walks.iter().filter(|(rows, _, _)| !rows.far);
        let mut whole = Whole {
            on: self.walks.iter().map(whole_on).collect(),
            composition: near.fold(Measured::default(), |worst, (_, _, double)| worst.max(double.composition)),
            log_det: self.log_det,
            findings: Vec::new(),
        };
        for variable in rounded {
            let owner = layers.iter_mut().filter(|layer| belongs(&variable.name, &layer.name));
            match owner.max_by_key(|layer| layer.name.len()) {
                Some(layer) => layer.rounded.push(variable),
                // Of no step's name: still to be said.
                None => whole.findings.push(verdict::of_rounded(&variable)),
            }
        }
        for layer in &mut layers {
            layer.findings = verdict::of_layer(layer, &rows);
        }
        let broken = layers.iter().any(|layer| layer.verdict() == Verdict::Fails);
        whole.findings.extend(verdict::of_whole(&whole, &rows, broken));
        let latent_findings = latent.as_ref().map(verdict::of_latent).unwrap_or_default();
        Report { rows: rows.iter().map(|rows| rows.name.clone()).collect(), layers, whole, latent, latent_findings }
    }

    /// The names of the steps, data to latent.
    fn names(&self) -> Vec<String> {
        let Some((rows, _, walk)) = self.walks.first() else { return Vec::new() };
        let names = walk.steps.iter().map(|step| step.name.clone());
        if rows.direction == crate::Direction::Forward { names.collect() } else { names.rev().collect() }
    }

    fn layer(&self, name: String) -> Layer {
        let find = |walk: &Walk| walk.steps.iter().position(|step| step.name == name);
        let steps = || self.walks.iter().flat_map(|(_, s, d)| [s, d]).filter_map(|w| find(w).map(|at| &w.steps[at]));
        let log_det = |far: bool| {
            let these = self.walks.iter().filter(|(rows, _, _)| rows.far == far);
            let steps = these.filter_map(|(_, _, double)| find(double).map(|at| &double.steps[at]));
            steps.filter_map(|step| step.log_det).reduce(LogDet::worse)
        };
        let on = self.walks.iter().map(|(rows, single, double)| {
            let (single, double) = (find(single).map(|i| &single.steps[i]), find(double).map(|i| &double.steps[i]));
            OnRows {
                far: rows.far,
                single: single.and_then(|step| step.errors),
                double: double.and_then(|step| step.errors),
                edge: single.and_then(|step| step.inspection.edge),
            }
        });
        Layer {
            on: on.collect(),
            log_det: log_det(false),
            far_log_det: log_det(true),
            scales: steps().filter_map(|step| step.inspection.scales).reduce(wider),
            rounded: Vec::new(),
            findings: Vec::new(),
            name,
        }
    }
}

fn whole_on((rows, single, double): &(&Rows, Walk, Walk)) -> OnRows {
    OnRows { far: rows.far, single: Some(single.whole), double: Some(double.whole), edge: None }
}

fn wider(a: Scales, b: Scales) -> Scales {
    Scales { smallest: a.smallest.min(b.smallest), largest: a.largest.max(b.largest), mixes: a.mixes || b.mixes }
}

/// Whether `variable` is one of the step `step`: `level_0.step_1.mix.lower` of `level_0.step_1.mix`.
fn belongs(variable: &str, step: &str) -> bool {
    variable.strip_prefix(step).is_some_and(|rest| step.is_empty() || rest.starts_with('.'))
}
