//! Conditioners for vectors: a multilayer perceptron, plain or residual.

use flow_core::plain::PlainConditioner;
use flow_core::plain_training::PlainTrainedConditioner;
use flow_core::product::linear;
use flow_core::{Conditioner, ConditionerKept, Gradients, dense, gpu};
use flow_dense::{Packed, Slope};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

use crate::error::require;
use crate::init::uniform;
use crate::mlp_backward::forward_keeping;
use crate::mlp_bf16::Halves;
use crate::mlp_frozen::Frozen;
use crate::{Activation, Result, mlp_dense, mlp_gpu};

/// A multilayer perceptron from `[n, inputs + context]` to `[n, outputs]`.
///
/// ```text
/// h_1 = a(W_1 x + b_1)
/// plain:     h_i = a(W_i h_{i-1} + b_i)
/// residual:  h_i = h_{i-1} + a(W_i h_{i-1} + b_i)
/// y = W h_layers + b   (+ S x, with a skip)
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Width of each hidden layer. Default 512.
    pub hidden: usize,
    /// Number of hidden layers. Default 3.
    pub layers: usize,
    /// Whether hidden layers add to what comes in. Default false.
    pub residual: bool,
    /// Whether a linear map of the input, which starts at 0, is added to the output. Default false.
    pub skip: bool,
    /// What follows each hidden layer. Default ReLU.
    pub activation: Activation,
    /// Probability with which a hidden unit is dropped in training. Default 0.
    pub dropout: f64,
    /// How weights are drawn; biases start at 0, but for `Uniform`. Default Glorot.
    pub init: WeightInit,
    /// Whether the last layer starts at 0, so that a coupling starts as the identity (one by splines to within a
    /// thousandth). Default true.
    pub zero_last: bool,
}

impl Default for MlpConfig {
    fn default() -> Self {
        MlpConfig {
            hidden: 512,
            layers: 3,
            residual: false,
            skip: false,
            activation: Activation::Relu,
            dropout: 0.0,
            init: WeightInit::Glorot,
            zero_last: true,
        }
    }
}

/// How the weights of a layer are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightInit {
    /// Uniform within ±√(6 / (inputs + outputs)) (Glorot and Bengio 2010, equation 16).
    Glorot,
    /// Uniform within ±√(6 / inputs) (He et al. 2015, equation 10, as a uniform).
    He,
    /// Weights and biases uniform within ± this.
    Uniform(f64),
}

impl MlpConfig {
    /// Number of parameters for these inputs (context included) and outputs.
    pub fn parameters(&self, inputs: usize, outputs: usize) -> u128 {
        let [inputs, outputs, hidden] = [inputs, outputs, self.hidden].map(|n| n as u128);
        let between = (self.layers as u128).saturating_sub(1);
        let skip = if self.skip { inputs * outputs } else { 0 };
        (inputs + 1) * hidden + between * (hidden + 1) * hidden + (hidden + 1) * outputs + skip
    }

    /// Checks the fields; errors call them by `field`, the configuration's own name for this net.
    pub(crate) fn validate(&self, field: &str) -> Result<()> {
        let name = |own: &str| format!("{field}.{own}");
        require((1..=1 << 16).contains(&self.hidden), name("hidden"), "between 1 and 65536", self.hidden)?;
        require((1..=256).contains(&self.layers), name("layers"), "between 1 and 256", self.layers)?;
        require((0.0..1.0).contains(&self.dropout), name("dropout"), "at least 0 and below 1", self.dropout)?;
        if let WeightInit::Uniform(bound) = self.init {
            require(bound.is_finite() && bound >= 0.0, name("init"), "a finite bound of at least 0", bound)?;
        }
        Ok(())
    }

