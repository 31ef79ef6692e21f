//! The table at the edges of f32: zeros, denormals, both ends of the cube, ±1e4, and conditioners that say ±1e4.
//! Values, log-determinants and gradients are finite numbers, both ways and by every way back.

use std::collections::BTreeMap;

use flow_core::{Base, BatchNorm, Bijection, Kept, Logistic, StandardNormal, ToParameters};
use tch::{Kind, Tensor, nn};

use crate::common::{CONTEXT, device, randn, store};
use crate::{Case, Inputs, table};

/// Anywhere in space.
const SPACE: [f32; 10] = [0.0, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, 1e-8, 1.0, -30.0, 1e4, -1e4];
/// On the unit cube, both ends included.
const CUBE: [f32; 7] = [0.0, 1e-40, f32::MIN_POSITIVE, 1e-8, 0.5, 1.0 - f32::EPSILON / 2.0, 1.0];

/// Rows of events of shape `event`: one of each value alone, and one in which the values follow one another from each
/// on.
fn rows(values: &[f32], event: &[i64]) -> Tensor {
    let dim = event.iter().product::<i64>() as usize;
    let n = values.len();
    let alone = (0..n).flat_map(|row| (0..dim).map(move |_| row));
    let mixed = (0..n).flat_map(|row| (0..dim).map(move |column| (row + column) % n));
    let numbers: Vec<f32> = alone.chain(mixed).map(|i| values[i]).collect();
    let size: Vec<i64> = std::iter::once(2 * n as i64).chain(event.iter().copied()).collect();
    Tensor::from_slice(&numbers).reshape(size).to_device(device())
}

/// Those of a line of the table.
fn rows_of(case: &Case) -> Tensor {
    rows(if matches!(case.inputs, Inputs::Cube) { &CUBE } else { &SPACE }, case.event)
}

/// The first row of a context for `rows` rows.
fn repeated(context: Option<&Tensor>, rows: i64) -> Option<Tensor> {
    context.map(|context| context.narrow(0, 0, 1).repeat([rows, 1]))
}

/// The last layers of the nets made so much louder that they say ±1e4 and more.
fn shout(vs: &nn::VarStore) {
    for (_, mut variable) in vs.variables().into_iter().filter(|(name, _)| name.contains("output")) {
        let _ = tch::no_grad(|| variable.g_mul_scalar_(3e4));
    }
}

fn is_finite(t: &Tensor) -> bool {
    t.isfinite().all().int64_value(&[]) == 1
}

fn trained(vs: &nn::VarStore) -> BTreeMap<String, Tensor> {
    vs.variables().into_iter().filter(|(_, variable)| variable.requires_grad()).collect()
}

/// The parameters' own gradients set to zero, and what `run` adds to them.
fn added_by<T>(vs: &nn::VarStore, run: impl FnOnce() -> T) -> (T, BTreeMap<String, Tensor>) {
    trained(vs).into_values().for_each(|mut parameter| parameter.zero_grad());
    let result = run();
    let own = trained(vs).into_iter().map(|(name, parameter)| (name, parameter.grad()));
    (result, own.filter(|(_, gradient)| gradient.defined()).map(|(name, own)| (name, own.copy())).collect())
}

/// What comes out of a batch of `n` rows, and the gradients of `(Σ value + Σ log_det) / n` by what they belong to.
struct Pass {
    value: Tensor,
    log_det: Tensor,
    gradients: BTreeMap<String, Tensor>,
}

const INPUT: &str = "the input";

impl Pass {
    /// By one tape of all of `map`.
    fn taped(vs: &nn::VarStore, input: &Tensor, map: impl Fn(&Tensor) -> (Tensor, Tensor)) -> Self {
        let mut leaves = trained(vs);
        let leaf = input.copy().set_requires_grad(true);
        let (value, log_det) = map(&leaf);
        leaves.insert(INPUT.to_owned(), leaf);
        let loss = (value.sum(None::<Kind>) + log_det.sum(None::<Kind>)) / input.size()[0] as f64;
        let (names, leaves): (Vec<String>, Vec<Tensor>) = leaves.into_iter().unzip();
        let gradients = names.into_iter().zip(Tensor::run_backward(&[loss], &leaves, false, false));
        let gradients = gradients.filter(|(_, gradient)| gradient.defined()).collect();
        Pass { value: value.detach(), log_det: log_det.detach(), gradients }
    }

