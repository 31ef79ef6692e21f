//! Multilayer perceptrons that are trained no more: their numbers, packed where they get smaller, beside the parameters. One or two
//! rows go by them, without a call of libtorch.

use std::fmt;

use flow_core::dense::{numbers, numbers_bf16, threads};
use flow_core::plain::PlainConditioner;
use flow_dense::{Bf16, Held, Layer, Packed, Slope, Weight, through_layers};
use tch::{Kind, Tensor};

use crate::mlp::{self, Mlp};
use crate::mlp_dense::side_by_side;

/// Layers, hidden ones before the last one.
pub(crate) struct Frozen {
    layers: Vec<FrozenLayer>,
    skip: Option<Own>,
}

struct FrozenLayer {
    weight: Own,
    bias: Vec<f32>,
    activation: Option<Slope>,
    residual: bool,
}

/// A weight of its own.
enum Own {
    Packed(Packed),
    Full { numbers: Vec<f32>, inputs: usize },
    Half { numbers: Vec<Bf16>, inputs: usize },
}

impl Own {
    fn new(weight: &Tensor) -> Self {
        let inputs = weight.size()[1] as usize;
        if weight.kind() == Kind::BFloat16 {
            let numbers = numbers_bf16(weight);
            let packed = worth(true).then(|| Packed::of_bf16(Weight::new(numbers, inputs))).flatten();
            packed.map_or_else(|| Own::Half { numbers: numbers.to_vec(), inputs }, Own::Packed)
        } else {
            let numbers = numbers(weight);
            let packed = worth(false).then(|| Packed::new(Weight::new(numbers, inputs))).flatten();
            packed.map_or_else(|| Own::Full { numbers: numbers.to_vec(), inputs }, Own::Packed)
        }
    }

    fn held(&self) -> Held<'_> {
        match self {
            Own::Packed(packed) => Held::Packed(packed),
            Own::Full { numbers, inputs } => Weight::new(numbers, *inputs).into(),
            Own::Half { numbers, inputs } => Weight::new(numbers, *inputs).into(),
        }
    }
}

fn worth(of_bf16: bool) -> bool {
    Packed::most_rows(of_bf16) > 0
}

impl FrozenLayer {
    fn layer(&self) -> Layer<'_> {
        let FrozenLayer { ref weight, ref bias, activation, residual } = *self;
        Layer { weight: weight.held(), bias, activation, residual }
    }
}

impl Frozen {
    pub(crate) fn new(net: &Mlp, slope: Slope) -> Self {
        let layer = |layer: &mlp::Layer, activation, residual| FrozenLayer {
            weight: Own::new(&layer.weight),
            bias: numbers(&layer.bias).to_vec(),
            activation,
            residual,
        };
        let hidden = net.hidden.iter().enumerate().map(|(i, own)| layer(own, Some(slope), net.residual && i > 0));
        Frozen { layers: hidden.chain([layer(&net.out, None, false)]).collect(), skip: net.skip.as_ref().map(Own::new) }
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Frozen({} layers)", self.layers.len())
    }
}

impl PlainConditioner for &Frozen {
    fn size(&self) -> (usize, usize) {
        (self.layers[0].weight.held().inputs(), self.layers[self.layers.len() - 1].bias.len())
    }

    fn run(&self, x: &[f32], apart: usize, y: &mut [f32]) {
        let (inputs, outputs) = self.size();
        let layers: Vec<Layer> = self.layers.iter().map(FrozenLayer::layer).collect();
        let skip = self.skip.as_ref().map(Own::held);
        let x = side_by_side(x, apart, (y.len() / outputs, inputs));
        through_layers(&layers, skip, &x, y, threads());
    }
}

#[cfg(test)]
mod tests {
    use flow_core::Conditioner;
    use tch::{Device, nn};

    use super::*;
    use crate::MlpConfig;

    #[test]
    fn what_gets_smaller_is_packed() {
        let config = MlpConfig { hidden: 79, layers: 3, zero_last: false, ..MlpConfig::default() };
        let vs = nn::VarStore::new(Device::Cpu);
        let mut net = config.build(&vs.root(), 3, 79, 1).unwrap();
        net.freeze();
        assert_eq!(net.frozen.is_some(), flow_dense::available());
        if let Some(frozen) = net.frozen {
            let packed = frozen.layers.iter().map(|layer| matches!(layer.weight, Own::Packed(_)));
            // Three columns are less than a line.
            assert_eq!(packed.collect::<Vec<_>>(), [false, true, true, true]);
        }
    }
}
