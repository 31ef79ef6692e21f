//! A check that holds any bijection against independent truth: autograd's Jacobian.
//!
//! A check that only compares forward with inverse passes when both signs are wrong. This one does not: the forward
//! log-determinant must be that of the Jacobian of the values, and so must the inverse one.
//!
//! ```
//! use flow_core::testing::{Tolerance, check};
//! use flow_core::Logit;
//! use tch::{Device, Kind, Tensor};
//!
//! let x = Tensor::linspace(0.1, 0.9, 12, (Kind::Double, Device::Cpu)).reshape([4, 3]);
//! let report = check(&Logit::new(0.05)?, &x, None);
//! report.verdict(&Tolerance::double()).expect("the logit is sound");
//! # Ok::<(), flow_core::Error>(())
//! ```

mod jacobian;
mod report;

pub use jacobian::jacobian_log_det;
pub use report::{Measured, Report, Tolerance};

use tch::{Kind, Tensor};

use crate::backward::gradient_or_zeros;
use crate::{Bijection, Direction, ToParameters};

/// Measures `bijection` on the batch `x: [n, ..event]` (of the parameters' kind; use f64 for sharp bounds, by the
/// store's `set_kind(Kind::Double)` before the map is built or `double()` after), with at least 2 rows. The cost is that of `D` backward passes for events of `D` coordinates.
///
/// Measured are the round trip from both sides, both log-determinants against autograd's Jacobian, their sum, the sum of
/// the steps, traced and visited ([`Bijection::steps`]), the hooks [`Bijection::vjp`] and [`Bijection::forward_keeping`] against
/// autograd, rows on their own (a batch of 1), and an empty batch.
///
/// The hooks add to the gradients of the parameters, as they must: set them to zero before training goes on. What they
/// add is held against autograd by [`check_gradients`], which is told the parameters.
///
/// # Panics
///
/// If a result has a wrong shape or an argument is written to, bugs that no number describes, or `x` has fewer than 2
/// rows.
pub fn check(bijection: &dyn Bijection, x: &Tensor, context: Option<&Tensor>) -> Report {
    assert!(x.size()[0] >= 2, "the check needs 2 rows or more, {:?} given", x.size());
    let x = x.detach();
    let (z, forward) = untouched("forward", &x, context, |x| bijection.forward(x, context));
    assert_shapes("forward", &x, &z, &forward);
    let (back, inverse) = untouched("inverse", &z, context, |z| bijection.inverse(z, context));
    assert_shapes("inverse", &z, &back, &inverse);
    let again = no_grad(|| bijection.forward(&back, context)).0;

    let truthforward = jacobian_log_det(&x, |x, rows| bijection.forward(x, repeat(context, rows).as_ref()).0);
    let truthinverse = jacobian_log_det(&z, |z, rows| bijection.inverse(z, repeat(context, rows).as_ref()).0);

    Report {
        round_trip_data: Measured::between(&back, &x),
        round_trip_latent: Measured::between(&again, &z),
        log_det_forward: Measured::between(&forward, &truthforward),
        log_det_inverse: Measured::between(&inverse, &truthinverse),
        log_det_sum: Measured::between(&forward, &inverse.neg()),
        trace: trace_error(bijection, &x, &z, context),
        vjp: vjp_error(bijection, &x, context),
        keeping: keeping_error(bijection, &x, context),
        single_rows: single_rows_error(|x, c| bijection.forward(x, c), &x, &z, &forward, context)
            .max(single_rows_error(|z, c| bijection.inverse(z, c), &z, &back, &inverse, context)),
        empty_batch: empty_batch_works(bijection, &x, context),
    }
}

