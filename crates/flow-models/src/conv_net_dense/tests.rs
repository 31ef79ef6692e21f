//! Convolutional nets by hand against libtorch's layers and autograd's gradients.

use flow_core::product::Precision;
use flow_core::rng::with_seed;
use flow_core::{Conditioner, ToParameters, gradient_of};
use tch::Device;
use tch::nn::VarStore;

use super::*;
use crate::{Activation, ConvNetConfig, Norm};

const INPUTS: usize = 3;
const OUTPUTS: usize = 5;

/// A net and the variables that it was built of.
pub(crate) struct Case {
    what: String,
    vs: VarStore,
    net: ConvNet,
    slope: Option<Slope>,
}

impl Case {
    /// Whose variables are standard normals, made smaller.
    pub(crate) fn new(config: &ConvNetConfig, context: usize, kind: Kind) -> Self {
        let mut vs = VarStore::new(Device::Cpu);
        vs.set_kind(kind);
        let net = config.build(&vs.root(), INPUTS, OUTPUTS, context, 1);
        for (i, (name, variable)) in by_name(&vs).into_iter().enumerate() {
            // Running variances are none.
            if !name.ends_with("variance") {
                set(&variable, &(draw(&variable.size(), i as u64) * 0.3));
            }
        }
        Case { what: format!("{config:?}"), vs, net, slope: config.activation.slope().map(Slope) }
    }

    /// Whose activations are never as near to 0 as rounding: filters of a few ±1, and biases that are no multiples of
    /// what all before are multiples of. A ReLU's derivative is then the same however sums are rounded.
    pub(crate) fn apart(config: &ConvNetConfig) -> Self {
        let case = Case::new(config, 0, Kind::Float);
        for (i, conv) in case.net.convs().enumerate() {
            let size = conv.weight.size();
            let some = with_seed(i as u64, || conv.weight.rand_like()).lt(4.0 / (size[1] * size[2] * size[3]) as f64);
            set(&conv.weight, &(draw(&size, i as u64).sign() * some));
            set(&conv.bias, &(draw(&size[..1], i as u64).round() + 0.5f64.powi(i as i32 + 1)));
        }
        let variables = case.vs.variables();
        for (name, gain) in variables.iter().filter(|(name, _)| name.ends_with("gain")) {
            let weight = variables[&name.replace("gain", "weight")].detach();
            let length = weight.square().sum_dim_intlist(&[1i64, 2, 3][..], false, None::<Kind>).sqrt();
            set(gain, &(length * draw(&gain.size(), 9).sign()));
        }
        case
    }

    /// Both ways by hand on `x` are those of libtorch's layers and autograd's tape, which are taken where gradients are on.
    fn check(&self, x: &Tensor, grad: &Tensor) {
        let what = format!("{}, {:?} in steps of {:?}", self.what, x.size(), x.stride());
        let slope = self.slope.expect("two straight lines");
        let truth = self.by_autograd(x, None, grad);
        flow_core::no_grad(|| {
            close(&what, &forward(&self.net, slope, x, None), &truth.y);
            self.check_kept(&what, &truth, grad, || forward_keeping(&self.net, slope, x, None));
        });
    }

    /// The same of the conditioner, who finds out by whom it is to be done.
    pub(crate) fn check_conditioner(&self, x: &Tensor, context: Option<&Tensor>, grad: &Tensor) {
        let truth = self.by_autograd(x, context, grad);
        flow_core::no_grad(|| {
            close(&self.what, &self.net.forward(x, context), &truth.y);
            self.check_kept(&self.what, &truth, grad, || self.net.forward_keeping(x, context));
        });
    }

    fn check_kept<'a>(&self, what: &str, truth: &Truth, grad: &Tensor, keeping: impl Fn() -> ConditionerKept<'a>) {
        for wanted in [true, false] {
            self.trained().iter().for_each(|(_, variable)| drop(variable.grad().zero_()));
            let kept = keeping();
            close(what, &kept.parameters, &truth.y);
            let grad_x = kept.back.backward(grad, wanted, &mut ToParameters);
            assert_eq!(grad_x.is_some(), wanted, "{what}");
            grad_x.iter().for_each(|grad_x| close(&format!("{what}: input"), grad_x, &truth.grad_x));
            for ((name, variable), expected) in self.trained().iter().zip(&truth.of_variables) {
                close(&format!("{what}: {name}, wanted: {wanted}"), &variable.grad(), expected);
            }
        }
    }

    fn trained(&self) -> Vec<(String, Tensor)> {
        by_name(&self.vs).into_iter().filter(|(_, variable)| variable.requires_grad()).collect()
    }

    fn by_autograd(&self, x: &Tensor, context: Option<&Tensor>, grad: &Tensor) -> Truth {
        let leaf = x.contiguous().copy().set_requires_grad(true);
        let variables: Vec<Tensor> = self.trained().into_iter().map(|(_, variable)| variable).collect();
        let gradients: Vec<Tensor> = variables.iter().map(|v| gradient_of(v).expect("it is trained")).collect();
        gradients.iter().for_each(|gradient| drop(gradient.shallow_clone().zero_()));
        let y = self.net.forward(&leaf, context);
        (&y * grad).sum(None::<Kind>).backward();
        Truth { y: y.detach(), grad_x: leaf.grad(), of_variables: gradients.iter().map(Tensor::copy).collect() }
    }
}

