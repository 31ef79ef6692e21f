//! Multilayer perceptrons whose weights are in bf16: of a few rows nothing takes time but reading these. What is computed is f32.

use std::sync::OnceLock;

use flow_core::dense::{are_few, numbers_bf16, threads};
use flow_core::plain::PlainConditioner;
use flow_dense::{Bf16, Held, Slope, Weight, through_layers};
use tch::{Kind, Tensor};

use crate::mlp::Mlp;
use crate::mlp_dense::{Plain, side_by_side};

/// Whether a variable is the weight of a layer of an [`Mlp`], or of its skip.
pub(crate) fn is_weight(name: &str, variable: &Tensor) -> bool {
    let mut names = name.rsplit('.');
    let (own, layer) = (names.next(), names.next().unwrap_or_default());
    own == Some("weight") && variable.dim() == 2 && (layer == "out" || layer == "skip" || layer.starts_with("layer_"))
}

/// Has a variable hold these numbers rounded; it is trained no more.
pub(crate) fn set_rounded(mut variable: Tensor, numbers: &Tensor) {
    let _ = variable.set_requires_grad(false);
    variable.set_data(&numbers.to_kind(Kind::BFloat16));
}

/// A net as numbers.
pub(crate) struct Halves<'a> {
    net: Plain<'a, Bf16>,
    /// The weights in f32, the skip's last, for batches of so many rows that reading them takes no time.
    wide: OnceLock<Vec<Vec<f32>>>,
}

impl<'a> Halves<'a> {
    pub(crate) fn new(net: &'a Mlp, slope: Slope) -> Self {
        let weight = |weight: &'a Tensor| Weight::new(numbers_bf16(weight), weight.size()[1] as usize);
        Halves { net: Plain::of(net, slope, weight), wide: OnceLock::new() }
    }

    /// The same net in f32.
    fn wide(&self) -> Plain<'_> {
        let Plain { ref hidden, out, skip, residual, slope, rounding } = self.net;
        let layers = || hidden.iter().copied().chain([out]);
        let numbers = self.wide.get_or_init(|| {
            let weights = layers().map(|(weight, _)| weight).chain(skip);
            weights.map(|weight| weight.to_f32()).collect()
        });
        let mut wide: Vec<(Weight, &[f32])> = layers()
            .zip(numbers)
            .map(|((weight, bias), numbers)| (Weight::new(numbers, weight.inputs()), bias))
            .collect();
        let out = wide.pop().expect("a net has layers");
        let skip = skip.map(|skip| Weight::new(&numbers[numbers.len() - 1], skip.inputs()));
        Plain { hidden: wide, out, skip, residual, slope, rounding }
    }
}

impl PlainConditioner for Halves<'_> {
    fn size(&self) -> (usize, usize) {
        (self.net.hidden[0].0.inputs(), self.net.out.0.outputs())
    }

    fn run(&self, x: &[f32], apart: usize, y: &mut [f32]) {
        let (inputs, outputs) = self.size();
        let rows = y.len() / outputs;
        if !are_few(rows) {
            return self.wide().run(x, apart, y);
        }
        let x = side_by_side(x, apart, (rows, inputs));
        through_layers(&self.net.layers(), self.net.skip.map(Held::from), &x, y, threads());
    }
}
