//! Starting weights: a function of the model's seed and the variable's name, the same on every device.

use flow_core::rng;
use tch::{Kind, Tensor, nn};

/// A variable drawn uniformly within ±`bound`, the same on every device.
pub(crate) fn uniform(path: &nn::Path, name: &str, size: &[i64], bound: f64, seed: u64) -> Tensor {
    let full_name = [path.components().collect::<Vec<_>>().join("."), name.to_owned()].join(".");
    let start = if bound == 0.0 {
        Tensor::zeros(size, (Kind::Float, tch::Device::Cpu))
    } else {
        let draw = || Tensor::rand(size, (Kind::Float, tch::Device::Cpu));
        (rng::with_seed(rng::derive_seed(seed, &full_name, 0), draw) * 2.0 - 1.0) * bound
    };
    path.add(name, start.to_kind(path.kind()).to_device(path.device()), true)
}
