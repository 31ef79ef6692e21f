//! The check of whole models: what is right passes, and every planted fault is found in the layer where it was planted.

mod common;
mod planted;

use std::collections::BTreeMap;

use common::{CONTEXT, TestNet, randn, randomize, store};
use flow_core::check::{Config, Latent, Method, Model, OnRows, Report, Rows, Verdict, check};
use flow_core::{
    ActNorm, Base, Bijection, Bound, Chain, Conv1x1, Coupling, Direction, ElementwiseAffine, Flow, Inverse, Law, Level,
    Logistic, Logit, Mask, Multiscale, SqueezeOrder, StandardNormal,
};
use planted::{Fault, Planted};
use tch::{Device, Kind, Tensor, nn};

const DIM: usize = 16;

fn coupling(path: &nn::Path, dim: usize, flipped: bool) -> Coupling<TestNet> {
    let mask = Mask::halves(dim, flipped).unwrap();
    let (kept, changed) = (mask.kept().len(), mask.changed().len());
    let law = Law::Affine { bound: Bound::learned(path, changed, 1.0) };
    Coupling::new(mask, TestNet::new(path, kept, 2 * changed), law)
}

/// Steps of every kind; the fault is in the step `at`.
fn chain(path: &nn::Path, fault: Fault, at: &str) -> Chain {
    let of = |name: &str| if name == at { fault } else { Fault::Nothing };
    let mut chain = Chain::default();
    chain.push("logit", Planted(Logit::new(0.05).unwrap(), of("logit"))).unwrap();
    chain.push("actnorm", Planted(ActNorm::new(&(path / "actnorm"), DIM), of("actnorm"))).unwrap();
    chain.push("first", Planted(coupling(&(path / "first"), DIM, false), of("first"))).unwrap();
    chain.push("mix", Planted(Conv1x1::plain(&(path / "mix"), DIM, 1), of("mix"))).unwrap();
    let mut steps = Chain::default();
    let inner = path / "levels" / "level_0" / "inner";
    let mixed = Planted(Conv1x1::lu(&(&inner / "mix"), 4, 2), of("levels.level_0.inner.mix"));
    let normed = Planted(ActNorm::new(&(&inner / "actnorm"), 4), of("levels.level_0.inner.actnorm"));
    let mut step = Chain::default();
    step.push("actnorm", normed).unwrap();
    step.push("mix", mixed).unwrap();
    steps.push("inner", step).unwrap();
    let levels = vec![Level { steps, ..Level::default() }];
    chain.push("levels", Multiscale::new([1, 4, 4], SqueezeOrder::ChannelMajor, levels).unwrap()).unwrap();
    let second = Planted(Inverse(coupling(&(path / "second"), DIM, true)), of("second"));
    chain.push("second", second).unwrap();
    chain
        .push("scaling", Planted(ElementwiseAffine::learned(&(path / "scaling"), &[DIM as i64]), of("scaling")))
        .unwrap();
    chain
}

const NAMES: [&str; 8] = [
    "logit",
    "actnorm",
    "first",
    "mix",
    "levels.level_0.inner.actnorm",
    "levels.level_0.inner.mix",
    "second",
    "scaling",
];

/// A flow in both precisions with the same parameters, small ones, changed by `change`.
struct Pair {
    single: (nn::VarStore, Flow),
    double: (nn::VarStore, Flow),
}

impl Pair {
    fn new(fault: Fault, at: &str, change: impl Fn(&str, &Tensor) -> Option<Tensor>) -> Self {
        Pair::of(DIM, |path| chain(path, fault, at), change)
    }

