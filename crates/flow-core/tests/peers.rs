//! Holds this crate against nflows, normflows and zuko: the same weights give the same latents and likelihoods.
//!
//! The files are made by `peers/make.py`, whose first lines say how the peers differ in direction, law and layout.

use flow_core::{
    Bijection, Bound, Chain, Conditioner, Coupling, ElementwiseAffine, Flow, Inverse, Law, Mask, Permute,
    StandardNormal,
};
use serde::Deserialize;
use tch::{Device, Kind, Tensor, nn};

const TOLERANCE: f64 = 1e-11;

#[derive(Deserialize)]
struct Peer {
    steps: Vec<Step>,
    context: Option<Matrix>,
    x: Matrix,
    z: Matrix,
    log_det: Vec<f64>,
    log_prob: Vec<f64>,
    z2: Matrix,
    x2: Matrix,
    log_det2: Vec<f64>,
}

type Matrix = Vec<Vec<f64>>;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Step {
    Permute {
        order: Vec<i64>,
    },
    /// `out = in * scale + shift`, in the direction named.
    Affine {
        scale: Vec<f64>,
        shift: Vec<f64>,
        data_to_latent: bool,
    },
    Coupling {
        keep: Vec<bool>,
        law: PeerLaw,
        layout: Layout,
        activation: Activation,
        nets: Vec<Vec<Layer>>,
        bound: Option<Vec<f64>>,
        data_to_latent: bool,
    },
}

/// The logarithm of the scale from the net's output `a`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
enum PeerLaw {
    #[serde(rename = "additive")]
    Additive,
    /// `bound * tanh(a)`, which is this crate's own.
    #[serde(rename = "tanh")]
    Tanh,
    #[serde(rename = "nflows sigmoid")]
    NflowsSigmoid,
    #[serde(rename = "normflows exp")]
    NormflowsExp,
    #[serde(rename = "normflows sigmoid")]
    NormflowsSigmoid,
    #[serde(rename = "zuko softclip")]
    ZukoSoftclip,
}

/// Where the net's output holds `a` and the shift.
#[derive(Clone, Copy, Debug, Deserialize)]
enum Layout {
    #[serde(rename = "shift")]
    Shift,
    #[serde(rename = "shift, scale")]
    ShiftScale,
    /// Shift and scale of one coordinate, then of the next.
    #[serde(rename = "interleaved")]
    Interleaved,
    /// A net for the scale and one for the shift.
    #[serde(rename = "two nets")]
    TwoNets,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Activation {
    Relu,
    Leaky,
    Tanh,
}

#[derive(Deserialize)]
struct Layer {
    weight: Matrix,
    bias: Vec<f64>,
}

/// The peer's nets, its output turned into `[raw, shift]` as [`Law`] wants it.
#[derive(Debug)]
struct PeerNet {
    nets: Vec<Vec<(Tensor, Tensor)>>,
    activation: Activation,
    layout: Layout,
    law: PeerLaw,
}

/// The bound for the peers' laws that are not `bound * tanh(a)`: above every |log s| that comes from the given weights.
const WIDE: f64 = 8.0;

impl PeerNet {
    fn run(&self, net: &[(Tensor, Tensor)], input: &Tensor) -> Tensor {
        let mut h = input.shallow_clone();
        for (i, (weight, bias)) in net.iter().enumerate() {
            h = h.linear(weight, Some(bias));
            if i + 1 < net.len() {
                h = match self.activation {
                    Activation::Relu => h.relu(),
                    Activation::Leaky => h.maximum(&(&h * 0.1)),
                    Activation::Tanh => h.tanh(),
                };
            }
        }
        h
    }

