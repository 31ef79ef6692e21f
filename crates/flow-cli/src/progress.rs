//! What a person sees of a training: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::Duration;

use flow_train::{Divergence, Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt;
use crate::output::note;

/// Shows a training on standard error, and ends it on Ctrl-C.
pub struct Progress {
    bar: Option<ProgressBar>,
    unit: Unit,
    validation: String,
    last_line: f64,
    warned: bool,
}

/// How likelihoods are shown.
#[derive(Clone, Copy)]
pub enum Unit {
    /// Mean log p(x).
    Nats,
    /// Bits per dimension, of images with so many dimensions and levels.
    Bits { dim: f64, levels: f64 },
}

impl Unit {
    fn show(self, nats: f64) -> String {
        match self {
            Unit::Nats => format!("{nats:.4} nats"),
            Unit::Bits { dim, levels } => {
                format!("{nats:.1} nats = {:.4} bits/dim", levels.log2() - nats / (dim * std::f64::consts::LN_2))
            }
        }
    }
}

/// Seconds between plain lines.
const BETWEEN_LINES: f64 = 20.0;

impl Progress {
    pub fn new(done: u64, steps: u64, unit: Unit) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{bar:30} {pos}/{len} steps  {per_sec}  {eta} left  {msg}";
            let style = ProgressStyle::with_template(template).expect("a sound template");
            let bar = ProgressBar::new(steps).with_style(style).with_position(done);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Progress { bar, unit, validation: String::new(), last_line: 0.0, warned: false }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn step(&mut self, (step, steps): (u64, u64), nats: f64, seconds: f64) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(step);
                bar.set_message(format!("log p {}{}", self.unit.show(nats), self.validation));
            }
            None if seconds - self.last_line >= BETWEEN_LINES => {
                self.last_line = seconds;
                note(&format!("step {step}/{steps}  log p {}  {seconds:.0} s", self.unit.show(nats)));
            }
            None => {}
        }
    }

    fn validated(&mut self, step: u64, nats: f64, best: bool, seconds: f64) {
        let best = if best { " (best)" } else { "" };
        self.validation = format!("  validation {}{best}", self.unit.show(nats));
        if self.bar.is_none() {
            note(&format!("step {step}{}  {seconds:.0} s", self.validation));
        }
    }
}

impl Progress {
    /// Once: the error seldom gets better by itself.
    fn inexact(&mut self, step: u64, error: f64, bound: f64) {
        if std::mem::replace(&mut self.warned, true) {
            return;
        }
        self.say(&format!(
            "warning: at step {step} rebuilt activations are {error:.1e} standard deviations off (bound {bound:.0e}), and \
             gradients with them; train.rebuild=false keeps activations instead (metrics.jsonl goes on telling the error)"
        ));
    }

    fn rewound(&self, step: u64, divergence: &Divergence, rewinds: u32, most: u32) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
        }
        self.say(&format!(
            "warning: {divergence}. Back to step {step}, and on at half the learning rate (rewind {rewinds} of {most} at most)"
        ));
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => note(text),
        }
    }
}

impl Observer for Progress {
    fn observe(&mut self, event: &Event) -> ControlFlow<()> {
        match *event {
            Event::Step { step, steps, nats, seconds, .. } => self.step((step, steps), nats, seconds),
            Event::Validated { step, nats, best, seconds } => self.validated(step, nats, best, seconds),
            Event::RebuiltInexactly { step, error, bound } => self.inexact(step, error, bound),
            Event::Rewound { step, ref divergence, rewinds, most } => self.rewound(step, divergence, rewinds, most),
            Event::Saved { .. } => {}
        }
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