struct Truth {
    y: Tensor,
    grad_x: Tensor,
    of_variables: Vec<Tensor>,
}

fn by_name(vs: &VarStore) -> Vec<(String, Tensor)> {
    let mut named: Vec<_> = vs.variables().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

fn set(variable: &Tensor, numbers: &Tensor) {
    flow_core::no_grad(|| variable.shallow_clone().copy_(numbers));
}

pub(crate) fn draw(size: &[i64], seed: u64) -> Tensor {
    with_seed(seed, || Tensor::randn(size, (Kind::Float, Device::Cpu)))
}

/// Images of small whole numbers, and a gradient for what a net makes of them.
pub(crate) fn images(count: i64, height: i64, width: i64) -> (Tensor, Tensor) {
    let of = |channels: usize, seed| draw(&[count, channels as i64, height, width], seed);
    ((of(INPUTS, 20) * 2.0).round(), of(OUTPUTS, 21))
}

fn close(what: &str, fast: &Tensor, plain: &Tensor) {
    assert_eq!(fast.size(), plain.size(), "{what}");
    if plain.numel() > 0 {
        let off = (fast - plain).abs().max().double_value(&[]);
        let most = plain.abs().max().double_value(&[]);
        assert!(off <= 1e-5 * (1.0 + most), "{what}: {off} of {most}");
    }
}

impl Case {
    /// What the net makes of `x`, the gradient of it and those of the parameters.
    fn both_ways(&self, x: &Tensor, grad: &Tensor) -> Vec<Tensor> {
        let slope = self.slope.expect("two straight lines");
        self.trained().iter().for_each(|(_, variable)| drop(gradient_of(variable).expect("it is trained").zero_()));
        let kept = forward_keeping(&self.net, slope, x, None);
        let back = kept.back.backward(grad, true, &mut ToParameters).expect("it is wanted");
        let of_variables = self.trained().into_iter().map(|(_, variable)| variable.grad().copy());
        [kept.parameters, forward(&self.net, slope, x, None), back].into_iter().chain(of_variables).collect()
    }
}

/// What comes out is off by some 2^-9, as factors are. In gradients there are units, too, that are on the other side of their kink.
#[test]
fn in_bf16_it_is_the_same_but_for_rounding() {
    for (residual, norm) in [(false, Norm::None), (true, Norm::Weight)] {
        let config = ConvNetConfig { width: 20, blocks: 2, residual, norm, ..ConvNetConfig::default() };
        let case = Case::new(&config, 0, Kind::Float);
        let grad = draw(&[5, OUTPUTS as i64, 6, 7], 2);
        let x = draw(&[5, INPUTS as i64, 6, 7], 1);
        flow_core::no_grad(|| {
            let exact = case.both_ways(&x, &grad);
            let rounded = Precision::Bf16.scope(|| case.both_ways(&x, &grad));
            let off = |(exact, rounded): (&Tensor, &Tensor)| {
                ((rounded - exact).square().mean(None).sqrt() / exact.square().mean(None).sqrt()).double_value(&[])
            };
            let off: Vec<f64> = exact.iter().zip(&rounded).map(off).collect();
            let rounded = |off: &f64| (1e-4..2e-2).contains(off);
            assert!(off[..2].iter().all(rounded) && off.iter().all(|off| *off < 0.2), "{config:?}: {off:?}");
        });
    }
}

/// Plain and residual nets of no, one and more blocks.
pub(crate) fn shapes() -> [ConvNetConfig; 8] {
    let plain = |blocks| ConvNetConfig { width: 7, blocks, ..ConvNetConfig::default() };
    let residual = |blocks, pointwise| ConvNetConfig { residual: true, pointwise, ..plain(blocks) };
    let [a, b, c] = [0, 1, 2].map(plain);
    [a, b, c, residual(0, false), residual(1, false), residual(1, true), residual(3, false), residual(3, true)]
}

#[test]
fn layers_and_gradients_are_those_of_libtorch() {
    let sizes = [(1, 1, 1), (3, 5, 4), (40, 1, 1), (0, 5, 4), (1, 14, 14), (3, 7, 7), (1, 1, 9), (40, 7, 7)];
    for shape in shapes() {
        for norm in [Norm::None, Norm::Weight] {
            for width in [7, 20] {
                let case = Case::apart(&ConvNetConfig { width, norm, ..shape.clone() });
                for (count, height, width) in sizes {
                    let (x, grad) = images(count, height, width);
                    case.check(&x, &grad);
                }
            }
        }
    }
}

/// More images than a block takes through all layers at once.
#[test]
fn of_many_images_too() {
    for shape in [&shapes()[1], &shapes()[5]] {
        let case = Case::apart(&ConvNetConfig { width: 20, ..shape.clone() });
        let (x, grad) = images(75, 14, 14);
        case.check(&x, &grad);
    }
}

/// Few numbers, so that none is by chance as near to 0 as rounding.
#[test]
fn with_a_slope_below_0_too() {
    for shape in shapes() {
        for norm in [Norm::None, Norm::Weight] {
            let config = ConvNetConfig { activation: Activation::LeakyRelu, norm, ..shape.clone() };
            let case = Case::new(&config, 0, Kind::Float);
            for (count, height, width) in [(1, 1, 1), (3, 5, 4), (0, 2, 2), (1, 7, 7)] {
                let (x, grad) = images(count, height, width);
                case.check(&x, &grad);
            }
        }
    }
}

/// Where filters and inputs are whole numbers many activations are 0, at which both sides have a derivative of their own.
#[test]
fn at_the_kink_the_derivative_is_that_below_it() {
    for activation in [Activation::Relu, Activation::LeakyRelu] {
        let case = Case::apart(&ConvNetConfig { width: 7, blocks: 0, activation, ..ConvNetConfig::default() });
        let first = case.net.convs().next().expect("there is one");
        set(&first.bias, &first.bias.zeros_like());
        let (x, grad) = images(3, 5, 4);
        case.check(&x, &grad);
    }
}

/// Some channels of more, images that lie apart, on their sides, or one that is given again and again; and such gradients.
#[test]
fn of_images_that_are_a_part_of_others_too() {
    for shape in [&shapes()[1], &shapes()[6]] {
        let case = Case::apart(shape);
        let whole = (draw(&[6, 8, 5, 4], 20) * 2.0).round();
        let grad = draw(&[3, OUTPUTS as i64, 5, 4], 21);
        let of_more = draw(&[3, 8, 5, 4], 22).narrow(1, 2, OUTPUTS as i64);
        let sideways = draw(&[3, OUTPUTS as i64, 4, 5], 22).transpose(2, 3);
        let (first, channels) = (whole.narrow(0, 0, 3), INPUTS as i64);
        for x in [
            first.narrow(1, 1, channels),
            whole.slice(0, 0, 6, 2).narrow(1, 5, channels),
            first.narrow(1, 0, channels),
            (draw(&[3, channels, 4, 5], 20) * 2.0).round().transpose(2, 3),
            (draw(&[3, 5, 4, channels], 20) * 2.0).round().permute([0, 3, 1, 2]),
            (draw(&[3, channels, 9, 6], 20) * 2.0).round().narrow(2, 3, 5).narrow(3, 1, 4),
            whole.narrow(0, 0, 1).narrow(1, 0, channels).expand([3, -1, -1, -1], false),
        ] {
            for grad in [&grad, &of_more, &sideways] {
                case.check(&x, grad);
            }
        }
    }
}

/// A context shifts every image by its own, and its weight has a gradient; images of several parts, and of none.
#[test]
fn nets_with_a_context() {
    for shape in shapes() {
        let case = Case::new(&shape, 2, Kind::Float);
        let slope = case.slope.expect("two straight lines");
        for count in [0, 1, 5] {
            let (x, grad) = images(count, 3, 2);
            let context = draw(&[count, 2], 22);
            let truth = case.by_autograd(&x, Some(&context), &grad);
            flow_core::no_grad(|| {
                close(&case.what, &forward(&case.net, slope, &x, Some(&context)), &truth.y);
                case.check_kept(&case.what, &truth, &grad, || forward_keeping(&case.net, slope, &x, Some(&context)));
            });
            case.check_conditioner(&x, Some(&context), &grad);
        }
    }
}

/// What is not known here: batch normalisation, curved activations, and f64.
#[test]
fn the_rest_is_left_to_libtorch() {
    let config = ConvNetConfig { width: 7, blocks: 1, ..ConvNetConfig::default() };
    let residual = ConvNetConfig { residual: true, ..config.clone() };
    let (x, grad) = images(3, 5, 4);
    for config in [config, residual] {
        let case = |config: ConvNetConfig, context| Case::new(&config, context, Kind::Float);
        for training in [false, true] {
            let mut normalised = case(ConvNetConfig { norm: Norm::Batch, ..config.clone() }, 0);
            normalised.net.set_training(training);
            normalised.check_conditioner(&x, None, &grad);
        }
        for activation in [Activation::Silu, Activation::Gelu, Activation::Tanh] {
            case(ConvNetConfig { activation, ..config.clone() }, 0).check_conditioner(&x, None, &grad);
        }
        let [x, grad] = [&x, &grad].map(|t| t.to_kind(Kind::Double));
        Case::new(&config, 0, Kind::Double).check_conditioner(&x, None, &grad);
    }
}

/// And what is known is taken by either.
#[test]
fn a_conditioner_is_the_same_with_gradients_and_without() {
    for shape in shapes() {
        let (x, grad) = images(3, 7, 7);
        Case::apart(&shape).check_conditioner(&x, None, &grad);
    }
}

#[test]
#[should_panic(expected = "channels of a net's input")]
fn images_of_other_channels_are_a_bug() {
    let case = Case::apart(&shapes()[1]);
    let _ = forward(&case.net, Slope(0.0), &draw(&[1, 4, 2, 2], 1), None);
}
