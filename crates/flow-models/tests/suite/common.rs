//! Small models of every kind, with parameters that are no longer at their start.

use flow_core::rng::{derive_seed, with_seed};
use flow_models::{
    Activation, BaseKind, BoundConfig, ConvNetConfig, CouplingKind, GlowConfig, Head, Mixing, MlpConfig, Model,
    ModelConfig, MultiscaleRealNvpConfig, NiceConfig, Norm, Order, Order2x2, Pattern, RealNvpConfig, Scaling,
    SplineConfig,
};
use tch::{Device, Kind, Tensor};

/// A configuration, the shape of its events, and what it is, for messages.
pub struct Case {
    pub name: String,
    pub config: ModelConfig,
    pub event: Vec<usize>,
}

/// NICE and RealNVP in every pattern and order, on even and odd dimensions (but for odd ones reversed, which are
/// refused); the other features take turns; then the multi-scale models.
pub fn zoo() -> Vec<Case> {
    let layouts: [(Pattern, &[usize]); 7] = [
        (Pattern::Halves, &[2]),
        (Pattern::Halves, &[5]),
        (Pattern::Alternating, &[4]),
        (Pattern::Alternating, &[5]),
        (Pattern::Alternating, &[1, 3, 3]),
        (Pattern::Checkerboard, &[1, 3, 3]),
        (Pattern::Checkerboard, &[2, 2, 3]),
    ];
    let orders = [Order::Flip, Order::Reverse, Order::Random];
    let layouts = layouts.into_iter().flat_map(|layout| orders.map(|order| (layout, order)));
    let mut cases = Vec::new();
    for (i, ((pattern, event), order)) in layouts.enumerate() {
        let dim = event.iter().product::<usize>();
        if order == Order::Reverse && dim % 2 == 1 {
            continue;
        }
        for (j, nice) in [true, false].into_iter().enumerate() {
            let config = features(2 * i + j, nice, pattern, order, dim);
            let name = format!("{} {event:?}", serde_json::to_string(&config).unwrap());
            cases.push(Case { name, config, event: event.to_vec() });
        }
    }
    for (config, event) in multiscale() {
        let name = format!("{} {event:?}", serde_json::to_string(&config).unwrap());
        cases.push(Case { name, config, event });
    }
    cases
}

/// Glow and multi-scale RealNVP: every coupling, mixing, squeeze, net and normalisation, on even and odd sides, and on
/// vectors.
fn multiscale() -> Vec<(ModelConfig, Vec<usize>)> {
    let net = ConvNetConfig { width: 3, activation: Activation::Silu, ..ConvNetConfig::default() };
    let residual = |norm| ConvNetConfig { residual: true, norm, ..net.clone() };
    let head = Head::Logit { alpha: 0.05 };
    let glow = GlowConfig { head: head.clone(), depth: 1, levels: 2, net: net.clone(), ..GlowConfig::default() };
    let additive = GlowConfig {
        coupling: CouplingKind::Additive,
        mixing: Mixing::Plain,
        actnorm: true,
        checkers: 2,
        checker_net: ConvNetConfig { residual: true, pointwise: true, ..net.clone() },
        bins: 3,
        classes: 3,
        net: ConvNetConfig { blocks: 2, norm: Norm::Weight, ..net.clone() },
        ..glow.clone()
    };
    let vector = GlowConfig {
        head: Head::None,
        levels: 1,
        depth: 2,
        vector_net: MlpConfig { hidden: 5, layers: 1, activation: Activation::Tanh, ..MlpConfig::default() },
        ..glow.clone()
    };
    let realnvp = |norm| MultiscaleRealNvpConfig {
        head: head.clone(),
        levels: 2,
        checkers: 1,
        channels: 2,
        net: residual(norm),
        ..MultiscaleRealNvpConfig::default()
    };
    let plain = MultiscaleRealNvpConfig { priors: false, bound: BoundConfig::Fixed(0.7), ..realnvp(Norm::None) };
    let spline = Some(SplineConfig { bins: 3, background: 0.4 });
    let classes = MultiscaleRealNvpConfig { classes: 2, actnorm: true, spline, ..realnvp(Norm::Weight) };
    let position = GlowConfig {
        squeeze: Order2x2::PositionMajor,
        learned_top: false,
        levels: 1,
        checkers: 1,
        checker_net: net.clone(),
        ..glow.clone()
    };
    vec![
        (ModelConfig::Glow(glow.clone()), vec![1, 4, 4]),
        (ModelConfig::Glow(GlowConfig { coupling: CouplingKind::Spline, ..vector.clone() }), vec![3]),
        (ModelConfig::Glow(glow), vec![1, 5, 6]),
        (ModelConfig::Glow(additive), vec![1, 4, 4]),
        (ModelConfig::Glow(position), vec![2, 2, 3]),
        (ModelConfig::Glow(GlowConfig { classes: 2, ..vector.clone() }), vec![5]),
        (ModelConfig::Glow(vector), vec![2]),
        (ModelConfig::RealNvpImage(realnvp(Norm::Batch)), vec![1, 4, 4]),
        (ModelConfig::RealNvpImage(classes), vec![1, 4, 5]),
        (ModelConfig::RealNvpImage(plain), vec![1, 4, 4]),
    ]
}

