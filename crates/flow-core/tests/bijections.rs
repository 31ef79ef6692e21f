//! One table of constructors and one generic check, which every bijection of the crate passes and wrong ones do not.

mod common;

mod extremes;
mod faults;
mod images;
mod planted;
mod wrong;

use common::{CONTEXT, TestNet, device, randn, randomize, store};
use flow_core::testing::{Tolerance, check, check_gradients};
use flow_core::{
    ActNorm, BatchNorm, Bijection, Bound, Chain, Conv1x1, Coupling, ElementwiseAffine, Error, Inverse, Law, Logit,
    Mask, Permute, Spline, Squeeze, SqueezeOrder, ToParameters, TopPrior,
};
use tch::{Kind, Tensor, nn};

const ROWS: i64 = 5;

/// Where a bijection's inputs lie.
enum Inputs {
    /// Anywhere.
    Space,
    /// On the unit cube.
    Cube,
}
use Inputs::{Cube, Space};

struct Case {
    name: &'static str,
    event: &'static [i64],
    inputs: Inputs,
    build: fn(&nn::Path) -> Box<dyn Bijection>,
}

fn coupling(path: &nn::Path, mask: Mask, law: Law) -> Box<dyn Bijection> {
    let net = TestNet::new(path, mask.kept().len(), mask.changed().len() * law.parameters());
    Box::new(Coupling::new(mask, net, law))
}

fn additive(path: &nn::Path, mask: Result<Mask, Error>) -> Box<dyn Bijection> {
    coupling(path, mask.unwrap(), Law::Additive)
}

fn fixed(path: &nn::Path, mask: Result<Mask, Error>, bound: f64) -> Box<dyn Bijection> {
    coupling(path, mask.unwrap(), Law::Affine { bound: Bound::Fixed(bound) })
}

fn learned(path: &nn::Path, mask: Result<Mask, Error>) -> Box<dyn Bijection> {
    let mask = mask.unwrap();
    let bound = Bound::learned(path, mask.changed().len(), 1.0);
    coupling(path, mask, Law::Affine { bound })
}

/// ActNorm, two couplings with a reversal between them, a final scaling.
fn realnvp(path: &nn::Path) -> Chain {
    let mut chain = Chain::default();
    chain.push("actnorm", ActNorm::new(&(path / "actnorm"), 5)).unwrap();
    chain.push("first", learned(&(path / "first"), Mask::halves(5, false))).unwrap();
    chain.push("reverse", Permute::reverse(5)).unwrap();
    chain.push("second", fixed(&(path / "second"), Mask::alternating(5, true), 2.0)).unwrap();
    chain.push("scaling", ElementwiseAffine::scaling(&(path / "scaling"), &[5])).unwrap();
    chain
}

