//! Learning rates: the schedule's closed form, factors by prefix of a name, and decay of the conditioners' weights alone.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use flow_data::Spec;
use flow_train::{Schedule, TrainConfig, Trainer};
use tch::Tensor;

use crate::{tiny, watch};

#[test]
fn warm_up_rises_in_a_line_and_the_cosine_falls_to_nothing() {
    let train = TrainConfig { steps: 110, warmup: 10, learning_rate: 0.5, ..TrainConfig::default() };
    for step in 0..10 {
        assert_eq!(train.rate(step), 0.5 * (step + 1) as f64 / 10.0);
    }
    for step in 10..110 {
        let expected = 0.25 * (1.0 + (PI * (step - 10) as f64 / 100.0).cos());
        assert!((train.rate(step) - expected).abs() < 1e-15, "step {step}");
    }
    assert_eq!(train.rate(10), 0.5);
    assert!(train.rate(60) - 0.25 < 1e-15 && train.rate(109) < 0.5 * 3e-4);
    assert!(train.rate(110) < 1e-15 && train.rate(1_000) < 1e-15);
}

#[test]
fn constant_stays_and_odd_lengths_do_not_break_it() {
    let constant = TrainConfig { warmup: 0, schedule: Schedule::Constant, steps: 7, ..TrainConfig::default() };
    assert!((0..20).all(|step| constant.rate(step) == 1e-3));
    let all_warmup = TrainConfig { warmup: 50, steps: 10, ..TrainConfig::default() };
    assert!((0..100).all(|step| (0.0..=1e-3).contains(&all_warmup.rate(step))));
}

fn variables(trainer: &Trainer) -> BTreeMap<String, Tensor> {
    let trained = trainer.model().variables().into_iter().filter(|(_, variable)| variable.requires_grad());
    trained.map(|(name, variable)| (name, variable.detach().copy())).collect()
}

/// Variables before and after one step.
fn one_step(fields: &[&str]) -> (BTreeMap<String, Tensor>, BTreeMap<String, Tensor>) {
    let more = [
        "train.steps=1",
        "train.warmup=0",
        "train.batch=30",
        "train.learning_rate=3e-3",
        "train.rates={}",
        "train.weight_decay=0",
        "train.clip=0",
        "model.conditioner.zero_last=false",
    ];
    let (config, data) = tiny("nice", Spec::Moons, &[&more, fields].concat());
    let mut trainer = Trainer::new(config, data).unwrap();
    let before = variables(&trainer);
    trainer.run(&mut watch).unwrap();
    (before, variables(&trainer))
}

#[test]
fn factors_go_by_the_beginning_of_a_name_and_multiply() {
    let fields = ["train.rates.scaling=4", "train.rates.coupling_0=0", "train.rates.coupling_1.out=3"];
    let (before, plain) = one_step(&[]);
    let (_, factored) = one_step(&[&fields[..], &["train.rates.coupling_1=0.5"]].concat());
    for (name, before) in &before {
        let factor = match name.as_str() {
            name if name.starts_with("scaling") => 4.0,
            name if name.starts_with("coupling_0") => 0.0,
            name if name.starts_with("coupling_1.out") => 1.5,
            _ => 0.5,
        };
        let (moved, expected) = (&factored[name] - before, (&plain[name] - before) * factor);
        assert!(expected.abs().max().double_value(&[]) > 0.0 || factor == 0.0, "{name} moves at all");
        let off = (moved - expected).abs().max().double_value(&[]);
        assert!(off < 1e-6, "{name}: {off}");
    }
}

#[test]
fn only_weights_of_conditioners_decay() {
    let (before, plain) = one_step(&[]);
    let (_, decayed) = one_step(&["train.weight_decay=0.5"]);
    for (name, before) in &before {
        let weight = name.ends_with(".weight");
        let expected = if weight { before * (-3e-3 * 0.5) } else { before.zeros_like() };
        let off = (&decayed[name] - &plain[name] - expected).abs().max().double_value(&[]);
        assert!(off < 1e-7, "{name}: {off}");
        assert_eq!(decayed[name] == plain[name], !weight, "{name}");
    }
}
