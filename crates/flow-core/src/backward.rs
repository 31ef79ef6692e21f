//! The way back of a training step, map by map: what each keeps on the way to the latent, and the gradient it makes of it.
//!
//! Autograd does the same from a tape of every operation. Here a map that knows its own gradient computes it from the few
//! tensors it needs, into the parameters' gradients where they lie; a map that does not is taped on its own.
//!
//! Both ways are taken within [`tch::no_grad`]. What has to be taped turns gradients on for itself.

use flow_dense::{Destination, Panels, gradient};
use tch::{Kind, Tensor};

use crate::dense;
use crate::product::add_mm;

/// A map's output and what its way back needs.
pub struct Kept<'a> {
    /// The mapped batch, `[n, ..event]`; the way back may read it, so it is not to be written to.
    pub value: Tensor,
    /// The log-determinant, `[n]`.
    pub log_det: Tensor,
    /// The way back.
    pub back: Box<dyn Backward + 'a>,
}

/// The way back of a map, once, within [`tch::no_grad`].
pub trait Backward {
    /// From the gradients of a loss with respect to the map's value `[n, ..event]` and to its log-determinant `[n]` to the
    /// gradient with respect to its input, which need not be computed where it is not `wanted`. Those of parameters are given
    /// to `gradients`.
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor>;
}

/// Where the gradients of trained parameters go on the way back. A parameter is given its gradient once and whole, when
/// nothing on the way back needs the parameter's numbers any more: an optimizer may take its step on the spot. What
/// autograd tapes is not given to anybody: it adds to the parameter's own gradient.
pub trait Gradients {
    /// The gradient of `weight: [outputs, inputs]` is `gradᵀ x`, with `grad: [n, outputs]` and `x: [n, inputs]`.
    fn give_product(&mut self, weight: &Tensor, grad: &Tensor, x: &Tensor);

    /// The same from panels of `grad` and of `x`, and that of `bias: [outputs]`, if there is one: the sum of the rows of `grad`.
    fn give_dense(&mut self, weight: &Tensor, bias: Option<&Tensor>, grad: &Panels, input: &Panels) {
        let (mut own, mut unwanted) = (gradient_of(weight), Vec::new());
        if own.is_none() && bias.is_none_or(|bias| !bias.requires_grad()) {
            return;
        }
        let into = match &mut own {
            #[allow(unsafe_code, reason = "a tensor is written to")]
            // SAFETY: a gradient is nobody else's on the way back.
            Some(own) => Destination::Add(unsafe { dense::numbers_mut(own) }),
            None => {
                unwanted.resize(weight.numel(), 0.0);
                Destination::Store(&mut unwanted)
            }
        };
        let of_layer = gradient(grad, input, dense::rounding(), into, dense::threads());
        if let Some(bias) = bias {
            self.give(bias, &Tensor::from_slice(&of_layer.bias));
        }
    }

    /// Where a kernel adds the gradient of `parameter` to, which is given with that: as provided, the parameter's own gradient. `None`
    /// for a parameter that is not trained.
    fn place_of(&mut self, parameter: &Tensor) -> Option<Tensor> {
        gradient_of(parameter)
    }

    /// The gradient of `parameter` is `gradient`, of its shape.
    fn give(&mut self, parameter: &Tensor, gradient: &Tensor);
}

/// Adds them to the parameters' own gradients, as autograd does; parameters that are not trained get none.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToParameters;

impl Gradients for ToParameters {
    fn give_product(&mut self, weight: &Tensor, grad: &Tensor, x: &Tensor) {
        if let Some(mut own) = gradient_of(weight) {
            add_mm(&mut own, &grad.tr(), x);
        }
    }

    fn give(&mut self, parameter: &Tensor, gradient: &Tensor) {
        if let Some(mut own) = gradient_of(parameter) {
            let _ = own.g_add_(gradient);
        }
    }
}

/// A map taped by autograd on its own: right for every map, and the measure of those that do it by hand.
pub(crate) struct Taped {
    input: Tensor,
    value: Tensor,
    log_det: Tensor,
}

impl Taped {
    /// Runs `map` on a copy of `input` that gradients are taken of.
    pub(crate) fn run<'a>(input: &Tensor, map: impl FnOnce(&Tensor) -> (Tensor, Tensor)) -> Kept<'a> {
        let input = input.detach().set_requires_grad(true);
        let (value, log_det) = tch::with_grad(|| map(&input));
        let (outside, log_det_outside) = (value.detach(), log_det.detach());
        Kept { value: outside, log_det: log_det_outside, back: Box::new(Taped { input, value, log_det }) }
    }
}

impl Backward for Taped {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        wanted: bool,
        _gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        tch::with_grad(|| pull_back(&[(&self.value, grad_value), (&self.log_det, grad_log_det)]));
        wanted.then(|| gradient_or_zeros(&self.input))
    }
}

/// Takes Σ output · gradient back to every leaf that autograd knows of.
pub(crate) fn pull_back(outputs: &[(&Tensor, &Tensor)]) {
    let taped = outputs.iter().filter(|(output, _)| output.requires_grad());
    let products = taped.map(|(output, gradient)| (*output * *gradient).sum(None::<Kind>));
    if let Some(loss) = products.reduce(|a, b| a + b) {
        loss.backward();
    }
}

/// The gradient that `leaf` has been given, or zeros where nothing depends on it.
pub(crate) fn gradient_or_zeros(leaf: &Tensor) -> Tensor {
    let gradient = leaf.grad();
    if gradient.defined() { gradient.detach() } else { leaf.detach().zeros_like() }
}

/// The tensor in which the gradients of a trained `parameter` add up, zeros if there is none yet; what is added to it in
/// place is the parameter's. `None` for a parameter that is not trained.
pub fn gradient_of(parameter: &Tensor) -> Option<Tensor> {
    if !parameter.requires_grad() {
        return None;
    }
    if !parameter.grad().defined() {
        // The only way to give a tensor a gradient is a backward pass; this one's is 0 whatever the parameter holds.
        let zeros = parameter.detach().zeros_like();
        tch::with_grad(|| (parameter * zeros).sum(None::<Kind>).backward());
    }
    Some(parameter.grad())
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// Of a weight that is not trained whose bias is, and the other way round.
    #[test]
    fn what_is_not_trained_is_given_nothing() {
        for (weight_trained, bias_trained) in [(false, true), (true, false), (false, false)] {
            let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
            let (weight, bias) = (zeros(&[3, 4]), zeros(&[3]));
            let (weight, bias) = (weight.set_requires_grad(weight_trained), bias.set_requires_grad(bias_trained));
            let [grad, input] = [3, 4].map(|columns| Panels::from_rows(&vec![2.0; 5 * columns], 5, columns, 1));
            crate::no_grad(|| ToParameters.give_dense(&weight, Some(&bias), &grad, &input));
            for (parameter, trained, each) in [(weight, weight_trained, 20.0), (bias, bias_trained, 10.0)] {
                assert_eq!(parameter.grad().defined(), trained);
                assert!(!trained || parameter.grad() == parameter.full_like(each));
            }
        }
    }
}