/// Measures what [`Bijection::vjp`] and [`Bijection::forward_keeping`] add to the gradients of `parameters`, all of
/// them trained, against autograd's; the largest difference of any. `bijection` is in evaluation, `x` and `context` are
/// as for [`check`].
///
/// The parameters' own gradients are set to zero before and hold those of the last hook after.
pub fn check_gradients(
    bijection: &dyn Bijection,
    x: &Tensor,
    context: Option<&Tensor>,
    parameters: &[Tensor],
) -> Measured {
    if parameters.is_empty() {
        return Measured::default();
    }
    let x = x.detach();
    let (z, log_det) = bijection.forward(&x, context);
    let (of_z, of_log_det) = (weights(&z), weights(&log_det));
    let loss = (&z * &of_z).sum(None::<Kind>) + (&log_det * &of_log_det).sum(None::<Kind>);
    // Where nothing depends on any of them, there is nothing to go back through.
    let truth = match loss.requires_grad() {
        true => Tensor::run_backward(&[loss], parameters, false, false),
        false => parameters.iter().map(|_| Tensor::new()).collect(),
    };
    let keeping = |wanted: bool| {
        let kept = bijection.forward_keeping(&x, context);
        let _ = kept.back.backward(&of_z, &of_log_det, wanted, &mut ToParameters);
    };
    let rebuilding = added_error(parameters, &truth, || drop(bijection.vjp(&z.detach(), context, &of_z, &of_log_det)));
    let kept = [false, true].map(|wanted| added_error(parameters, &truth, || no_grad(|| keeping(wanted))));
    kept.into_iter().fold(rebuilding, Measured::max)
}

/// What `hook` adds to the gradients of `parameters` against `truth`, which is undefined where it is 0.
fn added_error(parameters: &[Tensor], truth: &[Tensor], hook: impl FnOnce()) -> Measured {
    parameters.iter().for_each(|parameter| parameter.shallow_clone().zero_grad());
    hook();
    let errors = parameters.iter().zip(truth).map(|(parameter, truth)| {
        let expected = if truth.defined() { truth.shallow_clone() } else { parameter.zeros_like() };
        Measured::between(&gradient_or_zeros(parameter), &expected)
    });
    errors.fold(Measured::default(), Measured::max)
}

fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    crate::no_grad(f)
}

/// `map(input)` without gradients; panics where that writes to `input` or `context`.
fn untouched<T>(direction: &str, input: &Tensor, context: Option<&Tensor>, map: impl FnOnce(&Tensor) -> T) -> T {
    let before: Vec<Tensor> = [Some(input), context].into_iter().flatten().map(Tensor::copy).collect();
    let result = no_grad(|| map(input));
    for (argument, before) in [Some(input), context].into_iter().flatten().zip(before) {
        assert!(argument.allclose(&before, 0.0, 0.0, true), "{direction} must leave its arguments as they are");
    }
    result
}

fn assert_shapes(direction: &str, input: &Tensor, output: &Tensor, log_det: &Tensor) {
    assert_eq!(output.size()[0], input.size()[0], "{direction} must return a row for each row");
    assert_eq!(input.numel(), output.numel(), "{direction} must keep the number of coordinates");
    assert_eq!(log_det.size(), [input.size()[0]], "{direction} must return a log-determinant for each row");
}

/// Each row of the context `rows` times, as the Jacobian repeats the batch.
fn repeat(context: Option<&Tensor>, rows: i64) -> Option<Tensor> {
    context.map(|c| c.repeat_interleave_self_int(rows, 0, None::<i64>))
}

/// Values and sums of the traced variants, and of the steps one by one, against the plain ones, both directions.
fn trace_error(bijection: &dyn Bijection, x: &Tensor, z: &Tensor, context: Option<&Tensor>) -> Measured {
    no_grad(|| {
        let mut worst = Measured::default();
        for inverse in [false, true] {
            let (mut last, mut names) = (None, Vec::new());
            let mut total = x.sum_dim_intlist(events(x), false, None::<Kind>) * 0.0;
            let mut probe = |name: &str, value: &Tensor, log_det: &Tensor| {
                names.push(name.to_owned());
                last = Some(value.shallow_clone());
                total = &total + log_det;
            };
            let (value, log_det) = if inverse {
                bijection.inverse_traced("", z, context, &mut probe)
            } else {
                bijection.forward_traced("", x, context, &mut probe)
            };
            let plain = if inverse { bijection.inverse(z, context) } else { bijection.forward(x, context) };
            let direction = if inverse { Direction::Inverse } else { Direction::Forward };
            worst = worst
                .max(steps_error(bijection, direction, if inverse { z } else { x }, context, &plain, &names))
                .max(Measured::between(&value, &plain.0))
                .max(Measured::between(&log_det, &plain.1))
                .max(Measured::between(&total, &plain.1))
                // A chain of no steps hands over nothing.
                .max(last.map_or(Measured::default(), |last| Measured::between(&last, &value)));
        }
        worst
    })
}

