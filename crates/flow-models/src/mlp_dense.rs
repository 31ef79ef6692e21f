//! Multilayer perceptrons by [`flow_dense`]: a layer is one pass, its activation, sum and gradient's mask included.

use std::borrow::Cow;
use std::sync::Mutex;

use flow_core::dense::{NewTensor, Rows, are_few, in_rows, numbers, panels, rounding, tensor, threads};
use flow_core::plain::{Blocks, PlainConditioner, lock};
use flow_core::plain_training::{PlainConditionerBackward, PlainTrainedConditioner};
use flow_core::{ConditionerBackward, ConditionerKept, Gradients};
use flow_dense::{
    Held, Layer, Panels, Rounding, Slope, Then, ThenBack, Weight, backward, forward as forward_dense, in_turn,
    through_layers,
};
use tch::Tensor;

use crate::mlp::{self, Mlp};

/// `[n, inputs]` to `[n, outputs]`, outside of training: some rows go through all layers before the next, so that what is between
/// two layers stays in a core's own cache.
pub(crate) fn forward(net: &Mlp, slope: Slope, x: &Tensor) -> Tensor {
    in_blocks(&Plain::new(net, slope), x)
}

/// All rows of `x`, a block at a time.
pub(crate) fn in_blocks(plain: &dyn PlainConditioner, x: &Tensor) -> Tensor {
    let x = in_rows(x);
    let x = Rows::new(&x);
    let (inputs, outputs) = plain.size();
    assert_eq!(x.columns, inputs, "columns of a net's input");
    let mut y = NewTensor::empty(&[x.rows as i64, outputs as i64]);
    let blocks = Blocks::of(x.rows);
    let shares: Vec<_> = blocks.split(y.numbers_mut(), outputs).into_iter().map(Mutex::new).collect();
    in_turn(shares.len(), blocks.threads, &|i| {
        let (kept, apart) = x.numbers_from(blocks.rows[i].start);
        plain.run(kept, apart, &mut lock(&shares[i]));
    });
    drop(shares);
    y.done()
}

/// A net as numbers, which threads can share.
pub(crate) struct Plain<'a, N = f32> {
    pub hidden: Vec<(Weight<'a, N>, &'a [f32])>,
    pub out: (Weight<'a, N>, &'a [f32]),
    pub skip: Option<Weight<'a, N>>,
    pub residual: bool,
    pub slope: Slope,
    /// Of factors, but where rows are few.
    pub rounding: Rounding,
}

impl PlainConditioner for Plain<'_> {
    fn size(&self) -> (usize, usize) {
        (self.hidden[0].0.inputs(), self.out.0.outputs())
    }

    fn run(&self, x: &[f32], apart: usize, y: &mut [f32]) {
        let (inputs, outputs) = self.size();
        let rows = y.len() / outputs;
        let threads = threads();
        if are_few(rows) {
            let x = side_by_side(x, apart, (rows, inputs));
            return through_layers(&self.layers(), self.skip.map(Held::from), &x, y, threads);
        }
        let x = Panels::from_rows_apart(x, (rows, inputs), apart, threads);
        self.last(&x, &self.hidden(&x, threads), threads).to_rows(y, threads);
    }
}

/// The first numbers of rows that are `apart`, one row after the other.
pub(crate) fn side_by_side(x: &[f32], apart: usize, (rows, inputs): (usize, usize)) -> Cow<'_, [f32]> {
    if rows <= 1 || apart == inputs {
        return x[..rows * inputs].into();
    }
    x.chunks(apart).take(rows).flat_map(|row| &row[..inputs]).copied().collect()
}

impl<'a, N: Copy> Plain<'a, N>
where
    Held<'a>: From<Weight<'a, N>>,
{
    pub(crate) fn of(net: &'a Mlp, slope: Slope, weight: impl Fn(&'a Tensor) -> Weight<'a, N>) -> Self {
        let of = |layer: &'a mlp::Layer| (weight(&layer.weight), numbers(&layer.bias));
        Plain {
            hidden: net.hidden.iter().map(of).collect(),
            out: of(&net.out),
            skip: net.skip.as_ref().map(&weight),
            residual: net.residual,
            slope,
            // Threads that compute it do not know what is asked for on this one.
            rounding: rounding(),
        }
    }

    /// All layers, one after the other.
    pub(crate) fn layers(&self) -> Vec<Layer<'a>> {
        let hidden = self.hidden.iter().enumerate().map(|(i, &(weight, bias))| {
            let residual = self.residual && i > 0;
            Layer { weight: weight.into(), bias, activation: Some(self.slope), residual }
        });
        let (weight, bias) = self.out;
        hidden.chain([Layer { weight: weight.into(), bias, activation: None, residual: false }]).collect()
    }
}

