//! The table at the edges of f32: zeros, denormals, both ends of the cube, ±1e4, and conditioners that say ±1e4. Values,
//! log-determinants and gradients are finite numbers, both ways.

use flow_core::{Base, Bijection, Logistic, StandardNormal};
use tch::{Device, Kind, Tensor, nn};

use crate::common::{CONTEXT, randn, store};
use crate::{Case, Inputs, table};

/// Anywhere in space.
const SPACE: [f32; 10] = [0.0, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, 1e-8, 1.0, -30.0, 1e4, -1e4];
/// On the unit cube, both ends included.
const CUBE: [f32; 7] = [0.0, 1e-40, f32::MIN_POSITIVE, 1e-8, 0.5, 1.0 - f32::EPSILON / 2.0, 1.0];

/// Rows of events of shape `event`: one of each value alone, and one in which the values follow one another from each on.
fn rows(values: &[f32], event: &[i64]) -> Tensor {
    let dim = event.iter().product::<i64>() as usize;
    let n = values.len();
    let alone = (0..n).flat_map(|row| (0..dim).map(move |_| row));
    let mixed = (0..n).flat_map(|row| (0..dim).map(move |column| (row + column) % n));
    let numbers: Vec<f32> = alone.chain(mixed).map(|i| values[i]).collect();
    let size: Vec<i64> = std::iter::once(2 * n as i64).chain(event.iter().copied()).collect();
    Tensor::from_slice(&numbers).reshape(size)
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

/// [`Bijection::vjp`] of output, its gradient and that of the log-determinant.
type Hook<'a> = dyn Fn(&Tensor, &Tensor, &Tensor) -> (Tensor, Tensor) + 'a;

/// What of one direction is not finite: the value, the log-determinant, a gradient.
fn faults(
    vs: &nn::VarStore,
    input: &Tensor,
    map: impl Fn(&Tensor) -> (Tensor, Tensor),
    hook: Option<&Hook>,
) -> Vec<String> {
    let leaf = input.copy().set_requires_grad(true);
    let (value, log_det) = map(&leaf);
    let mut faults = Vec::new();
    let mut hold = |what: &str, t: &Tensor| {
        if t.defined() && !is_finite(t) {
            faults.push(what.to_owned());
        }
    };
    hold("the value", &value);
    hold("the log-determinant", &log_det);
    let mut leaves = vec![("the input".to_owned(), leaf.shallow_clone())];
    leaves.extend(vs.variables().into_iter().filter(|(_, variable)| variable.requires_grad()));
    let inputs: Vec<&Tensor> = leaves.iter().map(|(_, leaf)| leaf).collect();
    let loss = (value.sum(None::<Kind>) + log_det.sum(None::<Kind>)) / input.size()[0] as f64;
    for ((name, _), gradient) in leaves.iter().zip(Tensor::run_backward(&[loss], &inputs, false, false)) {
        hold(&format!("the gradient of {name}"), &gradient);
    }
    let Some(hook) = hook else { return faults };
    let share = |like: &Tensor| like.full_like(1.0 / input.size()[0] as f64);
    let (back, gradient) = hook(&value.detach(), &share(&value), &share(&log_det.detach()));
    for (what, t) in [("the input as rebuilt", &back), ("the gradient by the hook", &gradient)] {
        if !is_finite(t) {
            faults.push(what.to_owned());
        }
    }
    faults
}

fn check(
    case: &Case,
    vs: &nn::VarStore,
    bijection: &dyn Bijection,
    context: Option<&Tensor>,
    rebuilds: bool,
) -> Vec<String> {
    let repeated = |rows: i64| context.map(|context| context.narrow(0, 0, 1).repeat([rows, 1]));
    let x = rows(if matches!(case.inputs, Inputs::Cube) { &CUBE } else { &SPACE }, case.event);
    let own = repeated(x.size()[0]);
    let hook =
        |z: &Tensor, grad_z: &Tensor, grad_log_det: &Tensor| bijection.vjp(z, own.as_ref(), grad_z, grad_log_det);
    let hook: &Hook = &hook;
    let forward = faults(vs, &x, |x| bijection.forward(x, own.as_ref()), rebuilds.then_some(hook));
    let one = tch::no_grad(|| bijection.forward(&x.narrow(0, 0, 1), repeated(1).as_ref()).0);
    let z = rows(&SPACE, &one.size()[1..]);
    let own = repeated(z.size()[0]);
    let inverse = faults(vs, &z, |z| bijection.inverse(z, own.as_ref()), None);
    let said = |direction: &'static str| move |fault: String| format!("{direction}: {fault}");
    forward.into_iter().map(said("forward")).chain(inverse.into_iter().map(said("inverse"))).collect()
}

/// What a loud net has changed is not rebuilt: it multiplies the rounding errors of what it is given by 1e4, so that layers
/// behind it are handed what no data could be.
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
        let far = base.log_prob(&Tensor::from_slice(&[1e4f32, -1e4, 0.0]).reshape([1, 3])).double_value(&[0]);
        let right = if format!("{base:?}").starts_with("Logistic") {
            -2e4 - 2.0 * std::f64::consts::LN_2
        } else {
            -1e8 - 1.5 * (2.0 * std::f64::consts::PI).ln()
        };
        assert!((far / right - 1.0).abs() < 1e-6, "{base:?}: {far}, not {right}");
        for temperature in [0.0, 1e-30, 100.0] {
            assert!(is_finite(&base.sample(1_000, temperature, 3, Device::Cpu)), "{base:?} at {temperature}");
        }
    }
}