    /// Of chains for events of `dim` coordinates.
    fn of(dim: usize, chain: impl Fn(&nn::Path) -> Chain, change: impl Fn(&str, &Tensor) -> Option<Tensor>) -> Self {
        // Maps this small are slower for being divided.
        tch::set_num_threads(1);
        let build = || {
            let vs = store(Kind::Float);
            let flow = Flow::new(chain(&vs.root()), StandardNormal::new(&[dim as i64]), Device::Cpu);
            let before: BTreeMap<String, Tensor> = vs.variables().into_iter().map(|(n, v)| (n, v.copy())).collect();
            randomize(&vs, 5);
            for (name, variable) in vs.variables().into_iter().filter(|(_, v)| v.requires_grad()) {
                // A mixing begins as a rotation; near 0 it would hardly have an inverse.
                let keep = name.contains("mix") || name.ends_with("bound");
                let value = if keep { &before[&name] + &variable * 0.1 } else { &variable * 0.4 };
                let value = change(&name, &value).unwrap_or(value);
                tch::no_grad(|| variable.shallow_clone().copy_(&value));
            }
            (vs, flow)
        };
        let (single, mut double) = (build(), build());
        double.0.double();
        Pair { single, double }
    }

    fn check(&self, config: &Config) -> Report {
        let context = Some(randn(&[4, CONTEXT], Kind::Float, 5));
        let x = randn(&[4, DIM as i64], Kind::Float, 3).sigmoid();
        let z = |temperature: f64| randn(&[4, DIM as i64], Kind::Float, 4) * temperature;
        let data = Rows::new("data", Direction::Forward, x);
        let latent = Rows::new("latent", Direction::Inverse, z(1.0));
        let far = Rows { far: true, ..Rows::new("far", Direction::Inverse, z(2.0)) };
        let told = |rows: Rows| Rows { context: context.as_ref().map(Tensor::shallow_clone), jacobians: 1, ..rows };
        self.check_on(&[told(data), told(latent), told(far)], config)
    }

    fn check_on(&self, rows: &[Rows], config: &Config) -> Report {
        let variables = self.single.0.variables().into_iter().collect();
        let model = Model { single: &self.single.1, double: &self.double.1, variables: &variables };
        check(&model, rows, config)
    }
}

/// The layers that fail, with the first thing said of each.
fn failing(report: &Report) -> Vec<(String, String)> {
    let failing = report.layers.iter().filter(|layer| layer.verdict() == Verdict::Fails);
    failing.map(|layer| (layer.name.clone(), layer.findings[0].what.clone())).collect()
}

fn planted(fault: Fault, at: &str) -> Report {
    Pair::new(fault, at, |_, _| None).check(&Config::default())
}

#[test]
fn a_sound_model_passes_in_every_layer() {
    let report = planted(Fault::Nothing, "");
    let names: Vec<&str> = report.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, NAMES);
    assert_eq!(failing(&report), []);
    // Far out, logits are so large that nothing but the margin of the cube is left of them.
    assert!(report.whole.findings.iter().all(|f| f.verdict == Verdict::Warns && f.what.ends_with("far")));
    for layer in &report.layers {
        let (single, double) = OnRows::worst(&layer.on, false);
        let (single, double) = (single.unwrap(), double.unwrap());
        assert!(double.round_trip() < 1e-12 && double.log_det_sum.absolute < 1e-12, "{layer:?}");
        assert!((1e-9..1e-4).contains(&single.round_trip()) && double.round_trip() > 0.0, "{layer:?}");
        for log_det in [layer.log_det.unwrap(), layer.far_log_det.unwrap()] {
            assert_eq!(log_det.method, Method::Exact);
            assert!(log_det.error.relative < 1e-12, "{layer:?}");
        }
    }
    assert!(report.whole.log_det.unwrap().error.relative < 1e-12);
    assert!(report.whole.composition.relative < 1e-12);
}

#[test]
fn a_wrong_sign_and_a_dropped_term_are_found_where_they_are() {
    for at in NAMES {
        for fault in [Fault::WrongSign, Fault::DroppedTerm] {
            let report = planted(fault, at);
            let failing = failing(&report);
            assert_eq!(failing.len(), 1, "{fault:?} in {at}: {failing:?}");
            assert!(failing[0].0 == at && failing[0].1.contains("Jacobian"), "{fault:?} in {at}: {failing:?}");
            // The whole is off by as much.
            let whole = report.whole.log_det.unwrap().error.absolute;
            assert!(fault == Fault::WrongSign || (whole - 0.25).abs() < 1e-9, "{whole}");
            assert_eq!(report.verdict(), Verdict::Fails);
        }
    }
}