impl<'a> Plain<'a> {
    pub(crate) fn new(net: &'a Mlp, slope: Slope) -> Self {
        Plain::of(net, slope, weight)
    }

    /// What comes out of the last hidden layer.
    fn hidden(&self, x: &Panels, threads: usize) -> Panels {
        let mut h = self.layer(0, x, Then::default(), threads);
        for i in 1..self.hidden.len() {
            h = self.layer(i, &h, Then { sum: self.residual.then_some(&h), ..Then::default() }, threads);
        }
        h
    }

    /// The `i`-th hidden layer.
    fn layer<'b>(&'b self, i: usize, x: &Panels, then: Then<'b>, threads: usize) -> Panels {
        let (weight, bias) = self.hidden[i];
        let Plain { slope, rounding, .. } = *self;
        forward_dense(&[(weight, x)], Then { bias: Some(bias), activation: Some(slope), rounding, ..then }, threads)
    }

    /// The output layer, with the skip's part.
    fn last(&self, x: &Panels, h: &Panels, threads: usize) -> Panels {
        let (weight, bias) = self.out;
        let then = Then { bias: Some(bias), rounding: self.rounding, ..Then::default() };
        match self.skip {
            None => forward_dense(&[(weight, h)], then, threads),
            Some(skip) => forward_dense(&[(weight, h), (skip, x)], then, threads),
        }
    }
}

fn weight(weight: &Tensor) -> Weight<'_> {
    Weight::new(numbers(weight), weight.size()[1] as usize)
}

impl mlp::Layer {
    fn weight(&self) -> Weight<'_> {
        weight(&self.weight)
    }

    /// From the gradient of what came out and from what went in.
    fn give_dense(&self, grad: &Panels, input: &Panels, gradients: &mut dyn Gradients) {
        gradients.give_dense(&self.weight, Some(&self.bias), grad, input);
    }
}

/// What is kept for the way back.
struct Back<'a> {
    net: &'a Mlp,
    slope: Slope,
    /// What went into the net.
    x: Panels,
    /// Of every hidden layer, what its activation gave.
    activations: Vec<Panels>,
    /// Of every residual layer, what it came to: the second hidden layer is the first that has such.
    sums: Vec<Panels>,
    /// Columns of the input that are a context, whose gradient nobody wants.
    context: usize,
}

impl Back<'_> {
    /// What went into the `i`-th hidden layer, or into the last.
    fn input(&self, i: usize) -> &Panels {
        match i {
            0 => &self.x,
            _ if self.net.residual && i > 1 => &self.sums[i - 2],
            _ => &self.activations[i - 1],
        }
    }
}

/// A net in training.
pub(crate) struct Trained<'a> {
    pub net: &'a Mlp,
    pub slope: Slope,
    /// Columns of the input that are a context, the last ones.
    pub context: usize,
}

impl<'a> Trained<'a> {
    /// `[n, inputs]` to `[n, outputs]`.
    pub(crate) fn forward_keeping_rows(self, x: &Tensor) -> ConditionerKept<'a> {
        let (parameters, back) = self.keeping(panels(x));
        ConditionerKept { parameters: tensor(&parameters), back: Box::new(back) }
    }

    fn keeping(self, x: Panels) -> (Panels, Back<'a>) {
        let Trained { net, slope, context } = self;
        let (plain, threads) = (Plain::new(net, slope), threads());
        let activations = Vec::with_capacity(net.hidden.len());
        let mut back = Back { net, slope, x, activations, sums: Vec::new(), context };
        for i in 0..net.hidden.len() {
            let before = back.input(i);
            if net.residual && i > 0 {
                let mut change = None;
                let then = Then { before_sum: Some(&mut change), sum: Some(before), ..Then::default() };
                let after = plain.layer(i, before, then, threads);
                back.activations.push(change.expect("it was asked for"));
                back.sums.push(after);
            } else {
                let activation = plain.layer(i, before, Then::default(), threads);
                back.activations.push(activation);
            }
        }
        let parameters = plain.last(&back.x, back.input(net.hidden.len()), threads);
        (parameters, back)
    }
}