fn features(index: usize, nice: bool, pattern: Pattern, order: Order, dim: usize) -> ModelConfig {
    // One of `n` for this feature of this case: fixed, but without a pattern that ties features to each other.
    let turn = |feature: &str, n: u64| derive_seed(0, feature, index as u64) % n;
    let head = match turn("head", 3) {
        0 => Head::None,
        1 => Head::Standardize {
            mean: (0..dim).map(|i| 0.1 * i as f64).collect(),
            std: (0..dim).map(|i| 0.5 + 0.2 * i as f64).collect(),
        },
        _ => Head::Logit { alpha: 0.05 },
    };
    let activation = match turn("activation", 5) {
        0 => Activation::Relu,
        1 => Activation::LeakyRelu,
        2 => Activation::Silu,
        3 => Activation::Gelu,
        _ => Activation::Tanh,
    };
    let conditioner = MlpConfig {
        hidden: 6,
        layers: 1 + turn("layers", 3) as usize,
        residual: turn("residual", 2) == 0,
        skip: turn("skip", 2) == 0,
        activation,
        dropout: 0.5,
        ..MlpConfig::default()
    };
    let couplings = 2 + turn("couplings", 2) as usize;
    let base = if turn("base", 2) == 0 { BaseKind::Normal } else { BaseKind::Logistic };
    let scaling = match turn("scaling", 3) {
        0 => Scaling::None,
        1 => Scaling::One,
        _ => Scaling::Data,
    };
    let context = 2 * turn("context", 2) as usize;
    if nice {
        return ModelConfig::Nice(NiceConfig { head, couplings, pattern, order, conditioner, base, scaling, context });
    }
    ModelConfig::RealNvp(RealNvpConfig {
        head,
        actnorm: turn("actnorm", 2) == 0,
        couplings,
        pattern,
        order,
        conditioner,
        bound: if turn("bound", 2) == 0 { BoundConfig::Fixed(0.7) } else { BoundConfig::Learned(1.0) },
        scaling,
        base,
        context,
    })
}

/// A model on the CPU whose trained parameters are all away from their start.
pub fn randomised(config: &ModelConfig, event: &[usize]) -> Model {
    let model = Model::new(config, event, 3, Device::Cpu).expect("a sound configuration");
    // What starts from data is moved by it, running moments among them.
    let (x, context) = batch(&model, 16);
    let _ = tch::no_grad(|| model.flow().bijection().start_from_data(&x, context.as_ref()));
    for (i, (_, variable)) in model.variables().into_iter().enumerate() {
        if variable.requires_grad() {
            tch::no_grad(|| variable.shallow_clone().copy_(&(normal(&variable.size(), i as u64) * 0.3)));
        }
    }
    model
}

/// Rows for a model, inside the unit cube, where every head is at home, and the context that it wants.
pub fn batch(model: &Model, rows: i64) -> (Tensor, Option<Tensor>) {
    let dim = model.event().iter().product::<usize>() as i64;
    let x = with_seed(17, || Tensor::rand([rows, dim], (Kind::Float, Device::Cpu))) * 0.9 + 0.05;
    let width = model.config().context() as i64;
    (x, (width > 0).then(|| normal(&[rows, width], 18)))
}

/// Standard normals in f32.
pub fn normal(size: &[i64], seed: u64) -> Tensor {
    with_seed(seed, || Tensor::randn(size, (Kind::Float, Device::Cpu)))
}

/// Log-densities of [`batch`].
pub fn log_prob(model: &Model) -> Vec<f32> {
    let (x, context) = batch(model, 7);
    tch::no_grad(|| model.flow().log_prob(&x, context.as_ref())).try_into().expect("a vector")
}