#[test]
fn the_same_through_random_probes() {
    let probes = Config { exact_dim: 1, ..Config::default() };
    let sound = Pair::new(Fault::Nothing, "", |_, _| None).check(&probes);
    assert_eq!(failing(&sound), []);
    for layer in &sound.layers {
        let Method::Probes { resolution } = layer.log_det.unwrap().method else { panic!("{layer:?}") };
        assert!(resolution < 8.0, "{layer:?}");
    }
    // Elementwise maps have a diagonal Jacobian, of which every probe says the same.
    let error = |report: &Report, at: usize| report.layers[at].log_det.unwrap().error.absolute;
    assert!([0, 1, 7].iter().all(|&at| error(&sound, at) < 1e-9));
    for at in ["logit", "actnorm", "scaling"] {
        for fault in [Fault::WrongSign, Fault::DroppedTerm] {
            let report = Pair::new(fault, at, |_, _| None).check(&probes);
            assert_eq!(failing(&report).into_iter().map(|f| f.0).collect::<Vec<_>>(), [at], "{fault:?}");
        }
    }
}

/// More coordinates than a Jacobian is written down for.
const WIDE: usize = 1100;

/// A coupling between two elementwise steps; the fault is in the step `at`.
fn wide(path: &nn::Path, fault: Fault, at: &str) -> Chain {
    let of = |name: &str| if name == at { fault } else { Fault::Nothing };
    let scaling = ElementwiseAffine::learned(&(path / "scaling"), &[WIDE as i64]);
    let mut chain = Chain::default();
    chain.push("logit", Planted(Logit::new(0.05).unwrap(), of("logit"))).unwrap();
    chain.push("coupling", Planted(coupling(&(path / "coupling"), WIDE, false), of("coupling"))).unwrap();
    chain.push("scaling", Planted(scaling, of("scaling"))).unwrap();
    chain
}

/// A net that hardly listens to what is kept: the more it does, the coarser are probes of its coupling. The scales lean
/// to one side, so that the log-determinant is large.
fn whispers(name: &str, value: &Tensor) -> Option<Tensor> {
    match name {
        "coupling.hidden.weight" => Some(value * 0.1),
        "coupling.output.weight" => Some(value * 0.001),
        "coupling.output.bias" => Some(value + 0.3),
        _ => None,
    }
}

#[test]
fn probes_find_what_is_planted_where_no_jacobian_can_be_written_down() {
    let x = randn(&[2, WIDE as i64], Kind::Float, 3).sigmoid();
    let planted = |fault: Fault, at: &str| {
        let rows = Rows { jacobians: 1, ..Rows::new("data", Direction::Forward, x.shallow_clone()) };
        Pair::of(WIDE, |path| wide(path, fault, at), whispers).check_on(&[rows], &Config::default())
    };
    let sound = planted(Fault::Nothing, "");
    assert_eq!(failing(&sound), []);
    for layer in &sound.layers {
        let Method::Probes { resolution } = layer.log_det.unwrap().method else { panic!("{layer:?}") };
        // Finer than the term that is dropped.
        assert!(resolution < 0.2, "{layer:?}");
    }
    for at in ["logit", "coupling", "scaling"] {
        for fault in [Fault::WrongSign, Fault::DroppedTerm] {
            let failing = failing(&planted(fault, at));
            assert_eq!(failing.len(), 1, "{fault:?} in {at}: {failing:?}");
            assert!(failing[0].0 == at && failing[0].1.contains("Jacobian"), "{fault:?} in {at}: {failing:?}");
        }
    }
}

