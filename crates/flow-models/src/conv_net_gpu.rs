//! Convolutional nets by this toolkit's kernels on a GPU: a convolution is one of them, its bias, activation and sum, or its
//! gradient's mask, included; and the gradients of all filters are one.

use flow_core::gpu::{LayerGradients, give_filters, rounding};
use flow_core::{ConditionerBackward, ConditionerKept, Gradients};
use flow_cuda::kernels::{Layer, Second, Then, filter, filter_back, filter_gradients};
use flow_dense::Slope;
use tch::{Kind, Tensor};

use crate::conv_net::{Conv, ConvNet};

/// Pixels of a batch up to which a convolution takes longer to begin than to be computed. With more, libtorch's are faster.
const FEW_PIXELS: usize = 1 << 14;

/// Whether images have so few pixels together that in evaluation they are computed here.
pub(crate) fn are_few(images: &Tensor) -> bool {
    images.numel() / images.size()[1].max(1) as usize <= FEW_PIXELS
}

/// `[n, inputs, h, w]` and a context `[n, c]`, for a net that was built for one, to `[n, outputs, h, w]`.
pub(crate) fn forward(net: &ConvNet, slope: Slope, x: &Tensor, context: Option<&Tensor>) -> Tensor {
    let Slope(slope) = slope;
    Net { net, weights: net.convs().map(Conv::weight).collect(), slope }.run(x, context, false).0
}

/// A net with what it convolves with.
struct Net<'a> {
    net: &'a ConvNet,
    weights: Vec<Tensor>,
    slope: f32,
}

impl Net<'_> {
    fn last(&self) -> usize {
        self.weights.len() - 1
    }

    /// Whether the `i`-th convolution's result is added to what residual blocks have come to.
    fn adds(&self, i: usize) -> bool {
        self.net.residual() && i > 0 && i < self.last() && i.is_multiple_of(2)
    }

    /// What comes out, and what every convolution is given, where that is to be kept.
    fn run(&self, x: &Tensor, context: Option<&Tensor>, keep: bool) -> (Tensor, Vec<Tensor>) {
        let biases: Vec<&Tensor> = self.net.convs().map(|conv| &conv.bias).collect();
        let shift = context.zip(self.net.context.as_ref());
        let shift = shift.map(|(context, weight)| context.linear(weight, None::<&Tensor>));
        let mut inputs = vec![x.shallow_clone()];
        // What residual blocks have come to.
        let mut sum: Option<Tensor> = None;
        for (i, bias) in biases[..self.last()].iter().enumerate() {
            // Behind it a block begins, which goes on from the activation and adds to what is before it.
            let sums = self.net.residual() && i.is_multiple_of(2);
            let then = Then {
                bias: Some(bias),
                shift: shift.as_ref().filter(|_| i == 0),
                activate: !sums,
                added: sum.as_ref().filter(|_| self.adds(i)),
                second: if sums { Second::Activated } else { Second::None },
                slope: self.slope,
                ..Then::default()
            };
            let (first, activated) = filter(&inputs[inputs.len() - 1], &self.weights[i], &then, rounding());
            if !keep {
                inputs.clear();
            }
            inputs.push(match activated {
                None => first,
                Some(activated) => {
                    sum = Some(first);
                    activated
                }
            });
        }
        let then = Then { bias: Some(biases[self.last()]), ..Then::default() };
        let (y, _) = filter(&inputs[inputs.len() - 1], &self.weights[self.last()], &then, rounding());
        (y, inputs)
    }

    /// The gradients of what every convolution gives, and that of the images, where it is wanted.
    fn back(&self, inputs: &[Tensor], grad: &Tensor, wanted: bool) -> (Vec<Tensor>, Option<Tensor>) {
        let mut grads = vec![grad.contiguous()];
        // Of what residual blocks have come to, behind the one that is gone back through.
        let mut above: Option<Tensor> = None;
        for i in (1..self.weights.len()).rev() {
            let own = grads[grads.len() - 1].shallow_clone();
            let begins = self.net.residual() && i < self.last() && !i.is_multiple_of(2);
            let then = Then {
                gate: Some(&inputs[i]),
                added: above.as_ref().filter(|_| begins),
                slope: self.slope,
                ..Then::default()
            };
            let (below, _) = filter_back(&own, &self.weights[i], &then, rounding());
            if self.adds(i) {
                above = Some(own);
            }
            grads.push(below);
        }
        let first = &grads[grads.len() - 1];
        let of_images = wanted.then(|| filter_back(first, &self.weights[0], &Then::default(), rounding()).0);
        grads.reverse();
        (grads, of_images)
    }
}

