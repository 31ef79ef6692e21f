//! What [`through_layers`] writes.

use flow_dense::{Held, Layer, through_layers};

/// To where there was no number.
pub fn written(layers: &[Layer], skip: Option<Held>, x: &[f32], threads: usize) -> Vec<f32> {
    let (inputs, outputs) = (layers[0].weight.inputs(), layers[layers.len() - 1].weight.outputs());
    let mut y = vec![f32::NAN; x.len() / inputs * outputs];
    through_layers(layers, skip, x, &mut y, threads);
    y
}
