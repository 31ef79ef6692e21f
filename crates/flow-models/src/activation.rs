//! Elementwise nonlinearities of conditioners, and their derivatives.

use serde::{Deserialize, Serialize};
use tch::Tensor;

/// An elementwise nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0.01 x)`.
    LeakyRelu,
    /// `x sigmoid(x)`.
    Silu,
    /// `x Φ(x)`, exact, not by tanh.
    Gelu,
    /// `tanh(x)`.
    Tanh,
}

const SLOPE: f64 = 0.01;

impl Activation {
    /// The slope below 0 of those that are two straight lines.
    pub(crate) fn slope(self) -> Option<f32> {
        match self {
            Activation::Relu => Some(0.0),
            Activation::LeakyRelu => Some(SLOPE as f32),
            Activation::Silu | Activation::Gelu | Activation::Tanh => None,
        }
    }

    pub(crate) fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Activation::Relu => x.relu(),
            Activation::LeakyRelu => x.leaky_relu(),
            Activation::Silu => x.silu(),
            Activation::Gelu => x.gelu("none"),
            Activation::Tanh => x.tanh(),
        }
    }

    /// [`Activation::apply`] of what nobody else looks at: in place where the derivative follows from the result.
    pub(crate) fn apply_to(self, mut x: Tensor) -> Tensor {
        match self {
            Activation::Relu => x.relu_(),
            Activation::LeakyRelu => x.leaky_relu_(),
            Activation::Tanh => x.tanh_(),
            Activation::Silu | Activation::Gelu => self.apply(&x),
        }
    }

    /// `(a(x), what its derivative needs)`.
    pub(crate) fn apply_keeping(self, x: Tensor) -> (Tensor, Tensor) {
        match self {
            Activation::Silu | Activation::Gelu => (self.apply(&x), x),
            _ => {
                let y = self.apply_to(x);
                (y.shallow_clone(), y)
            }
        }
    }

    /// `grad * a'(x)`.
    pub(crate) fn backward(self, grad: &Tensor, kept: &Tensor) -> Tensor {
        match self {
            Activation::Relu => kept.threshold_backward(grad, 0.0),
            Activation::LeakyRelu => kept.leaky_relu_backward(grad, SLOPE, true),
            Activation::Silu => kept.silu_backward(grad),
            Activation::Gelu => kept.gelu_backward(grad, "none"),
            Activation::Tanh => Tensor::tanh_backward(grad, kept),
        }
    }
}
