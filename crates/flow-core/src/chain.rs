//! Bijections one after another: `z = f_k(... f_2(f_1(x)))`, log-determinants added.

use std::ops::Range;

use tch::Tensor;

use crate::dense::{applies_in_training, applies_to_rows, sum};
use crate::plain::take_all;
use crate::plain_training::keep_all;
use crate::shape::zero_log_det;
use crate::{Backward, Bijection, Direction, Error, Gradients, Kept, Probe, Result, Visit};

/// Named steps in data to latent order; none, as [`Chain::default`] has, are the identity.
///
/// ```text
/// forward:  h_0 = x,  h_i = f_i(h_{i-1}),  z = h_k,    log_det = Σ_i log_det_i
/// ```
///
/// In a trace a step's name is prefixed with the chain's own, `outer.inner`, unless that is empty.
#[derive(Debug, Default)]
pub struct Chain {
    steps: Vec<(String, Box<dyn Bijection>)>,
}

impl Chain {
    /// Adds a step at the latent end.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateName`] where a step of that name is there already.
    pub fn push(&mut self, name: impl Into<String>, step: impl Bijection + 'static) -> Result<()> {
        let name = name.into();
        if self.steps.iter().any(|(known, _)| *known == name) {
            return Err(Error::DuplicateName { name });
        }
        self.steps.push((name, Box::new(step)));
        Ok(())
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether this is the identity.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Names and steps in data to latent order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &dyn Bijection)> {
        self.steps.iter().map(|(name, step)| (name.as_str(), step.as_ref()))
    }

    /// The steps from `at` on as a chain of their own; the earlier ones stay.
    ///
    /// # Panics
    ///
    /// If `at > len()`.
    pub fn split_off(&mut self, at: usize) -> Chain {
        Chain { steps: self.steps.split_off(at) }
    }

    /// [`Bijection::forward`] through the steps of `range` alone.
    pub fn forward_range(&self, range: Range<usize>, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let steps = self.steps[range].iter();
        match context {
            None if applies_to_rows(x) => run_plain(steps, x, Direction::Forward),
            _ => run(steps, x, |(_, step), h| step.forward(h, context)),
        }
    }

    /// [`Bijection::inverse`] through the steps of `range` alone, last step first.
    pub fn inverse_range(&self, range: Range<usize>, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let steps = self.steps[range].iter().rev();
        match context {
            None if applies_to_rows(z) => run_plain(steps, z, Direction::Inverse),
            _ => run(steps, z, |(_, step), h| step.inverse(h, context)),
        }
    }
}

/// Takes `steps` in the order given, adding log-determinants.
fn run<S>(
    steps: impl Iterator<Item = S>,
    start: &Tensor,
    mut take: impl FnMut(S, &Tensor) -> (Tensor, Tensor),
) -> (Tensor, Tensor) {
    let mut h = start.shallow_clone();
    let mut total: Option<Tensor> = None;
    for step in steps {
        let (value, log_det) = take(step, &h);
        h = value;
        total = Some(match total {
            None => log_det,
            // Not `+=`, which writes into a tensor that autograd may have kept.
            Some(total) => sum(&total, &log_det),
        });
    }
    let total = total.unwrap_or_else(|| zero_log_det(start));
    (h, total)
}

/// The same without a context of a batch whose rows can be plain numbers: steps that know how are taken together.
fn run_plain<'a>(
    steps: impl Iterator<Item = &'a (String, Box<dyn Bijection>)>,
    start: &Tensor,
    direction: Direction,
) -> (Tensor, Tensor) {
    let rows = start.size()[0] as usize;
    let steps = steps.map(|(_, step)| (step.as_ref(), step.plain(rows)));
    let by_itself = |step: &dyn Bijection, h: &Tensor| match direction {
        Direction::Forward => step.forward(h, None),
        Direction::Inverse => step.inverse(h, None),
    };
    run(runs(steps, |plain| plain.is_work()).into_iter(), start, |steps, h| match steps {
        Run::Plain(_, maps) if applies_to_rows(h) => take_all(&maps, direction, h),
        // A step before has made rows of another shape.
        Run::Plain(steps, _) => run(steps.into_iter(), h, by_itself),
        Run::One(step) => by_itself(step, h),
    })
}

