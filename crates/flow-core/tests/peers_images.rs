//! Holds what image flows are made of against nflows and normflows: the same weights give the same latents and
//! likelihoods, in both directions.
//!
//! The files are made by `peers/make_images.py`, whose first lines say how the peers differ in direction, law, layout.

use flow_core::{
    ActNorm, Bijection, Bound, Chain, Conditioner, Conv1x1, Flow, ImageCoupling, ImageMask, Inverse, Law, Level,
    Multiscale, SqueezeOrder, StandardNormal, TopPrior,
};
use serde::Deserialize;
use tch::{Device, Kind, Tensor, nn};

const TOLERANCE: f64 = 1e-11;

#[derive(Deserialize)]
struct Peer {
    event: [usize; 3],
    levels: Vec<PeerLevel>,
    context: Option<Vec<Vec<f64>>>,
    x: Vec<Vec<f64>>,
    z: Vec<Vec<f64>>,
    /// Where priors are steps of this crate but bases of the peer's, densities are compared instead.
    log_det: Option<Vec<f64>>,
    log_prob: Vec<f64>,
    z2: Vec<Vec<f64>>,
    x2: Vec<Vec<f64>>,
    log_det2: Option<Vec<f64>>,
    log_prob2: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct PeerLevel {
    before: Vec<Step>,
    steps: Vec<Step>,
    kept: usize,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<i64>,
    values: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Step {
    /// `out = in * exp(log_scale) + shift`, in the direction named.
    ActNorm { log_scale: Vec<f64>, shift: Vec<f64>, data_to_latent: bool },
    /// New channel `i` is old channel `order[i]`.
    Permute { order: Vec<i64> },
    /// Row `i` of W is row `order[i]` of `L (U + diag(sign * exp(log_diagonal)))`, of which the strict triangles count.
    Lu { order: Vec<i64>, lower: Array, upper: Array, log_diagonal: Vec<f64>, sign: Vec<f64> },
    /// W itself.
    Plain { matrix: Array },
    Coupling {
        mask: PeerMask,
        law: PeerLaw,
        layout: Layout,
        nets: Vec<Vec<Layer>>,
        slope: f64,
        residual: bool,
        /// Of a spline.
        bins: Option<usize>,
        data_to_latent: bool,
    },
    /// A Gaussian by class of the channels behind the first `kept`.
    Rest { kept: usize, loc: Array, log_scale: Array, by_context: Array },
    /// A Gaussian by class of all channels.
    Top { loc: Array, log_scale: Array, by_context: Array },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PeerMask {
    Channels { first: usize, flipped: bool },
    Checkerboard { flipped: bool },
}

/// The logarithm of the scale from the net's output `a`; or a spline.
#[derive(Clone, Copy, Debug, Deserialize)]
enum PeerLaw {
    #[serde(rename = "nflows sigmoid")]
    NflowsSigmoid,
    #[serde(rename = "normflows exp")]
    NormflowsExp,
    #[serde(rename = "normflows sigmoid")]
    NormflowsSigmoid,
    #[serde(rename = "normflows sigmoid_inv")]
    NormflowsSigmoidInv,
    #[serde(rename = "nflows spline")]
    NflowsSpline,
}

/// Where the net's output holds `a` and the shift.
#[derive(Clone, Copy, Debug, Deserialize)]
enum Layout {
    #[serde(rename = "shift, scale")]
    ShiftScale,
    /// Shift and scale of one channel, then of the next.
    #[serde(rename = "interleaved")]
    Interleaved,
    /// A net for the scale and one for the shift.
    #[serde(rename = "two nets")]
    TwoNets,
    /// All parameters of one channel, then of the next.
    #[serde(rename = "by channel")]
    ByChannel,
}

#[derive(Deserialize)]
struct Layer {
    weight: Array,
    bias: Vec<f64>,
}

/// The peer's convolutional nets, their output turned into `[raw, shift]` as [`Law`] wants it.
#[derive(Debug)]
struct PeerNet {
    nets: Vec<Vec<(Tensor, Tensor)>>,
    slope: f64,
    residual: bool,
    layout: Layout,
    law: PeerLaw,
    bins: Option<usize>,
}

/// The bound for the peers' scales, none of which is `bound * tanh(a)`: above every |log s| that comes from the given
/// weights.
const WIDE: f64 = 8.0;

/// What [`Law`] takes the tanh of, so that it arrives at `log_s`.
fn raw(log_s: &Tensor) -> Tensor {
    let ratio: Tensor = log_s / WIDE;
    assert!(ratio.abs().max().double_value(&[]) < 1.0, "a scale beyond the bound of this test");
    ratio.atanh()
}

impl PeerNet {
    fn run(&self, net: &[(Tensor, Tensor)], input: &Tensor) -> Tensor {
        let conv =
            |(weight, bias): &(Tensor, Tensor), h: &Tensor| h.conv2d(weight, Some(bias), 1, weight.size()[2] / 2, 1, 1);
        let act = |h: &Tensor| h.maximum(&(h * self.slope));
        let (first, rest) = net.split_first().unwrap();
        let first = conv(first, input);
        if !self.residual {
            return rest.iter().fold(first, |h, layer| conv(layer, &act(&h)));
        }
        let (last, blocks) = rest.split_last().unwrap();
        let hidden = blocks.chunks(2).fold(first, |h, block| {
            let change = conv(&block[1], &act(&conv(&block[0], &act(&h))));
            h + change
        });
        conv(last, &hidden)
    }

    fn log_scale(&self, a: &Tensor) -> Tensor {
        match self.law {
            PeerLaw::NflowsSigmoid => ((a + 2.0).sigmoid() + 1e-3).log(),
            PeerLaw::NormflowsExp => a.shallow_clone(),
            PeerLaw::NormflowsSigmoid => (a + 2.0).sigmoid().log().neg(),
            PeerLaw::NormflowsSigmoidInv => (a + 2.0).sigmoid().log(),
            PeerLaw::NflowsSpline => unreachable!("a spline has no scale"),
        }
    }

    /// The parameters of nflows' splines, `[n, (3 bins - 1) * changed, h, w]`, as [`Law`] wants them.
    fn spline(&self, output: &Tensor, bins: i64) -> Tensor {
        let (n, channels, height, width) = output.size4().unwrap();
        let each = 3 * bins - 1;
        let by_bin = output.reshape([n, channels / each, each, height, width]).transpose(1, 2);
        let hidden = self.nets[0][0].0.size()[0] as f64;
        let sizes = by_bin.narrow(1, 0, 2 * bins) / hidden.sqrt();
        // softplus(u) in nflows, softplus(slope + ln(e - 1)) here, and 0.001 is added to both.
        let one = (std::f64::consts::E - 1.0).ln();
        let end = ((1.0f64 - 1e-3).exp() - 1.0).ln();
        let ends = by_bin.narrow(1, 0, 1).full_like(end);
        let slopes = Tensor::cat(&[&ends, &by_bin.narrow(1, 2 * bins, bins - 1), &ends], 1) - one;
        Tensor::cat(&[sizes, slopes], 1).reshape([n, -1, height, width])
    }
}

impl Conditioner for PeerNet {
    fn forward(&self, kept: &Tensor, _context: Option<&Tensor>) -> Tensor {
        let outputs: Vec<Tensor> = self.nets.iter().map(|net| self.run(net, kept)).collect();
        let first = &outputs[0];
        if let Some(bins) = self.bins {
            return self.spline(first, bins as i64);
        }
        let half = first.size()[1] / 2;
        let (a, shift) = match self.layout {
            Layout::ShiftScale => (first.narrow(1, half, half), first.narrow(1, 0, half)),
            Layout::Interleaved => (first.slice(1, 1, None, 2), first.slice(1, 0, None, 2)),
            Layout::TwoNets => (first.shallow_clone(), outputs[1].shallow_clone()),
            Layout::ByChannel => unreachable!("the layout of a spline"),
        };
        Tensor::cat(&[raw(&self.log_scale(&a)), shift], 1)
    }
}

/// Mean and logarithm of the scale of what is let go of, whatever is kept.
#[derive(Debug)]
struct ByClass {
    loc: Tensor,
    log_scale: Tensor,
    by_context: Tensor,
}

impl Conditioner for ByClass {
    fn forward(&self, _kept: &Tensor, context: Option<&Tensor>) -> Tensor {
        let moved = context.expect("a class").linear(&self.by_context, None::<&Tensor>);
        let dim = moved.size()[1] / 2;
        let part = |i: i64, own: &Tensor| {
            let [channels, height, width] = own.size()[..] else { panic!("{:?} is no image", own.size()) };
            moved.narrow(1, i * dim, dim).reshape([-1, channels, height, width]) + own
        };
        Tensor::cat(&[raw(&part(1, &self.log_scale)), part(0, &self.loc)], 1)
    }
}

fn tensor(array: &Array) -> Tensor {
    Tensor::from_slice(&array.values).reshape(&array.shape)
}

/// Sets variables of `path` to what the peer has.
fn set(vs: &nn::VarStore, path: &nn::Path, values: &[(&str, Tensor)]) {
    let variables = vs.variables();
    for (name, value) in values {
        let full = [path.components().collect::<Vec<_>>().join("."), (*name).to_owned()].join(".");
        let variable = &variables[&full];
        assert_eq!(variable.size(), value.size(), "{full}");
        tch::no_grad(|| variable.shallow_clone().copy_(value));
    }
}

/// The step as this crate has it, for `channels` channels.
fn bijection(step: Step, vs: &nn::VarStore, path: &nn::Path, channels: usize) -> Box<dyn Bijection> {
    match step {
        Step::ActNorm { log_scale, shift, data_to_latent } => {
            let (log_scale, shift) = (Tensor::from_slice(&log_scale), Tensor::from_slice(&shift));
            // x e^s + t is (x + t e^-s) e^s, and backwards (x - t) e^-s.
            let (log_scale, shift) = match data_to_latent {
                true => (log_scale.shallow_clone(), shift * log_scale.neg().exp()),
                false => (log_scale.neg(), shift.neg()),
            };
            let actnorm = ActNorm::new(path, channels);
            set(vs, path, &[("log_scale", log_scale), ("shift", shift)]);
            Box::new(actnorm)
        }
        Step::Permute { order } => {
            let matrix = Tensor::eye(channels as i64, (Kind::Double, Device::Cpu));
            let matrix = matrix.index_select(0, &Tensor::from_slice(&order));
            let permute = Conv1x1::plain(path, channels, 0);
            set(vs, path, &[("matrix", matrix)]);
            Box::new(permute)
        }
        Step::Lu { order, lower, upper, log_diagonal, sign } => {
            let mix = Conv1x1::lu(path, channels, 0);
            let values = [
                ("order", Tensor::from_slice(&order)),
                ("lower", tensor(&lower)),
                ("upper", tensor(&upper)),
                ("log_diagonal", Tensor::from_slice(&log_diagonal)),
                ("sign", Tensor::from_slice(&sign)),
            ];
            set(vs, path, &values);
            Box::new(mix)
        }
        Step::Plain { matrix } => {
            let mix = Conv1x1::plain(path, channels, 0);
            set(vs, path, &[("matrix", tensor(&matrix))]);
            Box::new(mix)
        }
        Step::Coupling { mask, law, layout, nets, slope, residual, bins, data_to_latent } => {
            let layer = |layer: Layer| (tensor(&layer.weight), Tensor::from_slice(&layer.bias));
            let nets = nets.into_iter().map(|net| net.into_iter().map(layer).collect()).collect();
            let mask = match mask {
                PeerMask::Channels { first, flipped } => ImageMask::Channels { first, flipped },
                PeerMask::Checkerboard { flipped } => ImageMask::Checkerboard { flipped },
            };
            let net = PeerNet { nets, slope, residual, layout, law, bins };
            let own = bins.map_or_else(wide, |bins| Law::Spline { bins });
            let coupling = ImageCoupling::new(mask, channels, net, own).unwrap();
            if data_to_latent { Box::new(coupling) } else { Box::new(Inverse(coupling)) }
        }
        Step::Rest { kept, loc, log_scale, by_context } => {
            let net = ByClass { loc: tensor(&loc), log_scale: tensor(&log_scale), by_context: tensor(&by_context) };
            let mask = ImageMask::Channels { first: kept, flipped: false };
            Box::new(Inverse(ImageCoupling::new(mask, channels, net, wide()).unwrap()))
        }
        Step::Top { loc, log_scale, by_context } => {
            let prior = TopPrior::new(path, &loc.shape, by_context.shape[1] as usize);
            let values =
                [("loc", tensor(&loc)), ("log_scale", tensor(&log_scale)), ("by_context", tensor(&by_context))];
            set(vs, path, &values);
            Box::new(prior)
        }
    }
}

fn wide() -> Law {
    Law::Affine { bound: Bound::Fixed(WIDE) }
}

fn chain(name: &str, steps: Vec<Step>, vs: &nn::VarStore, path: &nn::Path, channels: usize) -> Chain {
    let mut chain = Chain::default();
    for (i, step) in steps.into_iter().enumerate() {
        chain.push(format!("{name}_{i}"), bijection(step, vs, &(path / i as i64), channels)).unwrap();
    }
    chain
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
    let mut channels = peer.event[0];
    let mut levels = Vec::new();
    for (i, PeerLevel { before, steps, kept }) in peer.levels.into_iter().enumerate() {
        let path = vs.root() / format!("level_{i}");
        let before = chain("before", before, &vs, &(&path / "before"), channels);
        let steps = chain("step", steps, &vs, &(&path / "steps"), 4 * channels);
        levels.push(Level { before, steps, kept });
        channels = kept;
    }
    let multiscale = Multiscale::new(peer.event, SqueezeOrder::ChannelMajor, levels).unwrap();
    let dim = peer.event.iter().product::<usize>() as i64;
    let flow = Flow::new(multiscale, StandardNormal::new(&[dim]), Device::Cpu);

    let context = peer.context.map(|rows| Tensor::from_slice2(&rows));
    let [x, z, z2, x2] = [peer.x, peer.z, peer.z2, peer.x2].map(|rows| Tensor::from_slice2(&rows));
    tch::no_grad(|| {
        let (got, log_det) = flow.bijection().forward(&x, context.as_ref());
        assert_close("z", &got, &z);
        if let Some(expected) = peer.log_det {
            assert_close("log_det", &log_det, &Tensor::from_slice(&expected));
        }
        assert_close("log_prob", &flow.log_prob(&x, context.as_ref()), &Tensor::from_slice(&peer.log_prob));

        let (got, log_det) = flow.bijection().inverse(&z2, context.as_ref());
        assert_close("x of the way back", &got, &x2);
        if let Some(expected) = peer.log_det2 {
            assert_close("log_det of the way back", &log_det, &Tensor::from_slice(&expected));
        }
        if let Some(expected) = peer.log_prob2 {
            // From the way back alone: the density of what it arrives at.
            let log_prob = flow.base().log_prob(&z2) - log_det;
            assert_close("log_prob of the way back", &log_prob, &Tensor::from_slice(&expected));
        }
    });
}

#[test]
fn nflows_glow() {
    agree(include_str!("peers/images_nflows.json"));
}

#[test]
fn nflows_splines() {
    agree(include_str!("peers/images_spline.json"));
}

#[test]
fn normflows_glow_with_priors_by_class() {
    agree(include_str!("peers/images_normflows.json"));
}

#[test]
fn normflows_chessboards_and_halves() {
    agree(include_str!("peers/images_masked.json"));
}

#[test]
fn normflows_split_given_what_is_kept() {
    agree(include_str!("peers/images_given.json"));
}