/// Every bijection of the crate. A line more here is all that a new one needs.
fn table() -> Vec<Case> {
    type Build = fn(&nn::Path) -> Box<dyn Bijection>;
    let mut cases = Vec::new();
    let mut add = |name, event, inputs, build: Build| cases.push(Case { name, event, inputs, build });

    add("additive halves 4", &[4], Space, |p| additive(p, Mask::halves(4, false)));
    add("additive halves 5 flipped", &[5], Space, |p| additive(p, Mask::halves(5, true)));
    add("additive alternating 5", &[5], Space, |p| additive(p, Mask::alternating(5, false)));
    add("additive checkerboard", &[1, 3, 3], Space, |p| additive(p, Mask::checkerboard(3, 3, false, device())));
    add("affine fixed halves 5", &[5], Space, |p| fixed(p, Mask::halves(5, false), 1.0));
    add("affine fixed halves 2", &[2], Space, |p| fixed(p, Mask::halves(2, true), 2.5));
    add("affine fixed alternating 5 flipped", &[5], Space, |p| fixed(p, Mask::alternating(5, true), 2.0));
    add("affine fixed checkerboard flipped", &[2, 2, 3], Space, |p| {
        fixed(p, Mask::checkerboard(4, 3, true, device()), 2.0)
    });
    add("affine learned halves 5 flipped", &[5], Space, |p| learned(p, Mask::halves(5, true)));
    add("affine learned alternating 4", &[4], Space, |p| learned(p, Mask::alternating(4, false)));
    add("affine learned checkerboard", &[1, 3, 4], Space, |p| learned(p, Mask::checkerboard(3, 4, false, device())));
    add("affine learned bools", &[5], Space, |p| {
        learned(p, Mask::from_bools(&[false, true, true, false, true], device()))
    });
    add("affine learned image halves", &[3, 1, 3], Space, |p| learned(p, Mask::halves(9, false)));

    add("spline halves 5", &[5], Space, |p| coupling(p, Mask::halves(5, true).unwrap(), Law::Spline { bins: 4 }));

    add("reverse 5", &[5], Space, |_| Box::new(Permute::reverse(5)));
    add("random 6", &[6], Space, |_| Box::new(Permute::random(6, 1, device())));
    add("random image", &[2, 2, 2], Space, |_| Box::new(Permute::random(8, 2, device())));
    add("saved 5", &[5], Space, |p| Box::new(Permute::saved(p, 5, 3)));

    add("scaling", &[4], Space, |p| Box::new(ElementwiseAffine::scaling(p, &[4])));
    add("scaling of one coordinate", &[1], Space, |p| Box::new(ElementwiseAffine::scaling(p, &[1])));
    add("affine", &[1, 2, 3], Space, |p| Box::new(ElementwiseAffine::learned(p, &[1, 2, 3])));
    add("standardize", &[3], Space, |p| {
        Box::new(ElementwiseAffine::standardize(p, &[3.0, -1.0, 0.5], &[2.0, 0.1, 7.0]).unwrap())
    });

    add("logit 0.05", &[3], Cube, |_| Box::new(Logit::new(0.05).unwrap()));
    add("logit 1e-6", &[1, 3, 2], Cube, |_| Box::new(Logit::new(1e-6).unwrap()));

    add("actnorm", &[4], Space, |p| Box::new(ActNorm::new(p, 4)));
    add("actnorm image", &[3, 2, 2], Space, |p| Box::new(ActNorm::new(p, 3)));
    add("actnorm image of some vectors", &[2, 5, 7], Space, |p| Box::new(ActNorm::new(p, 2)));

    add("batchnorm", &[4], Space, |p| Box::new(BatchNorm::new(p, 4, 0.1)));
    add("batchnorm image", &[3, 2, 2], Space, |p| Box::new(BatchNorm::new(p, 3, 0.1)));
    add("plain 1x1 of a vector", &[3], Space, |p| Box::new(Conv1x1::plain(p, 3, 1)));
    add("plain 1x1 of an image", &[3, 2, 2], Space, |p| Box::new(Conv1x1::plain(p, 3, 1)));
    add("lu 1x1 of a vector", &[2], Space, |p| Box::new(Conv1x1::lu(p, 2, 1)));
    add("lu 1x1 of a sequence", &[4, 3], Space, |p| Box::new(Conv1x1::lu(p, 4, 2)));
    add("lu 1x1 of an image", &[5, 2, 2], Space, |p| Box::new(Conv1x1::lu(p, 5, 3)));
    add("lu 1x1 of an image of some vectors", &[6, 3, 7], Space, |p| Box::new(Conv1x1::lu(p, 6, 4)));
    add("top prior of a vector", &[3], Space, |p| Box::new(TopPrior::new(p, &[3], 0)));
    add("top prior by context", &[2, 1, 2], Space, |p| Box::new(TopPrior::new(p, &[2, 1, 2], CONTEXT as usize)));
    add("spline", &[24], Space, |p| Box::new(Spline::new(p, 4, -3.0, 4.0, 0.5).unwrap()));
    add("spline coupling of some vectors", &[26], Space, |p| {
        coupling(p, Mask::halves(26, false).unwrap(), Law::Spline { bins: 2 })
    });
    add("spline of an image", &[2, 3, 4], Space, |p| Box::new(Spline::new(p, 3, -2.0, 2.5, 0.0).unwrap()));
    add("squeeze channel-major", &[1, 4, 2], Space, |_| Box::new(Squeeze::new(SqueezeOrder::ChannelMajor)));
    add("squeeze position-major", &[2, 2, 4], Space, |_| Box::new(Squeeze::new(SqueezeOrder::PositionMajor)));
    add("unsqueeze", &[8, 1, 2], Space, |_| Box::new(Inverse(Squeeze::new(SqueezeOrder::PositionMajor))));
    images::add_to(&mut add);

    add("inverse of a coupling", &[5], Space, |p| Box::new(Inverse(learned(p, Mask::halves(5, false)))));
    add("inverse of a chain", &[5], Space, |p| Box::new(Inverse(realnvp(p))));
    add("inverse of an inverse", &[4], Space, |p| Box::new(Inverse(Inverse(ElementwiseAffine::learned(p, &[4])))));

    add("empty chain", &[3], Space, |_| Box::new(Chain::default()));
    add("chain", &[5], Space, |p| Box::new(realnvp(p)));
    add("nested chain", &[5], Space, |p| {
        let mut inner = realnvp(&(p / "inner"));
        inner.push("nothing", Chain::default()).unwrap();
        let mut outer = Chain::default();
        outer.push("inner", inner).unwrap();
        outer.push("turned", Inverse(realnvp(&(p / "turned")))).unwrap();
        Box::new(outer)
    });
    add("chain of an image", &[1, 3, 3], Cube, |p| {
        let mut chain = Chain::default();
        chain.push("logit", Logit::new(0.05).unwrap()).unwrap();
        chain.push("actnorm", ActNorm::new(&(p / "actnorm"), 1)).unwrap();
        chain.push("even", learned(&(p / "even"), Mask::checkerboard(3, 3, false, device()))).unwrap();
        chain.push("odd", learned(&(p / "odd"), Mask::checkerboard(3, 3, true, device()))).unwrap();
        chain.push("shuffle", Permute::random(9, 3, device())).unwrap();
        Box::new(chain)
    });
    cases
}