/// What is taken at once: a step, or several as plain numbers.
enum Run<'a, P> {
    One(&'a dyn Bijection),
    Plain(Vec<&'a dyn Bijection>, Vec<P>),
}

/// Steps with what they are as plain maps, those together that follow one another; unless none of them is work.
fn runs<'a, P>(
    steps: impl Iterator<Item = (&'a dyn Bijection, Option<P>)>,
    is_work: impl Fn(&P) -> bool,
) -> Vec<Run<'a, P>> {
    let mut runs = Vec::new();
    let mut open: Vec<(&dyn Bijection, P)> = Vec::new();
    let close = |open: &mut Vec<(&'a dyn Bijection, P)>, runs: &mut Vec<Run<'a, P>>| {
        if open.iter().any(|(_, plain)| is_work(plain)) {
            let (steps, plain) = open.drain(..).unzip();
            runs.push(Run::Plain(steps, plain));
        }
        runs.extend(open.drain(..).map(|(step, _)| Run::One(step)));
    };
    for (step, plain) in steps {
        match plain {
            Some(plain) => open.push((step, plain)),
            None => {
                close(&mut open, &mut runs);
                runs.push(Run::One(step));
            }
        }
    }
    close(&mut open, &mut runs);
    runs
}

pub(crate) fn join(outer: &str, inner: &str) -> String {
    if outer.is_empty() { inner.to_owned() } else { format!("{outer}.{inner}") }
}

impl Bijection for Chain {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.forward_range(0..self.len(), x, context)
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.inverse_range(0..self.len(), z, context)
    }

    fn forward_traced(
        &self,
        name: &str,
        x: &Tensor,
        context: Option<&Tensor>,
        probe: &mut dyn Probe,
    ) -> (Tensor, Tensor) {
        run(self.steps.iter(), x, |(inner, step), h| step.forward_traced(&join(name, inner), h, context, probe))
    }

    fn inverse_traced(
        &self,
        name: &str,
        z: &Tensor,
        context: Option<&Tensor>,
        probe: &mut dyn Probe,
    ) -> (Tensor, Tensor) {
        run(self.steps.iter().rev(), z, |(inner, step), h| step.inverse_traced(&join(name, inner), h, context, probe))
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        let mut backs = Vec::with_capacity(self.steps.len());
        let keep = |backs: &mut Vec<_>, Kept { value, log_det, back }: Kept<'a>| {
            backs.push(back);
            (value, log_det)
        };
        let plain_rows = context.is_none() && applies_in_training(x);
        let plain = |step: &'a dyn Bijection| if plain_rows { step.plain_in_training() } else { None };
        let steps = self.iter().map(|(_, step)| (step, plain(step)));
        let (value, log_det) = run(runs(steps, |plain| plain.is_work()).into_iter(), x, |steps, h| {
            match steps {
                Run::Plain(_, maps) if applies_in_training(h) => keep(&mut backs, keep_all(maps, h)),
                // A step before has made rows of another shape.
                Run::Plain(steps, _) => {
                    run(steps.into_iter(), h, |step, h| keep(&mut backs, step.forward_keeping(h, context)))
                }
                Run::One(step) => keep(&mut backs, step.forward_keeping(h, context)),
            }
        });
        Kept { value, log_det, back: Box::new(ChainBack(backs)) }
    }

    fn vjp(&self, z: &Tensor, context: Option<&Tensor>, grad_z: &Tensor, grad_log_det: &Tensor) -> (Tensor, Tensor) {
        let start = (z.shallow_clone(), grad_z.shallow_clone());
        self.steps.iter().rev().fold(start, |(h, grad), (_, step)| step.vjp(&h, context, &grad, grad_log_det))
    }

    fn start_from_data(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        self.steps.iter().fold(x.shallow_clone(), |h, (_, step)| step.start_from_data(&h, context))
    }

    fn set_training(&mut self, training: bool) {
        for (_, step) in &mut self.steps {
            step.set_training(training);
        }
    }

    fn freeze(&mut self) {
        self.steps.iter_mut().for_each(|(_, step)| step.freeze());
    }

    fn steps(
        &self,
        name: &str,
        direction: Direction,
        input: &Tensor,
        context: Option<&Tensor>,
        visit: &mut Visit,
    ) -> Tensor {
        let mut go = |h: Tensor, (inner, step): &(String, Box<dyn Bijection>)| {
            step.steps(&join(name, inner), direction, &h, context, visit)
        };
        match direction {
            Direction::Forward => self.steps.iter().fold(input.shallow_clone(), &mut go),
            Direction::Inverse => self.steps.iter().rev().fold(input.shallow_clone(), &mut go),
        }
    }
}

/// The steps' ways back, in data to latent order.
struct ChainBack<'a>(Vec<Box<dyn Backward + 'a>>);

impl Backward for ChainBack<'_> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let mut grad = Some(grad_value.shallow_clone());
        for (i, step) in self.0.into_iter().enumerate().rev() {
            let after = grad.take().expect("a step gives the gradient that it is asked for");
            grad = step.backward(&after, grad_log_det, wanted || i > 0, gradients);
        }
        grad.filter(|_| wanted)
    }
}
