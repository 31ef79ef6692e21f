//! The multilayer perceptron by this toolkit's kernels on a GPU: a layer is one of them, its bias, activation and sum, or its
//! gradient's mask, included; and the gradients of all layers are one.

use flow_core::gpu::{LayerGradients, give_layers, rounding};
use flow_core::{ConditionerBackward, ConditionerKept, Gradients};
use flow_cuda::kernels::{Second, Then, layer, layer_back};
use flow_dense::Slope;
use tch::Tensor;

use crate::mlp::Mlp;

/// `[n, inputs]` to `[n, outputs]`.
pub(crate) fn forward(net: &Mlp, slope: Slope, x: &Tensor) -> Tensor {
    let mut h = x.shallow_clone();
    for i in 0..net.hidden.len() {
        h = hidden(net, slope, i, &h).0;
    }
    outputs(net, x, &h)
}

/// What the `i`-th hidden layer gives on to the next, and its activation alone where that is another.
fn hidden(net: &Mlp, Slope(slope): Slope, i: usize, before: &Tensor) -> (Tensor, Option<Tensor>) {
    let adds = net.residual && i > 0;
    let then = Then {
        bias: Some(&net.hidden[i].bias),
        activate: true,
        added: adds.then_some(before),
        second: if adds { Second::Early } else { Second::None },
        slope,
        ..Then::default()
    };
    layer(before, &net.hidden[i].weight, &then, rounding())
}

fn outputs(net: &Mlp, x: &Tensor, last: &Tensor) -> Tensor {
    let (y, _) = layer(last, &net.out.weight, &Then { bias: Some(&net.out.bias), ..Then::default() }, rounding());
    match &net.skip {
        None => y,
        Some(skip) => layer(x, skip, &Then { added: Some(&y), ..Then::default() }, rounding()).0,
    }
}

/// What is kept for the way back.
struct Back<'a> {
    net: &'a Mlp,
    slope: f32,
    /// The net's input, then what each hidden layer gives on to the next.
    inputs: Vec<Tensor>,
    /// The activation of each hidden layer, whose signs are those of what went in.
    activations: Vec<Tensor>,
    /// Columns of the input that are a context, whose gradient nobody wants.
    context: i64,
}

/// `[n, inputs]`, the last `context` of them given, to `[n, outputs]`.
pub(crate) fn forward_keeping<'a>(net: &'a Mlp, slope: Slope, x: &Tensor, context: i64) -> ConditionerKept<'a> {
    let mut inputs = vec![x.shallow_clone()];
    let mut activations = Vec::with_capacity(net.hidden.len());
    for i in 0..net.hidden.len() {
        let (next, early) = hidden(net, slope, i, &inputs[i]);
        activations.push(early.unwrap_or_else(|| next.shallow_clone()));
        inputs.push(next);
    }
    let parameters = outputs(net, &inputs[0], &inputs[net.hidden.len()]);
    ConditionerKept { parameters, back: Box::new(Back { net, slope: slope.0, inputs, activations, context }) }
}

impl ConditionerBackward for Back<'_> {
    fn backward(self: Box<Self>, grad: &Tensor, wanted: bool, gradients: &mut dyn Gradients) -> Option<Tensor> {
        let Back { net, inputs, .. } = &*self;
        let own = self.of_layers(grad);
        let mut layers: Vec<LayerGradients> = net
            .hidden
            .iter()
            .zip(inputs)
            .zip(&own)
            .map(|((layer, input), grad)| LayerGradients {
                weight: &layer.weight,
                bias: Some(&layer.bias),
                grad,
                input,
            })
            .collect();
        let last = &inputs[net.hidden.len()];
        layers.push(LayerGradients { weight: &net.out.weight, bias: Some(&net.out.bias), grad, input: last });
        if let Some(skip) = &net.skip {
            layers.push(LayerGradients { weight: skip, bias: None, grad, input: &inputs[0] });
        }
        let grad_x = wanted.then(|| self.of_input(&own[0], grad));
        give_layers(gradients, &layers);
        grad_x
    }
}

impl Back<'_> {
    /// The gradient of each hidden layer before its activation.
    fn of_layers(&self, grad: &Tensor) -> Vec<Tensor> {
        let Back { net, slope, activations, .. } = self;
        let mut own: Vec<Tensor> = Vec::with_capacity(net.hidden.len());
        // The gradient of what residual layers have come to.
        let mut sum: Option<Tensor> = None;
        for i in (0..net.hidden.len()).rev() {
            let (weight, above) = match own.last() {
                None => (&net.out.weight, grad),
                Some(above) => (&net.hidden[i + 1].weight, above),
            };
            // Of the sum, where a layer added to it or will.
            let adds = net.residual && i > 0;
            let then = Then {
                gate: Some(&activations[i]),
                added: sum.as_ref(),
                second: if adds || sum.is_some() { Second::Gated } else { Second::None },
                slope: *slope,
                ..Then::default()
            };
            let (first, gated) = layer_back(above, weight, &then, rounding());
            own.push(match gated {
                None => first,
                Some(gated) => {
                    sum = Some(first);
                    gated
                }
            });
        }
        own.reverse();
        own
    }

    /// That of the net's input, without the context.
    fn of_input(&self, first: &Tensor, grad: &Tensor) -> Tensor {
        let net = self.net;
        let (through, _) = layer_back(first, &net.hidden[0].weight, &Then::default(), rounding());
        let all = match &net.skip {
            None => through,
            Some(skip) => layer_back(grad, skip, &Then { added: Some(&through), ..Then::default() }, rounding()).0,
        };
        all.narrow(1, 0, all.size()[1] - self.context)
    }
}

#[cfg(test)]
mod tests {
    use flow_core::{ToParameters, gradient_of};
    use flow_cuda::kernels::emulated;
    use tch::{Device, Kind, nn};

    use super::*;
    use crate::{MlpConfig, WeightInit};

    /// A weight that is not trained leaves its bias trained.
    #[test]
    fn parameters_that_are_not_trained() {
        let vs = nn::VarStore::new(Device::Cpu);
        let config = MlpConfig {
            hidden: 20,
            layers: 2,
            init: WeightInit::Uniform(0.3),
            zero_last: false,
            ..MlpConfig::default()
        };
        let net = config.build(&vs.root(), 5, 3, 1).unwrap();
        let frozen = ["layer_0.weight", "layer_1.bias", "out.weight"];
        let mut variables = vs.variables();
        for name in frozen {
            let _ = variables.get_mut(name).expect("it is one").set_requires_grad(false);
        }
        let draw = |columns| {
            flow_core::rng::with_seed(columns as u64, || Tensor::randn([7, columns], (Kind::Float, Device::Cpu)))
        };
        let (x, grad) = (draw(5), draw(3));
        (net.run(&x) * &grad).sum(None::<Kind>).backward();
        let trained: Vec<(&String, Tensor)> =
            variables.iter().filter_map(|(name, variable)| Some((name, gradient_of(variable)?))).collect();
        assert_eq!(trained.len(), variables.len() - frozen.len());
        let expected: Vec<Tensor> = trained.iter().map(|(_, gradient)| gradient.copy()).collect();
        trained.iter().for_each(|(_, gradient)| drop(gradient.shallow_clone().zero_()));
        emulated(|| {
            flow_core::no_grad(|| {
                forward_keeping(&net, Slope(0.0), &x, 0).back.backward(&grad, false, &mut ToParameters)
            });
        });
        for ((name, here), expected) in trained.iter().zip(&expected) {
            assert!((here - expected).abs().max().double_value(&[]) < 1e-5, "{name}");
        }
    }
}
