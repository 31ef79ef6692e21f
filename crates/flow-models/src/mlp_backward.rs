//! The gradients of a multilayer perceptron by hand: products each once, activations in place.

use flow_core::product::{add_mm, mm};
use flow_core::{ConditionerBackward, ConditionerKept, Gradients};
use tch::Tensor;

use crate::mlp::Mlp;

/// What an [`Mlp`] has kept: the input of every layer, and what the derivative of every hidden layer needs.
struct MlpBack<'a> {
    net: &'a Mlp,
    /// The net's input, then what each hidden layer gives on to the next; `[n, ..]` each.
    inputs: Vec<Tensor>,
    derivatives: Vec<Tensor>,
    /// Columns of the input that are a context, whose gradient nobody wants.
    context: i64,
}

/// `[n, inputs]`, the last `context` of them given, to `[n, outputs]`.
pub(crate) fn forward_keeping(net: &Mlp, x: Tensor, context: i64) -> ConditionerKept<'_> {
    let mut inputs = vec![x];
    let mut derivatives = Vec::with_capacity(net.hidden.len());
    for (i, layer) in net.hidden.iter().enumerate() {
        let before = inputs.last().expect("it begins with one");
        let (change, derivative) = net.activation.apply_keeping(layer.apply(before));
        let next = if net.residual && i > 0 { before + change } else { change };
        inputs.push(next);
        derivatives.push(derivative);
    }
    let last = inputs.last().expect("it begins with one");
    let mut parameters = net.out.apply(last);
    if let Some(skip) = &net.skip {
        add_mm(&mut parameters, &inputs[0], &skip.tr());
    }
    ConditionerKept { parameters, back: Box::new(MlpBack { net, inputs, derivatives, context }) }
}

impl ConditionerBackward for MlpBack<'_> {
    fn backward(mut self: Box<Self>, grad: &Tensor, wanted: bool, gradients: &mut dyn Gradients) -> Option<Tensor> {
        let net = self.net;
        let last = self.inputs.pop().expect("the output layer has an input");
        let mut above = mm(grad, &net.out.weight);
        net.out.give(&last, grad, gradients);
        for i in (1..net.hidden.len()).rev() {
            let layer = &net.hidden[i];
            let own = net.activation.backward(&above, &self.derivatives[i]);
            if net.residual {
                add_mm(&mut above, &own, &layer.weight);
            } else {
                above = mm(&own, &layer.weight);
            }
            layer.give(&self.inputs[i], &own, gradients);
        }
        let own = net.activation.backward(&above, &self.derivatives[0]);
        let (first, x) = (&net.hidden[0], &self.inputs[0]);
        let grad_x = wanted.then(|| {
            let kept = |weight: &Tensor| weight.narrow(1, 0, weight.size()[1] - self.context);
            let mut through = mm(&own, &kept(&first.weight));
            if let Some(skip) = &net.skip {
                add_mm(&mut through, grad, &kept(skip));
            }
            through
        });
        first.give(x, &own, gradients);
        if let Some(skip) = &net.skip {
            gradients.give_product(skip, grad, x);
        }
        grad_x
    }
}
