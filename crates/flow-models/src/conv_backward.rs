//! The gradients of a convolutional net by hand, for GPUs: where cuDNN's own gradients of filters either differ in their last
//! bits from run to run or take twice as long.

use flow_core::product::{conv2d, conv2d_grad_input, conv2d_grads_by_image};
use flow_core::{ConditionerBackward, ConditionerKept, Gradients};
use tch::{Kind, Tensor};

use crate::conv_net::{Block, Conv, ConvNet};
use crate::image::shifted;

/// What a net has kept.
struct ConvNetBack<'a> {
    net: &'a ConvNet,
    context: Option<Tensor>,
    /// The input of every convolution in turn.
    inputs: Vec<Tensor>,
    /// What the derivative of every activation needs, in turn.
    derivatives: Vec<Tensor>,
}

/// `[n, inputs, h, w]` to `[n, outputs, h, w]`, of a net whose convolutions have no norm, within [`tch::no_grad`].
pub(crate) fn forward_keeping<'a>(net: &'a ConvNet, x: &Tensor, context: Option<&Tensor>) -> ConditionerKept<'a> {
    let mut back =
        ConvNetBack { net, context: context.map(Tensor::shallow_clone), inputs: Vec::new(), derivatives: Vec::new() };
    let first = back.convolved(&net.first, x);
    let mut h = shifted(first, net.context.as_ref(), context);
    if !net.is_residual() {
        h = back.activated(h);
    }
    for block in &net.blocks {
        h = match block {
            Block::Plain(hidden) => {
                let h = back.convolved(hidden, &h);
                back.activated(h)
            }
            Block::Residual(a, b) => {
                let inside = back.activated_copy(&h);
                let inside = back.convolved(a, &inside);
                let inside = back.activated(inside);
                h + back.convolved(b, &inside)
            }
        };
    }
    if net.is_residual() {
        h = back.activated(h);
    }
    let parameters = back.convolved(&net.out, &h);
    ConditionerKept { parameters, back: Box::new(back) }
}

impl ConvNetBack<'_> {
    fn convolved(&mut self, conv: &Conv, x: &Tensor) -> Tensor {
        self.inputs.push(x.shallow_clone());
        conv2d(x, &conv.weight, &conv.bias)
    }

    /// Of what nobody else looks at.
    fn activated(&mut self, h: Tensor) -> Tensor {
        let (value, derivative) = self.net.activation.apply_keeping(h);
        self.derivatives.push(derivative);
        value
    }

    fn activated_copy(&mut self, h: &Tensor) -> Tensor {
        let (value, derivative) = self.net.activation.apply_keeping_input(h);
        self.derivatives.push(derivative);
        value
    }

    /// From the gradient of the last convolution's output to that of its input, if it is wanted.
    fn back_convolved(
        &mut self,
        conv: &Conv,
        grad: &Tensor,
        wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let x = self.inputs.pop().expect("one for each convolution");
        let grad = grad.contiguous();
        gradients.give_sum(&conv.weight, &conv2d_grads_by_image(&x, &conv.weight, &grad));
        gradients.give(&conv.bias, &grad.sum_dim_intlist(&[0i64, 2, 3][..], false, None::<Kind>));
        wanted.then(|| conv2d_grad_input(&conv.weight, &grad))
    }

    fn back_through(&mut self, conv: &Conv, grad: &Tensor, gradients: &mut dyn Gradients) -> Tensor {
        self.back_convolved(conv, grad, true, gradients).expect("it is wanted")
    }

    fn back_activated(&mut self, grad: &Tensor) -> Tensor {
        let derivative = self.derivatives.pop().expect("one for each activation");
        self.net.activation.backward(grad, &derivative)
    }
}