#[test]
fn an_inverse_that_is_off_is_found_where_it_is() {
    for at in NAMES {
        let failing = failing(&planted(Fault::InverseOff, at));
        assert_eq!(failing.len(), 1, "in {at}: {failing:?}");
        assert!(failing[0].0 == at && failing[0].1.contains("round trip"), "{failing:?}");
    }
}

#[test]
fn weights_without_an_inverse_are_found_where_they_are() {
    // Two rows alike; a diagonal that underflows; a scale that does.
    let alike: fn(&Tensor) -> Tensor = |t| Tensor::cat(&[t.narrow(0, 0, 1), t.narrow(0, 0, t.size()[0] - 1)], 0);
    type Change = fn(&Tensor) -> Tensor;
    let cases: [(&str, &str, Change); 5] = [
        ("mix", "mix.matrix", alike),
        ("levels.level_0.inner.mix", "levels.level_0.inner.mix.log_diagonal", |t| t - 1000.0),
        ("scaling", "scaling.log_scale", |t| t - 1000.0),
        // Beyond f32, though not beyond f64.
        ("actnorm", "actnorm.log_scale", |t| t + 100.0),
        // Beyond both: neither Jacobian nor estimate of it is finite.
        ("actnorm", "actnorm.log_scale", |t| t + 1000.0),
    ];
    let exact = Config::default();
    let probing = Config { exact_dim: 1, ..exact.clone() };
    for ((at, variable, change), config) in cases.into_iter().flat_map(|case| [(case, &exact), (case, &probing)]) {
        let pair = Pair::new(Fault::Nothing, "", |name, value| (name == variable).then(|| change(value)));
        let report = pair.check(config);
        let failing = failing(&report);
        assert_eq!(failing.len(), 1, "{at}: {failing:?}");
        assert_eq!(failing[0].0, at, "{failing:?}");
        assert_eq!(report.verdict(), Verdict::Fails);
    }
}

#[test]
fn a_weight_close_to_having_no_inverse_is_a_warning_then_a_fault() {
    // diag(1, .., 1, s): the condition number is 1 / s.
    let with = |s: f64| {
        let pair = Pair::new(Fault::Nothing, "", |name, value| {
            (name == "mix.matrix").then(|| {
                let eye = Tensor::eye(value.size()[0], (Kind::Float, Device::Cpu));
                let _ = eye.get(0).get(0).fill_(s);
                eye
            })
        });
        let report = pair.check(&Config::default());
        let layer = report.layers.iter().find(|layer| layer.name == "mix").unwrap();
        let condition = layer.scales.unwrap().condition();
        assert!((condition * s - 1.0).abs() < 1e-6, "{condition}");
        layer.verdict()
    };
    assert_eq!([with(0.5), with(1e-5), with(1e-8)], [Verdict::Ok, Verdict::Warns, Verdict::Fails]);
}

#[test]
fn a_weight_that_went_through_float16_is_named_with_its_layer() {
    for (variable, kind, at) in [
        ("first.hidden.weight", Kind::Half, "first"),
        ("second.output.bias", Kind::BFloat16, "second"),
        ("levels.level_0.inner.mix.lower", Kind::Half, "levels.level_0.inner.mix"),
    ] {
        let through = |value: &Tensor| value.to_kind(kind).to_kind(Kind::Float);
        let pair = Pair::new(Fault::Nothing, "", |name, value| (name == variable).then(|| through(value)));
        let failing = failing(&pair.check(&Config::default()));
        assert_eq!(failing.len(), 1, "{failing:?}");
        assert!(failing[0].0 == at && failing[0].1.contains(variable), "{failing:?}");
        assert!(failing[0].1.contains(if kind == Kind::Half { "to float16" } else { "to bfloat16" }), "{failing:?}");
    }
}