    /// As a training step takes it.
    fn keeping(vs: &nn::VarStore, input: &Tensor, context: Option<&Tensor>, bijection: &dyn Bijection) -> Self {
        let run = || {
            let Kept { value, log_det, back } = bijection.forward_keeping(input, context);
            let [grad_value, grad_log_det] = [&value, &log_det].map(share);
            let gradient = back.backward(&grad_value, &grad_log_det, true, &mut ToParameters);
            (value, log_det, gradient.expect("it is wanted"))
        };
        let ((value, log_det, gradient), mut gradients) = added_by(vs, || tch::no_grad(run));
        gradients.insert(INPUT.to_owned(), gradient);
        Pass { value, log_det, gradients }
    }

    /// The way back of `forward` from its output alone; what comes out is the input as rebuilt.
    fn rebuilding(vs: &nn::VarStore, forward: &Pass, context: Option<&Tensor>, bijection: &dyn Bijection) -> Self {
        let [grad_value, grad_log_det] = [&forward.value, &forward.log_det].map(share);
        let run = || bijection.vjp(&forward.value, context, &grad_value, &grad_log_det);
        let ((value, gradient), mut gradients) = added_by(vs, run);
        gradients.insert(INPUT.to_owned(), gradient);
        Pass { value, log_det: forward.log_det.shallow_clone(), gradients }
    }

    /// What of it is not finite.
    fn faults(&self) -> Vec<String> {
        let outputs = [("the value".to_owned(), &self.value), ("the log-determinant".to_owned(), &self.log_det)];
        let gradients = self.gradients.iter().map(|(name, gradient)| (format!("the gradient of {name}"), gradient));
        outputs.into_iter().chain(gradients).filter(|(_, t)| !is_finite(t)).map(|(what, _)| what).collect()
    }

    /// What `other` has further off than `rounding`, relative to the largest number of each tensor. A gradient that it
    /// lacks is 0.
    fn differences(&self, other: &Pass, rounding: f64) -> Vec<String> {
        let off = |expected: &Tensor, got: &Tensor| {
            let largest = |t: &Tensor| t.abs().max().double_value(&[]);
            let off = largest(&(got - expected)) / (1.0 + largest(expected));
            off.is_nan() || off > rounding
        };
        let outputs =
            [("the value", &self.value, &other.value), ("the log-determinant", &self.log_det, &other.log_det)];
        let outputs = outputs.into_iter().filter(|(_, expected, got)| off(expected, got));
        let gradients = self.gradients.iter().filter(|(name, expected)| match other.gradients.get(*name) {
            Some(got) => off(expected, got),
            None => off(expected, &expected.zeros_like()),
        });
        let gradients = gradients.map(|(name, _)| format!("the gradient of {name}"));
        outputs.map(|(what, _, _)| what.to_owned()).chain(gradients).collect()
    }
}

/// The gradient of each number of a batch in the loss of a [`Pass`].
fn share(like: &Tensor) -> Tensor {
    like.full_like(1.0 / like.size()[0] as f64)
}

fn check(
    case: &Case,
    vs: &nn::VarStore,
    bijection: &dyn Bijection,
    context: Option<&Tensor>,
    rebuilds: bool,
) -> Vec<String> {
    let x = rows_of(case);
    let own = repeated(context, x.size()[0]);
    let forward = Pass::taped(vs, &x, |x| bijection.forward(x, own.as_ref()));
    let keeping = Pass::keeping(vs, &x, own.as_ref(), bijection);
    let rebuilding = rebuilds.then(|| Pass::rebuilding(vs, &forward, own.as_ref(), bijection));
    let z = rows(&SPACE, &forward.value.size()[1..]);
    let own = repeated(context, z.size()[0]);
    let inverse = Pass::taped(vs, &z, |z| bijection.inverse(z, own.as_ref()));
    let passes = [
        ("forward", Some(forward)),
        ("keeping", Some(keeping)),
        ("rebuilding", rebuilding),
        ("inverse", Some(inverse)),
    ];
    let said = passes.iter().flat_map(|(way, pass)| {
        let faults = pass.iter().flat_map(Pass::faults);
        faults.map(move |fault| format!("{way}: {fault}"))
    });
    said.collect()
}

