//! Times layers of Glow: the 1x1 convolution in both its forms, forward and backward and back to the data, and what the
//! log-determinants cost by themselves, on a single pixel.

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use flow_core::{ActNorm, Bijection, Conv1x1};
use tch::{Device, Kind, Tensor, nn};

/// A bijection of a kind on so many channels.
fn layer(kind: &str, vs: &nn::VarStore, channels: usize) -> Box<dyn Bijection> {
    match kind {
        "plain" => Box::new(Conv1x1::plain(&vs.root(), channels, 0)),
        "lu" => Box::new(Conv1x1::lu(&vs.root(), channels, 0)),
        _ => Box::new(ActNorm::new(&vs.root(), channels)),
    }
}

/// Forward and backward pass of a layer on images of so many pixels a side.
fn forward_backward(group: &mut BenchmarkGroup<WallTime>, kind: &str, rows: i64, channels: usize, side: i64) {
    let vs = nn::VarStore::new(Device::Cpu);
    let layer = layer(kind, &vs, channels);
    let x = Tensor::randn([rows, channels as i64, side, side], (Kind::Float, Device::Cpu));
    let parameters = vs.trainable_variables();
    group.bench_function(format!("{kind}_{rows}x{channels}x{side}x{side}"), |bencher| {
        bencher.iter(|| {
            let (z, log_det) = layer.forward(&x, None);
            let loss = z.square().sum(None::<Kind>) * 0.5 - log_det.sum(None::<Kind>);
            Tensor::run_backward(&[loss], &parameters, false, false)
        });
    });
}

/// The shapes of the two levels of Glow on MNIST.
fn conv1x1(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("conv1x1_forward_backward");
    for kind in ["plain", "lu"] {
        forward_backward(&mut group, kind, 32, 4, 14);
        forward_backward(&mut group, kind, 32, 8, 7);
    }
    group.finish();
    let mut group = criterion.benchmark_group("conv1x1_inverse");
    for kind in ["plain", "lu"] {
        let vs = nn::VarStore::new(Device::Cpu);
        let layer = layer(kind, &vs, 8);
        let z = Tensor::randn([32, 8, 7, 7], (Kind::Float, Device::Cpu));
        group.bench_function(kind, |bencher| bencher.iter(|| tch::no_grad(|| layer.inverse(&z, None))));
    }
    group.finish();
}

fn log_det(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log_det");
    for channels in [8, 48] {
        for kind in ["plain", "lu", "actnorm"] {
            forward_backward(&mut group, kind, 1, channels, 1);
        }
    }
    group.finish();
}

criterion_group!(benches, conv1x1, log_det);
criterion_main!(benches);