/// The steps one after another against `plain`, and their names against those of a trace.
fn steps_error(
    bijection: &dyn Bijection,
    direction: Direction,
    start: &Tensor,
    context: Option<&Tensor>,
    plain: &(Tensor, Tensor),
    names: &[String],
) -> Measured {
    let (mut total, mut visited) = (plain.1.zeros_like(), Vec::new());
    let end = bijection.steps("", direction, start, context, &mut |name, step, input| {
        visited.push(name.to_owned());
        let (value, log_det) = step.take(direction, input, context);
        total = &total + &log_det;
        value
    });
    if visited != names {
        return Measured { absolute: f64::INFINITY, relative: f64::INFINITY };
    }
    Measured::between(&end, &plain.0).max(Measured::between(&total, &plain.1))
}

fn events(x: &Tensor) -> Vec<i64> {
    (1..x.dim() as i64).collect()
}

/// A map's value and gradient by autograd, for the loss `Σ z w + Σ log_det v` with fixed weights.
struct ByAutograd {
    z: Tensor,
    log_det: Tensor,
    /// `w` and `v`.
    weights: (Tensor, Tensor),
    grad_x: Tensor,
}

impl ByAutograd {
    /// `None` where autograd finds no way back to `x`.
    fn of(bijection: &dyn Bijection, x: &Tensor, context: Option<&Tensor>) -> Option<Self> {
        let leaf = x.copy().set_requires_grad(true);
        let (z, log_det) = bijection.forward(&leaf, context);
        if !z.requires_grad() {
            return None;
        }
        let weights = (weights(&z), weights(&log_det));
        ((&z * &weights.0).sum(None) + (&log_det * &weights.1).sum(None)).backward();
        Some(ByAutograd { z: z.detach(), log_det: log_det.detach(), weights, grad_x: leaf.grad() })
    }
}

/// [`Bijection::vjp`] against autograd.
fn vjp_error(bijection: &dyn Bijection, x: &Tensor, context: Option<&Tensor>) -> Measured {
    let Some(truth) = ByAutograd::of(bijection, x, context) else { return Measured::INFINITE };
    let (rebuilt, grad_x) = bijection.vjp(&truth.z, context, &truth.weights.0, &truth.weights.1);
    Measured::between(&rebuilt, x).max(Measured::between(&grad_x, &truth.grad_x))
}

/// [`Bijection::forward_keeping`] and its way back against autograd.
fn keeping_error(bijection: &dyn Bijection, x: &Tensor, context: Option<&Tensor>) -> Measured {
    let Some(truth) = ByAutograd::of(bijection, x, context) else { return Measured::INFINITE };
    no_grad(|| {
        let kept = bijection.forward_keeping(x, context);
        let forward = Measured::between(&kept.value, &truth.z).max(Measured::between(&kept.log_det, &truth.log_det));
        match kept.back.backward(&truth.weights.0, &truth.weights.1, true, &mut ToParameters) {
            None => Measured::INFINITE,
            Some(grad_x) => forward.max(Measured::between(&grad_x, &truth.grad_x)),
        }
    })
}

/// Fixed numbers between -1 and 1, different from place to place.
fn weights(like: &Tensor) -> Tensor {
    let n: i64 = like.size().iter().product();
    (Tensor::arange(n, (like.kind(), like.device())) * 0.7 + 0.3).sin().reshape(like.size())
}

/// Each row of `input` through `map` alone, against its rows of `output` and `log_det`.
fn single_rows_error(
    map: impl Fn(&Tensor, Option<&Tensor>) -> (Tensor, Tensor),
    input: &Tensor,
    output: &Tensor,
    log_det: &Tensor,
    context: Option<&Tensor>,
) -> Measured {
    no_grad(|| {
        (0..input.size()[0]).fold(Measured::default(), |worst, i| {
            let row = context.map(|c| c.narrow(0, i, 1));
            let (value, own) = map(&input.narrow(0, i, 1), row.as_ref());
            worst
                .max(Measured::between(&value, &output.narrow(0, i, 1)))
                .max(Measured::between(&own, &log_det.narrow(0, i, 1)))
        })
    })
}

fn empty_batch_works(bijection: &dyn Bijection, x: &Tensor, context: Option<&Tensor>) -> bool {
    no_grad(|| {
        let none = x.narrow(0, 0, 0);
        let context = context.map(|c| c.narrow(0, 0, 0));
        let (z, forward) = bijection.forward(&none, context.as_ref());
        let (back, inverse) = bijection.inverse(&z, context.as_ref());
        back.size() == none.size() && forward.size() == [0] && inverse.size() == [0]
    })
}