    /// Builds the net under `path`: `layer_0`, `layer_1`, ... and `out`, each with `weight` and `bias`, and `skip.weight`.
    ///
    /// Starting weights are a function of `seed` and the variable's name.
    ///
    /// # Errors
    ///
    /// A field outside its range, by name.
    pub fn build(&self, path: &nn::Path, inputs: usize, outputs: usize, seed: u64) -> Result<Mlp> {
        self.validate("net")?;
        let hidden = (0..self.layers)
            .map(|i| {
                let inputs = if i == 0 { inputs } else { self.hidden };
                Layer::new(&(path / format!("layer_{i}")), inputs, self.hidden, self.init, seed)
            })
            .collect();
        let last = if self.zero_last { WeightInit::Uniform(0.0) } else { self.init };
        let out = Layer::new(&(path / "out"), self.hidden, outputs, last, seed);
        let skip = self.skip.then(|| (path / "skip").zeros("weight", &[outputs as i64, inputs as i64]));
        Ok(Mlp {
            hidden,
            out,
            skip,
            residual: self.residual,
            activation: self.activation,
            dropout: self.dropout,
            training: false,
            frozen: None,
        })
    }
}

/// A conditioner built from an [`MlpConfig`].
#[derive(Debug)]
pub struct Mlp {
    pub(crate) hidden: Vec<Layer>,
    pub(crate) out: Layer,
    pub(crate) skip: Option<Tensor>,
    pub(crate) residual: bool,
    pub(crate) activation: Activation,
    dropout: f64,
    training: bool,
    pub(crate) frozen: Option<Frozen>,
}

impl Mlp {
    /// `[n, inputs]` to `[n, outputs]`.
    pub(crate) fn run(&self, x: &Tensor) -> Tensor {
        let mut h = self.activate(self.hidden[0].apply(x));
        for layer in &self.hidden[1..] {
            let change = self.activate(layer.apply(&h));
            h = if self.residual { h + change } else { change };
        }
        let y = self.out.apply(&h);
        match &self.skip {
            None => y,
            Some(skip) => y + linear(x, &in_kind_of(x, skip), None),
        }
    }

    fn activate(&self, h: Tensor) -> Tensor {
        let h = self.activation.apply_to(h);
        if self.drops() { h.dropout(self.dropout, true) } else { h }
    }

    /// The slope of the activation, where layers can be computed by hand, on a processor or a GPU.
    fn by_hand(&self) -> Option<Slope> {
        self.activation.slope().filter(|_| !self.drops()).map(Slope)
    }

    /// The same, where its numbers are of this kind and can be read where they lie.
    fn plain_slope(&self, kind: Kind) -> Option<Slope> {
        let plain = self.out.weight.kind() == kind && self.out.weight.device() == Device::Cpu;
        self.by_hand().filter(|_| plain)
    }

    /// The net's numbers beside the parameters, where there are such, and so few rows are faster by them.
    fn frozen_for(&self, rows: usize) -> Option<&Frozen> {
        self.frozen.as_ref().filter(|_| rows <= Packed::most_rows(self.is_bf16()).max(1))
    }

    fn is_bf16(&self) -> bool {
        self.out.weight.kind() == Kind::BFloat16
    }

    fn drops(&self) -> bool {
        self.training && self.dropout > 0.0
    }
}

/// A weight that is in bf16 has to be widened where others multiply it.
fn in_kind_of(x: &Tensor, weight: &Tensor) -> Tensor {
    if weight.kind() == x.kind() { weight.shallow_clone() } else { weight.to_kind(x.kind()) }
}

/// The kept coordinates, and the context beside them.
fn input(kept: &Tensor, context: Option<&Tensor>) -> Tensor {
    context.map_or_else(|| kept.shallow_clone(), |context| Tensor::cat(&[kept, context], 1))
}