/// What is kept for the way back.
struct Back<'a> {
    net: Net<'a>,
    context: Option<Tensor>,
    inputs: Vec<Tensor>,
}

/// The same for a training step.
pub(crate) fn forward_keeping<'a>(
    net: &'a ConvNet,
    slope: Slope,
    x: &Tensor,
    context: Option<&Tensor>,
) -> ConditionerKept<'a> {
    let weights = tch::with_grad(|| net.convs().map(Conv::weight).collect());
    let net = Net { net, weights, slope: slope.0 };
    let (parameters, inputs) = net.run(x, context, true);
    ConditionerKept { parameters, back: Box::new(Back { net, context: context.map(Tensor::shallow_clone), inputs }) }
}

impl ConditionerBackward for Back<'_> {
    fn backward(self: Box<Self>, grad: &Tensor, wanted: bool, gradients: &mut dyn Gradients) -> Option<Tensor> {
        let Back { net, context, inputs } = &*self;
        let (grads, of_images) = net.back(inputs, grad, wanted);
        if let (Some(weight), Some(context)) = (&net.net.context, context) {
            let of_shift = grads[0].sum_dim_intlist(&[2i64, 3][..], false, None::<Kind>);
            // In f32, as on the way there.
            gradients.give(weight, &of_shift.tr().mm(context));
        }
        self.give(&grads, gradients);
        of_images
    }
}

impl Back<'_> {
    fn give(&self, grads: &[Tensor], gradients: &mut dyn Gradients) {
        let Back { net, inputs, .. } = self;
        let all = || net.net.convs().zip(&net.weights).zip(grads.iter().zip(inputs));
        let plain = all().filter(|((conv, _), _)| !conv.is_normalised()).map(|((conv, _), (grad, input))| {
            LayerGradients { weight: &conv.weight, bias: Some(&conv.bias), grad, input }
        });
        give_filters(gradients, &plain.collect::<Vec<_>>());
        let normalised: Vec<_> = all().filter(|((conv, _), _)| conv.is_normalised()).collect();
        let of_weights = normalised.iter().map(|((conv, weight), (grad, input))| Layer {
            grad,
            input,
            weight: weight.detach().zeros_like(),
            bias: Some(conv.bias.detach().zeros_like()),
        });
        let of_weights: Vec<Layer> = of_weights.collect();
        filter_gradients(&of_weights, rounding());
        for (Layer { weight: of_weight, bias: of_bias, .. }, ((conv, weight), _)) in of_weights.iter().zip(&normalised)
        {
            if weight.requires_grad() {
                tch::with_grad(|| (*weight * of_weight).sum(None::<Kind>).backward());
            }
            gradients.give(&conv.bias, of_bias.as_ref().expect("it was asked for"));
        }
    }
}

#[cfg(test)]
mod tests {
    use flow_cuda::kernels::emulated;

    use super::*;
    use crate::conv_net_dense::tests::{Case, draw, images, shapes};
    use crate::{Activation, ConvNetConfig, Norm};

    /// Every shape of net, with and without norms, against libtorch's layers and autograd's gradients.
    #[test]
    fn layers_and_gradients_are_those_of_libtorch() {
        for shape in shapes() {
            for norm in [Norm::None, Norm::Weight] {
                let case = Case::apart(&ConvNetConfig { width: 36, norm, ..shape.clone() });
                for (count, height, width) in [(3, 5, 4), (1, 1, 1), (0, 2, 3)] {
                    let (x, grad) = images(count, height, width);
                    emulated(|| case.check_conditioner(&x, None, &grad));
                }
            }
        }
    }

    #[test]
    fn with_a_slope_below_0_and_a_context_too() {
        for shape in shapes() {
            let config = ConvNetConfig { activation: Activation::LeakyRelu, ..shape };
            let case = Case::new(&config, 2, Kind::Float);
            let (x, grad) = images(3, 4, 2);
            let context = draw(&[3, 2], 22);
            emulated(|| case.check_conditioner(&x, Some(&context), &grad));
        }
    }
}
