//! Times conditioners: the original's fully connected nets in training and on a single row, and the convolutional ones of
//! the preset `cpu` within their models.

use criterion::{Criterion, criterion_group, criterion_main};
use flow_core::Conditioner;
use flow_models::{MlpConfig, Model, Preset, preset};
use tch::{Device, Kind, Tensor, nn};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Rows, inputs and outputs, and hidden layers: NICE and RealNVP on moons, NICE and RealNVP on MNIST.
const SHAPES: [(i64, usize, usize, usize); 4] =
    [(1000, 1, 1, 2), (1000, 1, 2, 3), (128, 392, 392, 4), (128, 392, 784, 5)];

fn mlp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("conditioner");
    for (rows, inputs, outputs, layers) in SHAPES {
        let vs = nn::VarStore::new(Device::Cpu);
        let config = MlpConfig { layers, zero_last: false, ..MlpConfig::default() };
        let net = config.build(&vs.root(), inputs, outputs, 0).expect("a net");
        let parameters = vs.trainable_variables();
        let x = Tensor::randn([rows, inputs as i64], CPU);
        let name = |what: &str| format!("{what}_{inputs}_to_{outputs}_by_{layers}");
        group.bench_function(name(&format!("forward_backward_{rows}")), |bencher| {
            bencher.iter(|| {
                let loss = net.forward(&x, None).square().sum(None::<Kind>);
                Tensor::run_backward(&[loss], &parameters, false, false)
            });
        });
        let one = x.narrow(0, 0, 1);
        group.bench_function(name("forward_1"), |bencher| {
            bencher.iter(|| tch::no_grad(|| net.forward(&one, None)));
        });
    }
    group.finish();
}

fn convolutional(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("image_model");
    group.sample_size(10);
    let event = [1, 28, 28];
    for (name, config) in [
        ("glow_cpu", preset::glow(Preset::Cpu, &event, 0)),
        ("realnvp_image_cpu", preset::realnvp_image(Preset::Cpu, &event, 0)),
    ] {
        let model = Model::new(&config, &event, 0, Device::Cpu).expect("a model");
        let parameters = model.vs().trainable_variables();
        let x = Tensor::rand([32, 784], CPU);
        group.bench_function(format!("{name}_forward_backward_32"), |bencher| {
            bencher.iter(|| {
                let loss = model.flow().log_prob(&x, None).mean(None);
                Tensor::run_backward(&[loss], &parameters, false, false)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, mlp, convolutional);
criterion_main!(benches);