    /// What [`Law`] takes the tanh of, so that it arrives at the peer's `log_s`.
    fn raw(&self, a: &Tensor) -> Tensor {
        let log_s = match self.law {
            PeerLaw::Additive => unreachable!("an additive law has no scale"),
            PeerLaw::Tanh => return a.shallow_clone(),
            PeerLaw::NflowsSigmoid => ((a + 2.0).sigmoid() + 1e-3).log(),
            PeerLaw::NormflowsExp => a.shallow_clone(),
            PeerLaw::NormflowsSigmoid => (a + 2.0).sigmoid().log().neg(),
            PeerLaw::ZukoSoftclip => a / (a.abs() / 1e3f64.ln() + 1.0),
        };
        let ratio: Tensor = log_s / WIDE;
        assert!(ratio.abs().max().double_value(&[]) < 1.0, "a scale beyond the bound of this test");
        ratio.atanh()
    }
}

impl Conditioner for PeerNet {
    fn forward(&self, kept: &Tensor, context: Option<&Tensor>) -> Tensor {
        let input = match context {
            None => kept.shallow_clone(),
            Some(context) => Tensor::cat(&[kept, context], 1),
        };
        let outputs: Vec<Tensor> = self.nets.iter().map(|net| self.run(net, &input)).collect();
        let first = &outputs[0];
        let half = first.size()[1] / 2;
        let (a, shift) = match self.layout {
            Layout::Shift => return first.shallow_clone(),
            Layout::ShiftScale => (first.narrow(1, half, half), first.narrow(1, 0, half)),
            Layout::Interleaved => (first.slice(1, 1, None, 2), first.slice(1, 0, None, 2)),
            Layout::TwoNets => (first.shallow_clone(), outputs[1].shallow_clone()),
        };
        Tensor::cat(&[self.raw(&a), shift], 1)
    }
}

fn matrix(rows: &Matrix) -> Tensor {
    Tensor::from_slice2(rows)
}

fn bijection(step: Step, path: &nn::Path) -> Box<dyn Bijection> {
    match step {
        Step::Permute { order } => Box::new(Permute::new(&order, Device::Cpu).unwrap()),
        Step::Affine { scale, shift, data_to_latent } => {
            // z = in * scale + shift is the standardisation by -shift/scale and 1/scale.
            let mean = scale.iter().zip(&shift).map(|(scale, shift)| -shift / scale).collect::<Vec<_>>();
            let std = scale.iter().map(|scale| 1.0 / scale).collect::<Vec<_>>();
            let affine = ElementwiseAffine::standardize(path, &mean, &std).unwrap();
            turn(affine, data_to_latent)
        }
        Step::Coupling { keep, law, layout, activation, nets, bound, data_to_latent } => {
            let tensors = |layer: Layer| (matrix(&layer.weight), Tensor::from_slice(&layer.bias));
            let nets = nets.into_iter().map(|net| net.into_iter().map(tensors).collect()).collect();
            let own = match (law, bound) {
                (PeerLaw::Additive, _) => Law::Additive,
                (_, None) => Law::Affine { bound: Bound::Fixed(WIDE) },
                (_, Some(bound)) if bound.iter().all(|b| *b == bound[0]) => {
                    Law::Affine { bound: Bound::Fixed(bound[0]) }
                }
                (_, Some(bound)) => Law::Affine { bound: Bound::Learned(Tensor::from_slice(&bound)) },
            };
            let mask = Mask::from_bools(&keep, Device::Cpu).unwrap();
            turn(Coupling::new(mask, PeerNet { nets, activation, layout, law }, own), data_to_latent)
        }
    }
}

/// A map whose `forward` is written down as latent to data is turned round.
fn turn(bijection: impl Bijection + 'static, data_to_latent: bool) -> Box<dyn Bijection> {
    if data_to_latent { Box::new(bijection) } else { Box::new(Inverse(bijection)) }
}

fn assert_close(what: &str, got: &Tensor, expected: &Tensor) {
    assert_eq!(got.size(), expected.size(), "{what}");
    let off = (got - expected).abs().max().double_value(&[]);
    assert!(off < TOLERANCE, "{what} is off by {off:e}:\n{got}\n{expected}");
}

fn agree(file: &str) {
    let peer: Peer = serde_json::from_str(file).unwrap();
    let mut vs = nn::VarStore::new(Device::Cpu);
    vs.set_kind(Kind::Double);
    let mut chain = Chain::default();
    for (i, step) in peer.steps.into_iter().enumerate() {
        chain.push(format!("step_{i}"), bijection(step, &(vs.root() / i as i64))).unwrap();
    }
    let x = matrix(&peer.x);
    let context = peer.context.as_ref().map(matrix);
    let flow = Flow::new(chain, StandardNormal::new(&x.size()[1..]), Device::Cpu);

    let (z, log_det) = flow.bijection().forward(&x, context.as_ref());
    assert_close("z", &z, &matrix(&peer.z));
    assert_close("log_det", &log_det, &Tensor::from_slice(&peer.log_det));
    assert_close("log_prob", &flow.log_prob(&x, context.as_ref()), &Tensor::from_slice(&peer.log_prob));

    let (x2, log_det2) = flow.bijection().inverse(&matrix(&peer.z2), context.as_ref());
    assert_close("x of the way back", &x2, &matrix(&peer.x2));
    assert_close("log_det of the way back", &log_det2, &Tensor::from_slice(&peer.log_det2));
}

#[test]
fn nflows_nice() {
    agree(include_str!("peers/nflows_nice.json"));
}

#[test]
fn nflows_realnvp_with_context() {
    agree(include_str!("peers/nflows_realnvp.json"));
}

#[test]
fn nflows_with_a_bound_for_each_coordinate() {
    agree(include_str!("peers/nflows_bounded.json"));
}

#[test]
fn normflows_nice() {
    agree(include_str!("peers/normflows_nice.json"));
}

#[test]
fn normflows_realnvp_masked() {
    agree(include_str!("peers/normflows_realnvp.json"));
}

#[test]
fn normflows_realnvp_blocks() {
    agree(include_str!("peers/normflows_blocks.json"));
}

#[test]
fn zuko_nice() {
    agree(include_str!("peers/zuko_nice.json"));
}

#[test]
fn zuko_realnvp_with_context() {
    agree(include_str!("peers/zuko_realnvp.json"));
}

#[test]
fn zuko_realnvp_with_tanh() {
    agree(include_str!("peers/zuko_tanh.json"));
}
