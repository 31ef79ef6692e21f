//! What it costs to watch that a training stays finite, beside the step that is watched: `cargo bench -p flow-train --bench
//! watch`. At every step two numbers that the step has anyway are looked at, and the running moments of batch normalisation
//! are copied; at every save the likelihood and gradient of one batch and four passes over the parameters come on top: the
//! difference between a step that is kept, in memory, and one that is not.

use std::ops::ControlFlow;

use criterion::{Criterion, criterion_group, criterion_main};
use flow_data::{LoadOptions, Spec};
use flow_models::Preset;
use flow_train::{Event, RunConfig, Trainer};
use tch::{Kind, Tensor};

fn trainer(model: &str, fields: &[&str]) -> Trainer {
    let data = flow_data::load(&Spec::Digits, &LoadOptions::default()).expect("digits");
    let mut config = RunConfig::preset(model, Preset::Cpu, Spec::Digits, &data).expect("a preset");
    for field in ["device=cpu", "train.schedule=constant", "train.validate_every=1000000000", "train.steps=1000000000"]
        .iter()
        .chain(fields)
    {
        config.set(field).expect("a field");
    }
    Trainer::new(config, data).expect("a trainer")
}

fn watch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watch");
    group.sample_size(20);
    for (name, model, fields) in [
        ("realnvp", "realnvp", &[][..]),
        ("realnvp-image with running moments", "realnvp-image", &["model.net.norm=batch"][..]),
    ] {
        let mut trainer = trainer(model, fields);
        let mut one = |event: &Event| match event {
            Event::Step { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        group.bench_function(format!("{name}: a step"), |bencher| {
            bencher.iter(|| trainer.run(&mut one).expect("a step"));
        });
        let mut keeping = self::trainer(model, &[fields, &["train.on_divergence=rewind"]].concat());
        group.bench_function(format!("{name}: a step that is kept"), |bencher| {
            bencher.iter(|| keeping.run(&mut one).expect("a step"));
        });
        let variables = trainer.model().variables();
        let moving: Vec<&Tensor> =
            variables.values().filter(|v| !v.requires_grad() && v.kind() == Kind::Float).collect();
        let moving = if fields.is_empty() { Vec::new() } else { moving };
        group.bench_function(format!("{name}: copying what moves"), |bencher| {
            bencher.iter(|| moving.iter().map(|moment| moment.copy()).collect::<Vec<_>>());
        });
    }
}

criterion_group!(benches, watch);
criterion_main!(benches);