/// What a loud net has changed is not rebuilt: it multiplies the rounding errors of what it is given by 1e4, so that
/// layers behind it are handed what no data could be.
#[test]
fn every_bijection_stays_finite_at_the_edges() {
    let mut found = String::new();
    for case in table() {
        for (loud, started, with) in
            [(false, false, true), (true, false, false), (true, false, true), (false, true, false)]
        {
            let context = with.then(|| randn(&[crate::ROWS, CONTEXT], Kind::Float, 12));
            let vs = store(Kind::Float);
            let bijection = if started {
                // From data that are all alike: nothing varies.
                let bijection = (case.build)(&vs.root());
                let x = case.x(Kind::Float);
                let _ = bijection.start_from_data(&x.zeros_like(), context.as_ref());
                bijection
            } else {
                case.ready(&vs, context.as_ref())
            };
            if loud {
                shout(&vs);
            }
            for fault in check(&case, &vs, bijection.as_ref(), context.as_ref(), !loud) {
                let name = case.name;
                found += &format!("{name}, context: {with}, loud: {loud}, from nothing: {started}: {fault}\n");
            }
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

/// What training goes by, against one tape of the whole. In f64: at 1e4 a rounding of f32 is a thousandth, which the
/// slopes of nets carry far.
#[test]
fn what_is_kept_gives_the_gradients_of_the_whole_tape_at_the_edges() {
    let mut found = String::new();
    for case in table() {
        for with in [false, true] {
            let context = with.then(|| randn(&[crate::ROWS, CONTEXT], Kind::Double, 12));
            let vs = store(Kind::Double);
            let bijection = case.ready(&vs, context.as_ref());
            let x = rows_of(&case).to_kind(Kind::Double);
            let own = repeated(context.as_ref(), x.size()[0]);
            let taped = Pass::taped(&vs, &x, |x| bijection.forward(x, own.as_ref()));
            let keeping = Pass::keeping(&vs, &x, own.as_ref(), bijection.as_ref());
            for difference in taped.differences(&keeping, 1e-8) {
                found += &format!("{}, context: {with}: {difference}\n", case.name);
            }
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

/// `run` on a new layer in training, every pass of which moves the running moments.
fn in_training<T>(event: &[i64], from_nothing: bool, run: impl Fn(&nn::VarStore, &BatchNorm) -> T) -> T {
    let vs = store(Kind::Float);
    let mut norm = BatchNorm::new(&vs.root(), event[0] as usize, 0.1);
    if from_nothing {
        // Running variances of 0.
        let _ = norm.start_from_data(&rows(&[0.5], event), None);
    }
    norm.set_training(true);
    run(&vs, &norm)
}

/// There is no way back from the output alone in this mode: it would have to know the batch.
#[test]
fn batch_normalisation_in_training_stays_finite_at_the_edges() {
    for event in [&[3][..], &[3, 2, 2]] {
        let all = rows(&SPACE, event);
        let one = (0..all.size()[0]).map(|i| all.narrow(0, i, 1));
        let alike = (0..all.size()[0]).map(|i| all.narrow(0, i, 1)).map(|row| Tensor::cat(&[&row, &row, &row], 0));
        for x in one.chain(alike).chain([all.shallow_clone()]) {
            for from_nothing in [false, true] {
                let taped = in_training(event, from_nothing, |vs, norm| Pass::taped(vs, &x, |x| norm.forward(x, None)));
                let keeping = in_training(event, from_nothing, |vs, norm| Pass::keeping(vs, &x, None, norm));
                let faults = [taped.faults(), keeping.faults(), taped.differences(&keeping, 1e-5)].concat();
                assert!(faults.is_empty(), "{:?}, from nothing: {from_nothing}: {faults:?}", x.size());
            }
        }
    }
}

#[test]
fn every_base_stays_finite_at_the_edges() {
    let event = [3];
    let bases: [Box<dyn Base>; 2] = [Box::new(StandardNormal::new(&event)), Box::new(Logistic::new(&event))];
    for base in bases {
        let z = rows(&SPACE, &event).set_requires_grad(true);
        let log_prob = base.log_prob(&z);
        log_prob.sum(None::<Kind>).backward();
        assert!(is_finite(&log_prob) && is_finite(&z.grad()), "{base:?}");
        // And right, by the formula in f64, where a square or an exponential would have been lost in f32.
        let far = base
            .log_prob(&Tensor::from_slice(&[1e4f32, -1e4, 0.0]).to_device(device()).reshape([1, 3]))
            .double_value(&[0]);
        let right = if format!("{base:?}").starts_with("Logistic") {
            -2e4 - 2.0 * std::f64::consts::LN_2
        } else {
            -1e8 - 1.5 * (2.0 * std::f64::consts::PI).ln()
        };
        assert!((far / right - 1.0).abs() < 1e-6, "{base:?}: {far}, not {right}");
        for temperature in [0.0, 1e-30, 100.0] {
            assert!(is_finite(&base.sample(1_000, temperature, 3, device())), "{base:?} at {temperature}");
        }
    }
}
