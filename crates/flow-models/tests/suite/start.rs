//! What a new model starts from: its size known beforehand, its weights a function of the seed alone.

use std::collections::BTreeMap;

use flow_models::{Head, MlpConfig, Model, ModelConfig, NiceConfig, Order, Pattern, RealNvpConfig};
use tch::{Device, Tensor, nn};

use crate::common::zoo;

fn weights(config: &ModelConfig, event: &[usize], seed: u64) -> BTreeMap<String, Tensor> {
    Model::new(config, event, seed, Device::Cpu).unwrap().variables()
}

#[test]
fn saved_numbers_are_counted_without_building() {
    for case in zoo() {
        let variables = weights(&case.config, &case.event, 0);
        let numbers: usize = variables.values().map(Tensor::numel).sum();
        assert_eq!(case.config.saved_numbers(&case.event).unwrap(), numbers as u128, "{}", case.name);
        assert!(variables.keys().all(|name| !name.contains("__")), "{:?}", variables.keys());
    }
}

#[test]
fn the_largest_configuration_is_counted_at_once() {
    let mut config = RealNvpConfig { couplings: 1024, order: Order::Random, ..RealNvpConfig::default() };
    config.conditioner.hidden = 1 << 16;
    config.conditioner.layers = 256;
    let (hidden, dim) = (1u128 << 16, 1u128 << 24);
    let net = (dim / 2 + 1) * hidden + 255 * (hidden + 1) * hidden + (hidden + 1) * dim;
    let numbers = ModelConfig::RealNvp(config).saved_numbers(&[1 << 24]).unwrap();
    assert_eq!(numbers, 1024 * (net + dim / 2 + dim));
}

#[test]
fn weights_depend_on_the_seed_and_on_nothing_else() {
    let cases = zoo();
    let build = |seed| -> Vec<_> { cases.iter().map(|case| weights(&case.config, &case.event, seed)).collect() };
    let here = build(5);
    // On another thread, in another order, with the process's generator elsewhere, and another thread building, too.
    let there = std::thread::scope(|scope| {
        scope.spawn(|| build(6));
        scope
            .spawn(|| {
                flow_core::rng::with_seed(99, || ());
                let mut all: Vec<_> = cases.iter().rev().map(|case| weights(&case.config, &case.event, 5)).collect();
                all.reverse();
                all
            })
            .join()
            .unwrap()
    });
    assert_eq!(here, there);
    assert!(here.iter().zip(build(6)).all(|(a, b)| *a != b));
}

#[test]
fn layers_and_shuffles_differ_from_each_other() {
    let config = ModelConfig::Nice(NiceConfig { order: Order::Random, ..NiceConfig::default() });
    let variables = weights(&config, &[12], 0);
    assert_ne!(variables["coupling_0.layer_0.weight"], variables["coupling_1.layer_0.weight"]);
    assert_ne!(variables["coupling_0.layer_1.weight"], variables["coupling_0.layer_2.weight"]);
    assert_ne!(variables["shuffle_0.order"], variables["shuffle_1.order"]);
}

#[test]
fn a_net_without_layers_is_an_error_and_leaves_no_variable() {
    let vs = nn::VarStore::new(Device::Cpu);
    let config = MlpConfig { layers: 0, ..MlpConfig::default() };
    let error = config.build(&vs.root(), 2, 1, 0).unwrap_err().to_string();
    assert!(error.contains("net.layers"), "{error}");
    assert!(vs.variables().is_empty());
}

#[test]
fn fields_out_of_range_are_named() {
    let nice = |change: &dyn Fn(&mut NiceConfig)| {
        let mut config = NiceConfig::default();
        change(&mut config);
        ModelConfig::Nice(config)
    };
    let realnvp = |text: &str| serde_json::from_str::<ModelConfig>(text).unwrap();
    let cases: [(ModelConfig, &[usize], &str); 25] = [
        (nice(&|c| c.couplings = 0), &[2], "couplings"),
        (nice(&|c| c.couplings = 1025), &[2], "couplings"),
        (nice(&|c| c.conditioner.hidden = 0), &[2], "conditioner.hidden"),
        (nice(&|c| c.conditioner.layers = 0), &[2], "conditioner.layers"),
        (nice(&|c| c.conditioner.dropout = 1.0), &[2], "conditioner.dropout"),
        (nice(&|c| c.context = usize::MAX), &[2], "context"),
        (nice(&|c| c.pattern = Pattern::Checkerboard), &[4], "pattern"),
        (nice(&|c| c.head = Head::Standardize { mean: vec![0.0], std: vec![1.0] }), &[2], "head.mean"),
        (nice(&|c| c.head = Head::Standardize { mean: vec![0.0; 2], std: vec![0.0; 2] }), &[2], "std"),
        (nice(&|c| c.head = Head::Logit { alpha: 0.5 }), &[2], "alpha"),
        (nice(&|_| ()), &[1], "event"),
        (nice(&|_| ()), &[usize::MAX, 2], "event"),
        (realnvp(r#"{"kind": "realnvp", "bound": {"fixed": 0}}"#), &[2], "bound"),
        (realnvp(r#"{"kind": "realnvp", "bound": {"learned": -1}}"#), &[2], "bound"),
        (realnvp(r#"{"kind": "glow", "levels": 3}"#), &[1, 4, 4], "levels"),
        (realnvp(r#"{"kind": "glow", "levels": 2}"#), &[4], "levels"),
        (realnvp(r#"{"kind": "glow", "depth": 0}"#), &[1, 4, 4], "depth"),
        (realnvp(r#"{"kind": "glow", "net": {"width": 0}}"#), &[1, 4, 4], "net.width"),
        (realnvp(r#"{"kind": "glow", "levels": 1, "vector_net": {"layers": 0}}"#), &[4], "vector_net.layers"),
        (realnvp(r#"{"kind": "glow", "levels": 1, "spline": {"bins": 8}}"#), &[4], "spline"),
        (realnvp(r#"{"kind": "glow", "spline": {"bins": 1}}"#), &[1, 4, 4], "spline.bins"),
        (realnvp(r#"{"kind": "glow", "spline": {"background": 1}}"#), &[1, 4, 4], "spline.background"),
        (realnvp(r#"{"kind": "realnvp-image", "checkers": 0}"#), &[1, 8, 8], "checkers"),
        (realnvp(r#"{"kind": "realnvp-image"}"#), &[64], "an image"),
        (realnvp(r#"{"kind": "realnvp-image", "classes": 65537}"#), &[1, 8, 8], "classes"),
    ];
    for (config, event, field) in cases {
        let error = Model::new(&config, event, 0, Device::Cpu).unwrap_err().to_string();
        assert!(error.contains(field), "{error:?} should name {field}");
    }
}