#[test]
fn shares_at_bounds_are_counted() {
    // Of the unit cube's faces 0.05 is the margin: 2 of 16 coordinates of each row lie there.
    let pair = Pair::new(Fault::Nothing, "", |_, _| None);
    let x = Tensor::full([4, DIM as i64], 0.5, (Kind::Float, Device::Cpu));
    let _ = x.narrow(1, 3, 1).fill_(0.01);
    let _ = x.narrow(1, 4, 1).fill_(0.999);
    let logit = Logit::new(0.05).unwrap();
    assert_eq!(logit.inspect(&x, None).edge.unwrap().share, 2.0 / 16.0);
    // tanh(raw) is above 0.99 for raw above 2.65: of a net that says its bias, in one of two changed coordinates.
    let vs = nn::VarStore::new(Device::Cpu);
    let one = coupling(&vs.root(), 4, false);
    for (name, variable) in vs.variables() {
        let value =
            if name == "output.bias" { Tensor::from_slice(&[2.6f32, -2.7, 9.0, 9.0]) } else { variable.zeros_like() };
        tch::no_grad(|| variable.shallow_clone().copy_(&value));
    }
    assert_eq!(one.inspect(&randn(&[5, 4], Kind::Float, 1), None).edge.unwrap().share, 0.5);
    // A report has them by rows, and the most of them on rows that are not far.
    let report = pair.check(&Config::default());
    let shares: Vec<f64> = report.layers[0].on.iter().map(|on| on.edge.unwrap().share).collect();
    assert!(shares[0] < shares[1] && shares[1] < shares[2], "farther out more lies at the bounds: {shares:?}");
    assert_eq!(report.layers[0].edge().unwrap().share, shares[1]);
}

#[test]
fn rows_that_are_not_finite_blame_no_layer() {
    let pair = Pair::new(Fault::Nothing, "", |_, _| None);
    let x = Tensor::full([2, DIM as i64], f64::NAN, (Kind::Float, Device::Cpu));
    let rows = [Rows { jacobians: 0, ..Rows::new("data", Direction::Forward, x) }];
    let report = pair.check_on(&rows, &Config::default());
    assert_eq!(failing(&report), []);
    assert!(report.layers.iter().all(|layer| layer.findings[0].what.contains("no rows reached it")));
    assert_eq!(Verdict::of(&report.whole.findings), Verdict::Fails);
}

#[test]
fn kolmogorovs_distance_is_that_of_the_definition() {
    let z = Tensor::from_slice(&[-1.0f64, 0.0, 2.0]).reshape([3, 1]);
    let latent = Latent::of(&z, &StandardNormal::new(&[1]));
    // Φ(-1) = 0.158655, Φ(0) = 1/2, Φ(2) = 0.977250; F_n steps to 1/3, 2/3, 1: 2/3 just before 2 is farthest from Φ(2).
    let c = latent.coordinates[0];
    assert!((c.distance - (0.977_249_868 - 2.0 / 3.0)).abs() < 1e-9, "{c:?}");
    assert!((c.mean - 1.0 / 3.0).abs() < 1e-12 && (c.variance - 7.0 / 3.0).abs() < 1e-12, "{c:?}");
    // 1 / (1 + e) = 0.268941 at -1, where F_n is 0 just before; at 2 the distance is 0.880797 - 2/3.
    let latent = Latent::of(&z, &Logistic::new(&[1]));
    assert!((latent.coordinates[0].distance - 0.268_941_421).abs() < 1e-9, "{latent:?}");
    assert!((latent.base_variance - 3.289_868_133).abs() < 1e-9);
}

#[test]
fn draws_of_the_base_are_told_from_it_once_in_a_hundred() {
    let bases: [Box<dyn Base>; 2] = [Box::new(StandardNormal::new(&[2000])), Box::new(Logistic::new(&[2000]))];
    for base in bases {
        let own = Latent::of(&base.sample(400, 1.0, 1, Device::Cpu), base.as_ref());
        assert!((0.004..0.018).contains(&own.told_apart()), "{base:?}: {}", own.told_apart());
        // A quarter wider, or moved by a quarter, all are.
        let wide = Latent::of(&base.sample(400, 1.5, 1, Device::Cpu), base.as_ref());
        assert!(wide.told_apart() > 0.9 && wide.median_distance() > own.critical, "{}", wide.told_apart());
    }
}