impl Case {
    /// A batch for this bijection.
    fn x(&self, kind: Kind) -> Tensor {
        let size: Vec<i64> = std::iter::once(ROWS).chain(self.event.iter().copied()).collect();
        let normal = randn(&size, kind, 11);
        match self.inputs {
            Space => normal * 1.5 + 0.5,
            Cube => normal.sigmoid(),
        }
    }

    /// The bijection with parameters that are not trivial, started from data.
    fn ready(&self, vs: &nn::VarStore, context: Option<&Tensor>) -> Box<dyn Bijection> {
        let bijection = (self.build)(&vs.root());
        randomize(vs, 5);
        let _ = bijection.start_from_data(&self.x(vs.kind()), context);
        bijection
    }
}

/// Builds the whole table in `built`, and checks it in `checked`; the faults of all cases together.
fn check_table(built: Kind, checked: Kind, tolerance: &Tolerance) {
    let mut faults = String::new();
    for case in table() {
        for context in [None, Some(randn(&[ROWS, CONTEXT], built, 12))] {
            let mut vs = store(built);
            let bijection = case.ready(&vs, context.as_ref());
            if checked == Kind::Double {
                vs.double();
            }
            let context = context.map(|c| c.to_kind(checked));
            let report = check(bijection.as_ref(), &case.x(checked), context.as_ref());
            if let Err(fault) = report.verdict(tolerance) {
                let with = if context.is_some() { "with" } else { "without" };
                faults += &format!("{}, {with} context:\n{fault}\n", case.name);
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

const SHARP: Tolerance = Tolerance { value: 1e-9, log_det: 1e-10 };

#[test]
fn every_bijection_passes_in_f64() {
    check_table(Kind::Double, Kind::Double, &SHARP);
}

#[test]
fn every_bijection_passes_in_f32() {
    check_table(Kind::Float, Kind::Float, &Tolerance::single());
}

#[test]
fn a_model_made_in_f32_can_be_checked_in_f64() {
    check_table(Kind::Float, Kind::Double, &SHARP);
}

/// An image of bytes has been forgotten to be rescaled, and its likelihood must not look like one.
#[test]
fn a_logit_of_bytes_is_no_number() {
    let bytes = Tensor::from_slice(&[0u8, 1, 2, 128, 255]).to_device(device()).reshape([-1, 1]);
    let (z, log_det) = Logit::new(0.05).unwrap().forward(&bytes, None);
    for t in [z, log_det] {
        assert_eq!(Vec::<bool>::try_from(t.isfinite().flatten(0, -1)).unwrap(), [true, true, false, false, false]);
    }
}

/// The hooks must also leave on the parameters what autograd leaves there.
fn check_all_gradients(kind: Kind, most: f64) {
    let mut faults = String::new();
    for case in table() {
        for context in [None, Some(randn(&[ROWS, CONTEXT], kind, 12))] {
            let vs = store(kind);
            let bijection = case.ready(&vs, context.as_ref());
            let (x, parameters) = (case.x(kind), vs.trainable_variables());
            let off = check_gradients(bijection.as_ref(), &x, context.as_ref(), &parameters).relative;
            if off.is_nan() || off > most {
                faults += &format!("{}, context: {}: off by {off:e}\n", case.name, context.is_some());
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn every_bijection_gives_its_parameters_their_gradients_in_f64() {
    check_all_gradients(Kind::Double, 1e-8);
}

/// By other loops, on a processor.
#[test]
fn every_bijection_gives_its_parameters_their_gradients_in_f32() {
    check_all_gradients(Kind::Float, 5e-4);
}

#[test]
fn the_context_reaches_every_coupling() {
    for case in table().into_iter().filter(|case| case.name.contains("additive") || case.name.contains("chain")) {
        if case.name == "empty chain" {
            continue;
        }
        let vs = store(Kind::Double);
        let bijection = case.ready(&vs, None);
        let x = case.x(Kind::Double);
        let z = |seed| bijection.forward(&x, Some(&randn(&[ROWS, CONTEXT], Kind::Double, seed))).0;
        let moved = (z(1) - z(2)).abs().max().double_value(&[]);
        assert!(moved > 0.01, "{}: another context, and z moves by {moved}", case.name);
    }
}

#[test]
fn couplings_keep_what_they_keep_and_change_the_rest() {
    for (name, mask) in [
        ("halves", Mask::halves(5, true)),
        ("alternating", Mask::alternating(5, false)),
        ("checkerboard", Mask::checkerboard(2, 3, false, device())),
    ] {
        let vs = store(Kind::Double);
        let mask = mask.unwrap();
        let (kept, changed, dim) = (mask.kept().to_vec(), mask.changed().to_vec(), mask.dim() as i64);
        let bijection = fixed(&vs.root(), Ok(mask), 1.0);
        randomize(&vs, 5);
        let x = randn(&[ROWS, dim], Kind::Double, 11);
        let moved = (bijection.forward(&x, None).0 - &x).abs();
        let least = |columns: &[i64]| {
            moved.index_select(1, &Tensor::from_slice(columns).to_device(device())).min().double_value(&[])
        };
        let most = |columns: &[i64]| {
            moved.index_select(1, &Tensor::from_slice(columns).to_device(device())).max().double_value(&[])
        };
        assert_eq!(most(&kept), 0.0, "{name}");
        assert!(least(&changed) > 1e-6, "{name}");
    }
}

#[test]
fn permutations_move_each_coordinate_where_the_order_says() {
    let x = Tensor::from_slice(&[10.0, 11.0, 12.0, 20.0, 21.0, 22.0]).to_device(device()).reshape([2, 3]);
    let (z, log_det) = Permute::new(&[2, 0, 1], device()).unwrap().forward(&x, None);
    let values = |t: &Tensor| Vec::<f64>::try_from(t.reshape([-1])).unwrap();
    assert_eq!(values(&z), [12.0, 10.0, 11.0, 22.0, 20.0, 21.0]);
    assert_eq!(values(&log_det), [0.0, 0.0]);
    let (z, _) = Permute::reverse(3).forward(&x, None);
    assert_eq!(values(&z), [12.0, 11.0, 10.0, 22.0, 21.0, 20.0]);
}

/// At the ends of the cube in f32, against the formula in f64 in this file's own words.
#[test]
fn logit_in_f32_is_right_up_to_the_ends() {
    let last = 1.0 - f32::EPSILON / 2.0;
    let points = [0.0f32, 1e-30, 1e-8, 1e-3, 0.25, 0.5, 0.999, 1.0 - 1e-6, last, 1.0];
    for alpha in [1e-6f64, 0.05] {
        let logit = Logit::new(alpha).unwrap();
        let x = Tensor::from_slice(&points).to_device(device()).reshape([-1, 1]);
        let (z, log_det) = logit.forward(&x, None);
        let (back, log_det_back) = logit.inverse(&z, None);
        for (i, &point) in points.iter().enumerate() {
            let width = 1.0 - 2.0 * alpha;
            let y = alpha + width * f64::from(point);
            let rest = alpha + width * (1.0 - f64::from(point));
            let (true_z, slope) = ((y / rest).ln(), (width / (y * rest)).ln());
            let at = |t: &Tensor| t.double_value(&vec![i as i64; 1][..]);
            let (z, back) = (z.double_value(&[i as i64, 0]), back.double_value(&[i as i64, 0]));
            assert!((z - true_z).abs() < 2e-6 * (1.0 + true_z.abs()), "{point}, α = {alpha}: z {z}, not {true_z}");
            assert!((at(&log_det) - slope).abs() < 4e-6 * (1.0 + slope.abs()), "{point}, α = {alpha}: log-det");
            assert!((at(&log_det_back) + slope).abs() < 4e-6 * (1.0 + slope.abs()), "{point}, α = {alpha}: way back");
            assert!((back - f64::from(point)).abs() < 3e-7, "{point}, α = {alpha}: came back as {back}");
        }
    }
}

/// The hooks must also leave on the parameters what autograd leaves there.
#[test]
fn both_backward_hooks_give_the_gradients_of_parameters() {
    let vs = store(Kind::Double);
    let chain = realnvp(&vs.root());
    randomize(&vs, 5);
    let x = randn(&[ROWS, 5], Kind::Double, 11);
    let context = randn(&[ROWS, CONTEXT], Kind::Double, 12);
    let grad_z = randn(&[ROWS, 5], Kind::Double, 13);
    let grad_log_det = randn(&[ROWS], Kind::Double, 14);
    let parameters = vs.trainable_variables();

    let (z, log_det) = chain.forward(&x, Some(&context));
    let loss = (&z * &grad_z).sum(None::<Kind>) + (&log_det * &grad_log_det).sum(None::<Kind>);
    let expected = Tensor::run_backward(&[loss], &parameters, false, false);

    let compare = |hook: &str| {
        for (parameter, expected) in parameters.iter().zip(&expected) {
            let off = (parameter.grad() - expected).abs().max().double_value(&[]);
            assert!(off < 1e-9, "{hook}: a gradient of shape {:?} is off by {off:e}", expected.size());
            assert!(expected.abs().max().double_value(&[]) > 0.0, "a parameter that nothing depends on");
            parameter.shallow_clone().zero_grad();
        }
    };
    let _ = chain.vjp(&z.detach(), Some(&context), &grad_z, &grad_log_det);
    compare("rebuilding");
    let kept = tch::no_grad(|| chain.forward_keeping(&x, Some(&context)));
    let grad_x = tch::no_grad(|| kept.back.backward(&grad_z, &grad_log_det, false, &mut ToParameters));
    assert!(grad_x.is_none(), "nobody asked for it");
    compare("keeping");
}

#[test]
fn a_range_of_a_chain_is_its_steps_alone() {
    let vs = store(Kind::Double);
    let mut chain = realnvp(&vs.root());
    randomize(&vs, 5);
    let x = randn(&[ROWS, 5], Kind::Double, 11);
    let (z, total) = chain.forward(&x, None);
    let (middle, first) = chain.forward_range(0..2, &x, None);
    let (end, second) = chain.forward_range(2..5, &middle, None);
    let (back, _) = chain.inverse_range(2..5, &end, None);
    assert_eq!(end, z);
    assert!((first + second - &total).abs().max().double_value(&[]) < 1e-12);
    assert!((back - &middle).abs().max().double_value(&[]) < 1e-12);

    let rest = chain.split_off(2);
    assert_eq!(chain.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["actnorm", "first"]);
    assert_eq!(rest.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["reverse", "second", "scaling"]);
    assert_eq!(rest.forward(&chain.forward(&x, None).0, None).0, z);
}

#[test]
fn wrong_arguments_are_errors() {
    let vs = store(Kind::Double);
    let path = vs.root();
    for order in [&[0, 1, 1][..], &[0, 3, 1], &[-1, 0, 1]] {
        assert!(matches!(Permute::new(order, device()), Err(Error::NotAPermutation { dim: 3, .. })));
    }
    for alpha in [0.0, 0.5, -1.0, f64::NAN] {
        assert!(matches!(Logit::new(alpha), Err(Error::OutOfRange { name: "alpha", .. })));
    }
    let standardize = |mean: &[f64], std: &[f64]| ElementwiseAffine::standardize(&path, mean, std).unwrap_err();
    assert!(matches!(standardize(&[0.0], &[1.0, 2.0]), Error::LengthMismatch { left: 1, right: 2, .. }));
    assert!(matches!(standardize(&[f64::NAN], &[1.0]), Error::OutOfRange { name: "mean", .. }));
    for std in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        assert!(matches!(standardize(&[0.0], &[std]), Error::OutOfRange { name: "std", .. }));
    }
    let mut chain = Chain::default();
    chain.push("a", Permute::reverse(2)).unwrap();
    let twice = chain.push("a", Permute::reverse(2));
    assert!(matches!(twice, Err(Error::DuplicateName { name }) if name == "a"));
    assert_eq!(chain.len(), 1);
}

#[test]
#[should_panic(expected = "given a batch [2, 3]")]
fn an_affine_map_does_not_broadcast() {
    let vs = store(Kind::Double);
    let _ = ElementwiseAffine::scaling(&vs.root(), &[1]).forward(&randn(&[2, 3], Kind::Double, 1), None);
}

#[test]
#[should_panic(expected = "given a batch [2, 3]")]
fn an_actnorm_does_not_broadcast() {
    let vs = store(Kind::Double);
    let _ = ActNorm::new(&vs.root(), 1).inverse(&randn(&[2, 3], Kind::Double, 1), None);
}

#[test]
#[should_panic(expected = "an ActNorm of 4 features was given a batch [2, 8, 3, 3]")]
fn an_actnorm_of_other_channels_is_refused_in_training() {
    let vs = store(Kind::Float);
    let x = randn(&[2, 8, 3, 3], Kind::Float, 1);
    let norm = ActNorm::new(&vs.root(), 4);
    let _ = tch::no_grad(|| norm.forward_keeping(&x, None));
}

#[test]
#[should_panic(expected = "conditioner's output")]
fn a_conditioner_of_the_wrong_width_is_refused() {
    let vs = store(Kind::Double);
    let mask = Mask::halves(5, false).unwrap();
    let net = TestNet::new(&vs.root(), 3, 1);
    let _ = Coupling::new(mask, net, Law::Additive).forward(&randn(&[2, 5], Kind::Double, 1), None);
}
