//! Layers, convolutions and laws by this toolkit's own kernels on a GPU ([`flow_cuda::kernels`]): when, and how rounded.

use flow_cuda::kernels::{self, Layer, Rounding};
use tch::{Kind, Tensor};

use crate::Gradients;
use crate::dense::{rounds_by_libtorch, taped};
use crate::product::Precision;

/// Whether kernels of our own compute on `x`: f32 on a GPU that can run them, outside of autograd. It is the same mathematics
/// as libtorch's, summed in another order: last bits differ. What a tape is to be compared with in bf16 is libtorch's.
pub fn applies(x: &Tensor) -> bool {
    kernels::applies(x) && !taped() && !rounds_by_libtorch()
}

/// How they round factors, by the precision of products on this thread.
pub fn rounding() -> Rounding {
    match Precision::now() {
        Precision::F32 => Rounding::None,
        Precision::Bf16 => Rounding::Bf16,
        Precision::Tf32 => Rounding::Tf32,
    }
}

/// A layer `y = x Wᵀ + b`, or a convolution that keeps height and width, on the way back.
#[derive(Debug, Clone, Copy)]
pub struct LayerGradients<'a> {
    /// `W: [outputs, inputs]`, of a convolution `[outputs, inputs, k, k]`, k 1 or 3.
    pub weight: &'a Tensor,
    /// `b: [outputs]`.
    pub bias: Option<&'a Tensor>,
    /// The gradient of `y: [n, outputs, ..]`.
    pub grad: &'a Tensor,
    /// `x: [n, inputs, ..]`.
    pub input: &'a Tensor,
}

impl LayerGradients<'_> {
    /// Into the parameters' own gradients; `None` for a layer whose weight is not trained, whose bias is seen to then.
    fn placed(&self, gradients: &mut dyn Gradients) -> Option<Layer<'_>> {
        let LayerGradients { weight, bias, grad, input } = *self;
        if let Some(weight) = gradients.place_of(weight) {
            return Some(Layer { grad, input, weight, bias: bias.and_then(|bias| gradients.place_of(bias)) });
        }
        if let Some(bias) = bias {
            let others: Vec<i64> = (0..grad.dim() as i64).filter(|&d| d != 1).collect();
            gradients.give(bias, &grad.sum_dim_intlist(&others[..], false, None::<Kind>));
        }
        None
    }
}

/// Gives the gradients of layers, no parameter twice: each weight's is `gradᵀ x`, and each bias's the sum of `grad` over rows.
pub fn give_layers(gradients: &mut dyn Gradients, layers: &[LayerGradients]) {
    let layers: Vec<Layer> = layers.iter().filter_map(|layer| layer.placed(gradients)).collect();
    kernels::layer_gradients(&layers, rounding());
}

/// The same of convolutions.
pub fn give_filters(gradients: &mut dyn Gradients, filters: &[LayerGradients]) {
    let filters: Vec<Layer> = filters.iter().filter_map(|filter| filter.placed(gradients)).collect();
    kernels::filter_gradients(&filters, rounding());
}
