//! What several tests share: a small conditioner, and stores of parameters that are not trivial.

use flow_core::{Conditioner, rng};
use tch::{Device, Kind, Tensor, nn};

/// A smooth net with one hidden layer of 8, which listens to a context when it is given one.
#[derive(Debug)]
pub struct TestNet {
    hidden: nn::Linear,
    context: nn::Linear,
    output: nn::Linear,
}

/// Width of the context that [`TestNet`] takes.
pub const CONTEXT: i64 = 3;

impl TestNet {
    pub fn new(path: &nn::Path, kept: usize, outputs: usize) -> Self {
        // Under the lock like every draw: one from outside would fall between another test's seed and its draw.
        let linear = |name: &str, inputs, outputs| {
            rng::with_seed(0, || nn::linear(path / name, inputs, outputs, nn::LinearConfig::default()))
        };
        TestNet {
            hidden: linear("hidden", kept as i64, 8),
            context: linear("context", CONTEXT, 8),
            output: linear("output", 8, outputs as i64),
        }
    }
}

impl Conditioner for TestNet {
    fn forward(&self, kept: &Tensor, context: Option<&Tensor>) -> Tensor {
        let hidden = kept.apply(&self.hidden);
        let hidden = match context {
            None => hidden,
            Some(context) => hidden + context.apply(&self.context),
        };
        hidden.tanh().apply(&self.output)
    }
}

/// Where maps and batches lie: the processor, or the GPU that `FLOW_TEST_DEVICE=cuda` asks for.
pub fn device() -> Device {
    match std::env::var("FLOW_TEST_DEVICE").as_deref() {
        Ok("cuda") => Device::Cuda(0),
        _ => Device::Cpu,
    }
}

/// A store whose new variables are of `kind`.
pub fn store(kind: Kind) -> nn::VarStore {
    let mut vs = nn::VarStore::new(device());
    vs.set_kind(kind);
    vs
}

/// Gives every trained parameter a number from N(0, 0.5²), so that no sign or factor can hide behind a 0 or a 1.
pub fn randomize(vs: &nn::VarStore, seed: u64) {
    let mut named: Vec<_> = vs.variables().into_iter().filter(|(_, v)| v.requires_grad()).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    for (i, (_, mut variable)) in named.into_iter().enumerate() {
        let values = randn(&variable.size(), variable.kind(), rng::derive_seed(seed, "parameter", i as u64));
        tch::no_grad(|| variable.copy_(&(values * 0.5)));
    }
}

/// Standard normals, the same for every kind.
pub fn randn(size: &[i64], kind: Kind, seed: u64) -> Tensor {
    rng::with_seed(seed, || Tensor::randn(size, (Kind::Double, Device::Cpu))).to_kind(kind).to_device(device())
}