impl Conditioner for Mlp {
    fn forward(&self, kept: &Tensor, context: Option<&Tensor>) -> Tensor {
        let x = input(kept, context);
        if let Some(frozen) = self.frozen_for(x.size()[0] as usize).filter(|_| dense::applies_to_rows(&x)) {
            return mlp_dense::in_blocks(&frozen, &x);
        }
        match self.by_hand() {
            Some(slope) if self.is_bf16() && dense::applies_to_rows(&x) => {
                mlp_dense::in_blocks(&Halves::new(self, slope), &x)
            }
            _ if self.is_bf16() => self.run(&x),
            Some(slope) if dense::applies_to_rows(&x) => mlp_dense::forward(self, slope, &x),
            Some(slope) if gpu::applies(&x) => mlp_gpu::forward(self, slope, &dense::in_rows(&x)),
            _ => self.run(&x),
        }
    }

    fn forward_keeping<'a>(&'a self, kept: &Tensor, context: Option<&Tensor>) -> ConditionerKept<'a> {
        if self.drops() || self.is_bf16() {
            return ConditionerKept::taped(kept, |kept| self.forward(kept, context));
        }
        let x = input(kept, context);
        let context = context.map_or(0, |context| context.size()[1] as usize);
        match self.by_hand() {
            Some(slope) if dense::applies_in_training(&x) => {
                mlp_dense::Trained { net: self, slope, context }.forward_keeping_rows(&x)
            }
            Some(slope) if gpu::applies(&x) => {
                mlp_gpu::forward_keeping(self, slope, &dense::in_rows(&x), context as i64)
            }
            // Every other column would be copied by each product that reads it.
            _ => forward_keeping(self, x.contiguous(), context as i64),
        }
    }

    fn plain(&self, rows: usize) -> Option<Box<dyn PlainConditioner + '_>> {
        if let Some(frozen) = self.frozen_for(rows) {
            return Some(Box::new(frozen));
        }
        if let Some(slope) = self.plain_slope(Kind::BFloat16) {
            return Some(Box::new(Halves::new(self, slope)));
        }
        Some(Box::new(mlp_dense::Plain::new(self, self.plain_slope(Kind::Float)?)))
    }

    fn plain_in_training(&self) -> Option<Box<dyn PlainTrainedConditioner<'_> + '_>> {
        let trained = mlp_dense::Trained { net: self, slope: self.plain_slope(Kind::Float)?, context: 0 };
        Some(Box::new(trained))
    }

    fn set_training(&mut self, training: bool) {
        self.training = training;
        if training {
            self.frozen = None;
        }
    }

    fn freeze(&mut self) {
        let slope = self.plain_slope(Kind::Float).or(self.plain_slope(Kind::BFloat16));
        self.frozen = slope.filter(|_| flow_dense::available()).map(|slope| Frozen::new(self, slope));
    }
}

/// `y = x Wᵀ + b` with `weight: [outputs, inputs]`, as everywhere in libtorch.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
}

impl Layer {
    fn new(path: &nn::Path, inputs: usize, outputs: usize, init: WeightInit, seed: u64) -> Self {
        let bound = match init {
            WeightInit::Glorot => (6.0 / (inputs + outputs) as f64).sqrt(),
            WeightInit::He => (6.0 / inputs as f64).sqrt(),
            WeightInit::Uniform(bound) => bound,
        };
        let bias_bound = if matches!(init, WeightInit::Uniform(_)) { bound } else { 0.0 };
        let (inputs, outputs) = (inputs as i64, outputs as i64);
        Layer {
            weight: uniform(path, "weight", &[outputs, inputs], bound, seed),
            bias: uniform(path, "bias", &[outputs], bias_bound, seed),
        }
    }

    pub(crate) fn apply(&self, x: &Tensor) -> Tensor {
        linear(x, &in_kind_of(x, &self.weight), Some(&self.bias))
    }

    /// Gives both their gradients, from the input `[n, inputs]` and the gradient of the output `[n, outputs]`.
    pub(crate) fn give(&self, x: &Tensor, grad: &Tensor, gradients: &mut dyn Gradients) {
        gradients.give_product(&self.weight, grad, x);
        gradients.give(&self.bias, &grad.sum_dim_intlist(0i64, false, None::<Kind>));
    }
}
