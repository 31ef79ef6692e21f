//! Times what a training step is made of, and whole steps: the seed nets on moons and on rows of 784, batches of images
//! with their noise, and Adam over six million numbers.

use std::ops::ControlFlow;

use criterion::{Criterion, criterion_group, criterion_main};
use flow_core::rng::with_seed;
use flow_data::{DataSet, LoadOptions, Preprocessing, Source, Spec, Split, Values};
use flow_models::{Model, Preset};
use flow_train::adam::{Adam, Group};
use flow_train::batches::{Batches, DeviceRows};
use flow_train::flat::FlatParameters;
use flow_train::{Event, RunConfig, Trainer};
use ndarray::Array2;
use tch::Device;

/// As many and as large images as MNIST has for training, of some greys.
fn images(rows: usize) -> Source {
    let data = Array2::from_shape_fn((rows, 784), |(i, j)| (i * 31 + j * 17) as u8);
    Source::Fixed(Split::new(Values::Levels { data, levels: 256 }, vec![1, 28, 28], None).expect("images"))
}

fn like_mnist() -> DataSet {
    let Source::Fixed(few) = images(1) else { unreachable!() };
    DataSet {
        spec: Spec::Mnist,
        event_shape: vec![1, 28, 28],
        preprocessing: Preprocessing::Levels { levels: 256, height: 28, width: 28, channels: 1 },
        train: images(10_000),
        validation: few.clone(),
        test: few,
        notes: Vec::new(),
    }
}

fn trainer(model: &str, preset: Preset, data: &DataSet) -> Trainer {
    let mut config = RunConfig::preset(model, preset, data.spec.clone(), data).expect("a preset");
    config.set("device=cpu").expect("a device");
    // Steps alone: neither validation nor a decay of the rate.
    config.set("train.schedule=constant").expect("a schedule");
    config.train.steps = 1 << 40;
    config.train.validate_every = 1 << 40;
    Trainer::new(config, data.clone()).expect("a trainer")
}

fn step(criterion: &mut Criterion) {
    let moons = flow_data::load(&Spec::Moons, &LoadOptions::default()).expect("moons");
    let mnist = like_mnist();
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10);
    for (model, preset, data, name) in [
        ("nice", Preset::Seed, &moons, "seed_1000x2"),
        ("realnvp", Preset::Seed, &moons, "seed_1000x2"),
        ("nice", Preset::Seed, &mnist, "seed_128x784"),
        ("realnvp", Preset::Seed, &mnist, "seed_128x784"),
        ("nice", Preset::Default, &mnist, "default_128x784"),
        ("realnvp", Preset::Default, &mnist, "default_128x784"),
    ] {
        let mut trainer = None;
        group.bench_function(format!("{model}_{name}"), |bencher| {
            let trainer = trainer.get_or_insert_with(|| self::trainer(model, preset, data));
            let mut one = |event: &Event| match event {
                Event::Step { .. } => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            };
            bencher.iter(|| trainer.run(&mut one).expect("a step"));
        });
    }
}

fn gather(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    for size in [128, 512] {
        let mut batches = Batches::new(&images(50_000), size, 0, 0, Device::Cpu).expect("no classes are asked for");
        let mut step = 0;
        group.bench_function(format!("gather_dequantize_{size}x784"), |bencher| {
            bencher.iter(|| {
                step += 1;
                let pick = batches.pick(step);
                with_seed(step, || pick.batch())
            });
        });
    }
}

fn dequantize(criterion: &mut Criterion) {
    let Source::Fixed(split) = images(1_000) else { unreachable!() };
    let rows = DeviceRows::new(&split, Device::Cpu);
    criterion.bench_function("dequantize_1000x784", |bencher| bencher.iter(|| rows.dequantized(0, 1_000, 0)));
}

fn adam(criterion: &mut Criterion) {
    let data = like_mnist();
    let config = RunConfig::preset("nice", Preset::Seed, Spec::Mnist, &data).expect("a preset");
    let model = Model::new(&config.model, &data.event_shape, 0, Device::Cpu).expect("a model");
    let flat = FlatParameters::new(&model);
    let groups = vec![Group { rate: 1.0, decay: 0.0 }; flat.places().len()];
    // Of units that have died, after the steps in which what is left of their moments decays to nothing.
    for (name, gradient, before) in [("adam", 1e-3, 0), ("adam_dead", 0.0, 1_000)] {
        let mut adam = Adam::new(&flat, groups.clone(), (0.9, 0.999), 1e-8);
        let _ = adam.moments().first.shallow_clone().fill_(1e-3);
        let _ = flat.gradients().shallow_clone().fill_(gradient);
        let mut t = 0;
        let mut step = || {
            t += 1;
            adam.step(&flat, 1e-6, t, 1.0);
        };
        (0..before).for_each(|_| step());
        criterion.bench_function(&format!("{name}_{}", model.parameters()), |bencher| bencher.iter(&mut step));
    }
}

criterion_group!(benches, step, gather, dequantize, adam);
criterion_main!(benches);
