//! Training steps on rows at the edges of f32 (zeros, denormals, both ends of the cube, ±1e4): likelihoods and
//! gradients are finite numbers, and those of autograd.

use flow_core::rng::with_seed;
use flow_core::{Conditioner, ToParameters};
use flow_models::{Activation, Head, MlpConfig, Model, ModelConfig};
use tch::{Device, Kind, Tensor, nn};

use crate::common::{Case, batch, log_prob, normal, randomised, zoo};

/// Anywhere in space.
const SPACE: [f32; 10] = [0.0, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, 1e-8, 1.0, -30.0, 1e4, -1e4];
/// On the unit cube, both ends included.
const CUBE: [f32; 7] = [0.0, 1e-40, f32::MIN_POSITIVE, 1e-8, 0.5, 1.0 - f32::EPSILON / 2.0, 1.0];

/// `[n, dim]`: rows of one value each, then rows in which the values follow one another.
fn rows(values: &[f32], dim: usize) -> Tensor {
    let n = values.len();
    let alone = (0..n).flat_map(|row| (0..dim).map(move |_| row));
    let mixed = (0..n).flat_map(|row| (0..dim).map(move |column| (row + column) % n));
    let numbers: Vec<f32> = alone.chain(mixed).map(|i| values[i]).collect();
    Tensor::from_slice(&numbers).reshape([2 * n as i64, dim as i64])
}

/// Rows where the model's head is at home, and the context that it wants.
fn edges(model: &Model) -> (Tensor, Option<Tensor>) {
    let cube = matches!(model.config().clone().head_mut(), Head::Logit { .. });
    let x = rows(if cube { &CUBE } else { &SPACE }, model.event().iter().product());
    let context = batch(model, x.size()[0]).1;
    (x, context)
}

/// The zoo, and once more without the logits, behind which nothing is large. Spline chessboards keep theirs: the slope
/// of such a curve is what its net says, and slopes multiply.
fn cases() -> Vec<Case> {
    let mut cases = zoo();
    for mut case in zoo() {
        let splines = matches!(&case.config, ModelConfig::Glow(glow) if glow.checkers > 0);
        let head = case.config.head_mut();
        if matches!(head, Head::Logit { .. }) && !splines {
            *head = Head::None;
            case.name += " without its head";
            cases.push(case);
        }
    }
    cases
}

fn is_finite(t: &Tensor) -> bool {
    t.isfinite().all().int64_value(&[]) == 1
}

/// Whether `got` is further off than rounding in f64, relative to the largest number.
fn is_off(got: &Tensor, expected: &Tensor) -> bool {
    let off = largest(&(got - expected)) / (1.0 + largest(expected));
    off.is_nan() || off > 1e-8
}

