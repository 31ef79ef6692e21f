//! The states that a batch goes through, one by one.

use flow_core::Flow;
use ndarray::{Array2, Array3, s};
use tch::Tensor;

use crate::arrays::matrix;

/// A state, named after the layer that led to it.
pub struct State {
    pub name: String,
    /// `[n, D]`.
    pub rows: Array2<f32>,
}

/// Data to latent: the data itself first.
pub fn forward(flow: &Flow, x: &Tensor) -> Vec<State> {
    collect(["data", "latent"], x, |probe| {
        let _ = tch::no_grad(|| flow.trace_forward(x, None, probe));
    })
}

/// Latent to data: the latent first, the data last.
pub fn inverse(flow: &Flow, z: &Tensor) -> Vec<State> {
    collect(["latent", "data"], z, |probe| {
        let _ = tch::no_grad(|| flow.trace_inverse(z, None, probe));
    })
}

fn collect([first, last]: [&str; 2], start: &Tensor, run: impl FnOnce(&mut dyn flow_core::Probe)) -> Vec<State> {
    let mut states = vec![State { name: first.to_owned(), rows: matrix(start) }];
    run(&mut |name: &str, value: &Tensor, _: &Tensor| {
        states.push(State { name: name.replace('_', " "), rows: matrix(value) });
    });
    if let [_, .., end] = &mut states[..] {
        end.name = format!("{}, {last}", end.name);
    }
    states
}

impl State {
    /// The first two columns, `[n, 2]`.
    pub fn plane(&self) -> Array2<f32> {
        self.rows.slice(s![.., ..2]).to_owned()
    }

    /// The first channel, `[n, h, w]`.
    pub fn images(&self, [_, height, width]: [usize; 3]) -> Array3<f32> {
        let n = self.rows.nrows();
        let channel = self.rows.slice(s![.., ..height * width]).to_owned();
        channel.into_shape_with_order((n, height, width)).expect("h * w columns")
    }
}