impl<'a> PlainTrainedConditioner<'a> for Trained<'a> {
    fn size(&self) -> (usize, usize) {
        Plain::new(self.net, self.slope).size()
    }

    fn forward_keeping(self: Box<Self>, kept: Panels) -> (Panels, Box<dyn PlainConditionerBackward + 'a>) {
        let (parameters, back) = self.keeping(kept);
        (parameters, Box::new(back))
    }
}

impl ConditionerBackward for Back<'_> {
    fn backward(self: Box<Self>, grad: &Tensor, wanted: bool, gradients: &mut dyn Gradients) -> Option<Tensor> {
        PlainConditionerBackward::backward(self, panels(grad), wanted, gradients).map(|grad| tensor(&grad))
    }
}

impl PlainConditionerBackward for Back<'_> {
    fn backward(self: Box<Self>, grad: Panels, wanted: bool, gradients: &mut dyn Gradients) -> Option<Panels> {
        let net = self.net;
        let activation = |i: usize| Some((&self.activations[i], self.slope));
        let count = net.hidden.len();
        let width = self.activations[0].columns();
        // The gradient of what residual layers have come to, before the last of them.
        let mut above = None;
        let after_sum = (net.residual && count > 1).then_some(&mut above);
        let rounding = rounding();
        let then = ThenBack { after_sum, derivative: activation(count - 1), rounding, ..ThenBack::default() };
        let mut own = backward(&[(net.out.weight(), &grad)], width, then, threads());
        net.out.give_dense(&grad, self.input(count), gradients);
        for i in (1..count).rev() {
            let layer = &net.hidden[i];
            let mut sum = None;
            let then = ThenBack {
                sum: above.as_ref(),
                after_sum: (net.residual && i > 1).then_some(&mut sum),
                derivative: activation(i - 1),
                rounding,
            };
            let below = backward(&[(layer.weight(), &own)], width, then, threads());
            layer.give_dense(&own, self.input(i), gradients);
            (own, above) = (below, sum);
        }
        let first = &net.hidden[0];
        let grad_x = wanted.then(|| {
            let used = self.x.columns() - self.context;
            let through = (first.weight(), &own);
            let then = ThenBack { rounding, ..ThenBack::default() };
            match &net.skip {
                None => backward(&[through], used, then, threads()),
                Some(skip) => backward(&[through, (weight(skip), &grad)], used, then, threads()),
            }
        });
        first.give_dense(&own, &self.x, gradients);
        if let Some(skip) = &net.skip {
            gradients.give_dense(skip, None, &grad, &self.x);
        }
        grad_x
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flow_core::product::Precision;
    use flow_core::rng::with_seed;
    use flow_core::{ToParameters, gradient_of};
    use flow_cuda::kernels::emulated;
    use tch::{Device, Kind, nn};

    use super::*;
    use crate::{Activation, MlpConfig, WeightInit, mlp_gpu};

    const CONTEXT: i64 = 3;

    fn close(what: &str, fast: &Tensor, plain: &Tensor) {
        assert_eq!(fast.size(), plain.size(), "{what}");
        let off = (fast - plain).abs().max().double_value(&[]);
        let most = plain.abs().max().double_value(&[]);
        assert!(off <= 1e-5 * (1.0 + most), "{what}: {off} of {most}");
    }

    /// What a net makes of `x`, the gradient of its input and those of its parameters, by name.
    fn both_ways(net: &Mlp, vs: &nn::VarStore, x: &Tensor, grad: &Tensor) -> Vec<(String, Tensor)> {
        let slope = Slope(net.activation.slope().expect("two straight lines"));
        let variables: BTreeMap<_, _> = vs.variables().into_iter().collect();
        variables.values().for_each(|v| drop(gradient_of(v).expect("all are trained").zero_()));
        let kept = Trained { net, slope, context: 0 }.forward_keeping_rows(x);
        let back = kept.back.backward(grad, true, &mut ToParameters).expect("it is wanted");
        let of_parameters = variables.iter().map(|(name, v)| (name.clone(), v.grad().copy()));
        let own = [("output", kept.parameters), ("outside of training", forward(net, slope, x)), ("input", back)];
        own.map(|(name, tensor)| (name.to_owned(), tensor)).into_iter().chain(of_parameters).collect()
    }

    /// What comes out is off by some 2^-9, as factors are. In gradients there are units, too, that are on the other side of their kink.
    #[test]
    fn in_bf16_it_is_the_same_but_for_rounding() {
        for (residual, skip, rows) in [(false, false, 300), (true, true, 70)] {
            let config = MlpConfig { hidden: 70, layers: 3, residual, skip, zero_last: false, ..MlpConfig::default() };
            let vs = nn::VarStore::new(Device::Cpu);
            let net = config.build(&vs.root(), 13, 37, 1).unwrap();
            let draw = |columns: i64| Tensor::randn([rows, columns], (Kind::Float, Device::Cpu));
            let (x, grad) = with_seed(2, || (draw(13), draw(37)));
            flow_core::no_grad(|| {
                let exact = both_ways(&net, &vs, &x, &grad);
                let rounded = Precision::Bf16.scope(|| both_ways(&net, &vs, &x, &grad));
                for ((name, exact), (_, rounded)) in exact.iter().zip(&rounded) {
                    let off = (rounded - exact).square().mean(None).sqrt() / exact.square().mean(None).sqrt();
                    let off = off.double_value(&[]);
                    // The output's bias has the gradient that came in.
                    let least = if name == "out.bias" { 0.0 } else { 1e-4 };
                    let most = if name.starts_with("out") && name != "out.bias" { 2e-2 } else { 0.2 };
                    assert!((least..most).contains(&off), "{config:?}: {name}: {off}");
                }
            });
        }
    }

    /// Against libtorch's layers and autograd's gradients, in every shape that a net has, for rows of one part and of several.
    #[test]
    fn layers_and_gradients_are_those_of_libtorch() {
        for (residual, skip, layers, rows) in [
            (false, false, 1, 40),
            (false, true, 2, 7),
            (true, false, 3, 300),
            (true, true, 2, 32),
            (false, false, 3, 700),
        ] {
            for activation in [Activation::Relu, Activation::LeakyRelu] {
                let config = MlpConfig {
                    hidden: 70,
                    layers,
                    residual,
                    skip,
                    activation,
                    init: WeightInit::Uniform(0.2),
                    zero_last: false,
                    ..MlpConfig::default()
                };
                let what = format!("{config:?}, {rows} rows");
                let vs = nn::VarStore::new(Device::Cpu);
                let net = config.build(&vs.root(), 13, 37, 1).unwrap();
                let draw = |columns: i64| Tensor::randn([rows, columns], (Kind::Float, Device::Cpu));
                let (x, grad) = with_seed(2, || {
                    if let Some(skip) = &net.skip {
                        flow_core::no_grad(|| skip.shallow_clone().copy_(&(skip.randn_like() * 0.2)));
                    }
                    (draw(13), draw(37))
                });
                let slope = Slope(activation.slope().expect("two straight lines"));

                let taped = x.copy().set_requires_grad(true);
                let y = net.run(&taped);
                (&y * &grad).sum(None::<Kind>).backward();
                let (y, grad_x) = (y.detach(), taped.grad().narrow(1, 0, 13 - CONTEXT));
                let variables = vs.variables();
                let gradients = |name: &str| gradient_of(&variables[name]).expect("all are trained").copy();
                let plain: Vec<(&String, Tensor)> = variables.keys().map(|name| (name, gradients(name))).collect();

                let check = |what: &str, given: Tensor, kept: ConditionerKept| {
                    variables.values().for_each(|v| drop(v.grad().zero_()));
                    close(what, &given, &y);
                    close(what, &kept.parameters, &y);
                    let back = kept.back.backward(&grad, true, &mut ToParameters).expect("it is wanted");
                    close(what, &back, &grad_x);
                    plain.iter().for_each(|(name, plain)| close(&format!("{what}: {name}"), &gradients(name), plain));
                };
                flow_core::no_grad(|| {
                    let trained = Trained { net: &net, slope, context: CONTEXT as usize };
                    check(&what, forward(&net, slope, &x), trained.forward_keeping_rows(&x));
                    emulated(|| {
                        let given = mlp_gpu::forward(&net, slope, &x);
                        let what = format!("on a GPU: {what}");
                        check(&what, given, mlp_gpu::forward_keeping(&net, slope, &x, CONTEXT));
                    });
                });
            }
        }
    }
}