fn largest(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

/// What is not finite of a training step's forward and backward pass, in f32.
fn faults(model: &Model) -> Vec<String> {
    let (x, context) = edges(model);
    let kept = with_seed(4, || model.flow().forward_keeping(&x, context.as_ref()));
    let mut faults = Vec::new();
    if !is_finite(&kept.log_prob) {
        faults.push("the likelihood".to_owned());
    }
    kept.backward(&mut ToParameters);
    for (name, mut variable) in model.variables() {
        let gradient = variable.grad();
        if gradient.defined() && !is_finite(&gradient) {
            faults.push(name);
        }
        variable.zero_grad();
    }
    faults
}

#[test]
fn training_steps_of_every_model_are_finite() {
    let mut found = String::new();
    for case in cases() {
        let mut model = randomised(&case.config, &case.event);
        for training in [false, true] {
            model.flow_mut().set_training(training);
            for fault in faults(&model) {
                found += &format!("{fault}, training: {training}, in {}\n", case.name);
            }
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

/// In f64: at 1e4 a rounding of f32 is a thousandth, which the slopes of nets carry far.
#[test]
fn gradients_map_by_map_are_those_of_the_whole_tape_there_too() {
    let mut found = String::new();
    for case in cases() {
        let mut model = randomised(&case.config, &case.event);
        let (x, context) = edges(&model);
        model.vs_mut().double();
        let (x, context) = (x.to_kind(Kind::Double), context.map(|c| c.to_kind(Kind::Double)));
        let trained: Vec<_> = model.variables().into_iter().filter(|(_, variable)| variable.requires_grad()).collect();
        let leaves: Vec<&Tensor> = trained.iter().map(|(_, variable)| variable).collect();
        let by_tape = |x: &Tensor| {
            let taped = model.flow().log_prob(x, context.as_ref());
            let gradients = Tensor::run_backward(&[taped.mean(None::<Kind>).neg()], &leaves, false, false);
            (taped, gradients)
        };
        let (taped, expected) = by_tape(&x);
        // A spline of which 1e4 is no part has a gradient of 0 there, made of terms of 1e12: what autograd's own comes to on rows
        // a rounding away is as close as can be asked for.
        let (_, moved) = by_tape(&(&x * (1.0 + 4.0 * f64::EPSILON)));

        let kept = model.flow().forward_keeping(&x, context.as_ref());
        if is_off(&kept.log_prob, &taped) {
            found += &format!("the likelihood, in {}\n", case.name);
        }
        kept.backward(&mut ToParameters);
        let pairs = trained.iter().zip(expected.iter().zip(&moved));
        for ((name, variable), (expected, moved)) in pairs.filter(|(_, (expected, _))| expected.defined()) {
            let got = variable.grad();
            let got = if got.defined() { got } else { expected.zeros_like() };
            let noise = largest(&(moved - expected));
            if is_off(&got, expected) && largest(&(got - expected)) > 10.0 * noise {
                found += &format!("{name}, in {}\n", case.name);
            }
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

/// The output of a net and the gradients of its input and parameters: by autograd, and by hand.
fn both_ways(config: &MlpConfig, kind: Kind) -> [Vec<Tensor>; 2] {
    let (kept, width, outputs) = (4, 2, 3);
    let mut vs = nn::VarStore::new(Device::Cpu);
    vs.set_kind(kind);
    let net = config.build(&vs.root(), kept + width, outputs, 5).unwrap();
    let parameters = vs.trainable_variables();
    for (i, parameter) in parameters.iter().enumerate() {
        let values = normal(&parameter.size(), i as u64).to_kind(kind) * 0.5;
        tch::no_grad(|| parameter.shallow_clone().copy_(&values));
    }
    let x = rows(&SPACE, kept).to_kind(kind);
    let context = normal(&[x.size()[0], width as i64], 6).to_kind(kind);
    let grad = normal(&[x.size()[0], outputs as i64], 7).to_kind(kind);

    let leaf = x.copy().set_requires_grad(true);
    let taped = net.forward(&leaf, Some(&context));
    let leaves: Vec<&Tensor> = std::iter::once(&leaf).chain(&parameters).collect();
    let expected = Tensor::run_backward(&[(&taped * &grad).sum(None::<Kind>)], &leaves, false, false);

    let [output, grad_x] = tch::no_grad(|| {
        let kept = net.forward_keeping(&x, Some(&context));
        let grad_x = kept.back.backward(&grad, true, &mut ToParameters);
        [kept.parameters, grad_x.expect("it is wanted")]
    });
    let by_autograd = std::iter::once(taped.detach()).chain(expected);
    let by_hand = [output, grad_x].into_iter().chain(parameters.iter().map(Tensor::grad));
    [by_autograd.collect(), by_hand.collect()]
}

#[test]
fn the_gradients_by_hand_of_every_perceptron_are_right_at_the_edges() {
    use Activation::{Gelu, LeakyRelu, Relu, Silu, Tanh};
    for activation in [Relu, LeakyRelu, Silu, Gelu, Tanh] {
        for (residual, skip) in [(false, false), (false, true), (true, false), (true, true)] {
            let config = MlpConfig { hidden: 6, layers: 3, residual, skip, activation, ..MlpConfig::default() };
            let [by_autograd, by_hand] = both_ways(&config, Kind::Float);
            assert!(by_autograd.iter().chain(&by_hand).all(is_finite), "{config:?}");
            let [by_autograd, by_hand] = both_ways(&config, Kind::Double);
            let mut pairs = by_hand.iter().zip(&by_autograd);
            assert!(!pairs.any(|(got, expected)| is_off(got, expected)), "{config:?}");
        }
    }
}

/// It has no direction, and what is not there cannot be brought to the length of its gain.
#[test]
fn a_filter_of_zeros_lets_nothing_through_as_one_without_a_gain() {
    let cases = zoo().into_iter().filter(|case| case.name.contains(r#""norm":"weight""#));
    let mut filters = 0;
    for case in cases {
        let mut without = |part: &str| {
            let model = randomised(&case.config, &case.event);
            let variables = model.variables();
            for gain in variables.keys().filter(|name| name.ends_with(".gain")) {
                let variable = &variables[&gain.replace(".gain", part)];
                let _ = tch::no_grad(|| variable.get(0).zero_());
                filters += 1;
            }
            model
        };
        let (zeros, silent) = (without(".weight"), without(".gain"));
        assert_eq!(log_prob(&zeros), log_prob(&silent), "{}", case.name);
        assert_eq!(faults(&zeros), Vec::<String>::new(), "{}", case.name);
    }
    assert!(filters > 0, "no model of the zoo has a normalised filter");
}
