//! How many operations a model takes, from the shapes of its weights.

use flow_models::{Model, ModelConfig};
use tch::Tensor;

/// Multiplications and additions of all matrix products and convolutions of one pass, for one row; everything else, that
/// is linear in the activations, is left out, so that a time computed from these is a lower bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Operations {
    pub per_row: f64,
    /// Those of the first product of all: its input is data, so that training computes no gradient of it.
    pub of_the_first_layer: f64,
}

impl Operations {
    pub fn of(model: &Model) -> Self {
        let event = model.event();
        let weights = || model.variables().into_iter().filter(|(_, variable)| variable.requires_grad());
        let cost = |name: &str, weight: &Tensor| 2.0 * weight.numel() as f64 * pixels(model.config(), name, event);
        let products = weights().filter(|(name, weight)| is_product(name, weight));
        let per_row = products.map(|(name, weight)| cost(&name, &weight)).sum();
        // In front of the couplings of image models stand trained steps, so that their first layer has a gradient.
        let first = weights().find(|(name, _)| name == "coupling_0.layer_0.weight");
        let of_the_first_layer = first.map_or(0.0, |(name, weight)| cost(&name, &weight));
        Operations { per_row, of_the_first_layer }
    }
}

/// Weights of linear layers and convolutions; the triangles of a mixing are multiplied into one matrix of their size.
fn is_product(name: &str, weight: &Tensor) -> bool {
    match weight.dim() {
        4 => true,
        2 => !name.ends_with(".upper"),
        _ => false,
    }
}

/// How many times a row goes through a weight: once, or once a pixel of its level (`docs/model-format.md`, levels).
fn pixels(config: &ModelConfig, name: &str, event: &[usize]) -> f64 {
    let Some(rest) = name.strip_prefix("level_") else { return 1.0 };
    let level: u32 = rest.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let before_the_squeeze = matches!(config, ModelConfig::RealNvpImage(_)) && rest.contains(".checker_");
    let halvings = if before_the_squeeze { level } else { level + 1 };
    let side = |side: usize| (side >> halvings) as f64;
    side(event[1]) * side(event[2])
}