impl ConditionerBackward for ConvNetBack<'_> {
    fn backward(mut self: Box<Self>, grad: &Tensor, wanted: bool, gradients: &mut dyn Gradients) -> Option<Tensor> {
        let net = self.net;
        let mut grad = self.back_through(&net.out, grad, gradients);
        if net.is_residual() {
            grad = self.back_activated(&grad);
        }
        for block in net.blocks.iter().rev() {
            match block {
                Block::Plain(hidden) => {
                    let own = self.back_activated(&grad);
                    grad = self.back_through(hidden, &own, gradients);
                }
                Block::Residual(a, b) => {
                    let inside = self.back_through(b, &grad, gradients);
                    let inside = self.back_activated(&inside);
                    let inside = self.back_through(a, &inside, gradients);
                    grad += self.back_activated(&inside);
                }
            }
        }
        if !net.is_residual() {
            grad = self.back_activated(&grad);
        }
        if let (Some(weight), Some(context)) = (&net.context, &self.context) {
            let of_rows = grad.sum_dim_intlist(&[2i64, 3][..], false, None::<Kind>);
            gradients.give_product(weight, &of_rows, context);
        }
        self.back_convolved(&net.first, &grad, wanted, gradients)
    }
}

#[cfg(test)]
mod tests {
    use flow_core::ToParameters;
    use flow_core::rng::with_seed;
    use tch::{Device, nn};

    use super::*;
    use crate::Activation;
    use crate::conv_net::ConvNetConfig;

    /// The output, and the gradients of the input and of every parameter.
    fn gradients(vs: &nn::VarStore, kept: ConditionerKept, grad: &Tensor) -> Vec<Tensor> {
        let mut parameters: Vec<_> = vs.variables().into_iter().collect();
        parameters.sort_by(|a, b| a.0.cmp(&b.0));
        parameters.iter_mut().for_each(|(_, parameter)| parameter.zero_grad());
        let own = tch::no_grad(|| kept.back.backward(grad, true, &mut ToParameters));
        let all = parameters.iter().map(|(_, parameter)| parameter.grad().copy());
        [kept.parameters, own.expect("it is wanted")].into_iter().chain(all).collect()
    }

    #[test]
    fn they_are_those_of_autograd() {
        let net = |residual, pointwise, activation| ConvNetConfig {
            width: 5,
            blocks: 2,
            residual,
            pointwise,
            activation,
            ..ConvNetConfig::default()
        };
        let configs = [
            net(false, false, Activation::Relu),
            net(true, false, Activation::Silu),
            net(true, true, Activation::Relu),
            net(true, true, Activation::Tanh),
        ];
        for (config, width) in configs.iter().flat_map(|config| [(config, 0), (config, 4)]) {
            let mut vs = nn::VarStore::new(Device::cuda_if_available());
            vs.set_kind(Kind::Double);
            let net = config.build(&vs.root(), 3, 2, width, 7);
            let draw = |size: &[i64]| Tensor::randn(size, (Kind::Double, vs.device()));
            let (x, grad, context) = with_seed(8, || {
                // The last layer starts at 0, which would hide all before it.
                tch::no_grad(|| net.out.weight.shallow_clone().copy_(&draw(&net.out.weight.size())));
                (draw(&[3, 3, 4, 5]), draw(&[3, 2, 4, 5]), (width > 0).then(|| draw(&[3, width as i64])))
            });
            let context = context.as_ref();
            let taped = ConditionerKept::taped(&x, |x| flow_core::Conditioner::forward(&net, x, context));
            let expected = gradients(&vs, taped, &grad);
            let by_hand = gradients(&vs, tch::no_grad(|| forward_keeping(&net, &x, context)), &grad);
            assert_eq!(by_hand.len(), expected.len());
            for (by_hand, expected) in by_hand.iter().zip(&expected) {
                let off = (by_hand - expected).abs().max().double_value(&[]);
                assert!(off < 1e-12 && expected.abs().max().double_value(&[]) > 1e-3, "{config:?}: {off:e}");
            }
        }
    }
}
