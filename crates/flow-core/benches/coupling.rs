//! Times forward and backward pass of a coupling layer: additive and affine, on rows of 784 and on points of the plane.

use criterion::{Criterion, criterion_group, criterion_main};
use flow_core::{Bijection, Bound, Conditioner, Coupling, Law, Mask};
use tch::{Device, Kind, Tensor, nn};

/// Two hidden layers of 512.
#[derive(Debug)]
struct Mlp(nn::Sequential);

impl Mlp {
    fn new(path: &nn::Path, kept: usize, outputs: usize) -> Self {
        let linear = |i, inputs, outputs| nn::linear(path / i, inputs, outputs, nn::LinearConfig::default());
        let net = nn::seq().add(linear(0, kept as i64, 512)).add_fn(Tensor::relu);
        let net = net.add(linear(1, 512, 512)).add_fn(Tensor::relu);
        Mlp(net.add(linear(2, 512, outputs as i64)))
    }
}

impl Conditioner for Mlp {
    fn forward(&self, kept: &Tensor, _context: Option<&Tensor>) -> Tensor {
        kept.apply(&self.0)
    }
}

fn coupling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("coupling_forward_backward");
    for (rows, dim) in [(128, 784), (1000, 2)] {
        for name in ["additive", "affine"] {
            let vs = nn::VarStore::new(Device::Cpu);
            let mask = Mask::alternating(dim, false).expect("a mask");
            let law = match name {
                "additive" => Law::Additive,
                _ => Law::Affine { bound: Bound::Fixed(1.0) },
            };
            let net = Mlp::new(&vs.root(), mask.kept().len(), mask.changed().len() * law.parameters());
            let layer = Coupling::new(mask, net, law);
            let x = Tensor::randn([rows, dim as i64], (Kind::Float, Device::Cpu));
            let parameters = vs.trainable_variables();
            group.bench_function(format!("{name}_{rows}x{dim}"), |bencher| {
                bencher.iter(|| {
                    let (z, log_det) = layer.forward(&x, None);
                    let loss = z.square().sum(None::<Kind>) * 0.5 - log_det.sum(None::<Kind>);
                    Tensor::run_backward(&[loss], &parameters, false, false)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, coupling);
criterion_main!(benches);
