//! Every mask of an image coupling with every law, alone and on the levels of a multi-scale stack: training map by map is
//! autograd's tape, whether the gradient of the input is wanted or not.

use flow_core::{
    Bijection, Bound, Chain, ImageCoupling, ImageMask, Law, Level, Multiscale, SqueezeOrder, ToParameters, gradient_of,
};
use tch::{Kind, Tensor, nn};

use super::{Gentle, TestConv};
use crate::ROWS;
use crate::common::{CONTEXT, randn, randomize, store};

const LAWS: [&str; 4] = ["additive", "fixed", "learned", "spline"];

fn law(name: &str, path: &nn::Path, changed: usize) -> Law {
    match name {
        "additive" => Law::Additive,
        "fixed" => Law::Affine { bound: Bound::Fixed(0.7) },
        "learned" => Law::Affine { bound: Bound::learned_by_channel(path, changed, 1.0) },
        _ => Law::Spline { bins: 3 },
    }
}

/// Of images of `channels` channels, a multiple of 4 where there are diagonals.
fn masks(channels: usize) -> Vec<ImageMask> {
    let mut masks = Vec::new();
    for flipped in [false, true] {
        masks.push(ImageMask::Checkerboard { flipped });
        if channels > 1 {
            masks.push(ImageMask::Channels { first: 1, flipped });
        }
        if channels.is_multiple_of(4) {
            masks.extend(
                [SqueezeOrder::ChannelMajor, SqueezeOrder::PositionMajor]
                    .map(|order| ImageMask::Diagonal { order, flipped }),
            );
        }
    }
    masks
}

fn coupling(path: &nn::Path, mask: ImageMask, channels: usize, law_name: &str) -> ImageCoupling<Gentle> {
    let (kept, changed) = match mask {
        ImageMask::Checkerboard { .. } => (channels, channels),
        ImageMask::Diagonal { .. } => (channels / 2, channels / 2),
        ImageMask::Channels { first, flipped: true } => (channels - first, first),
        ImageMask::Channels { first, flipped: false } => (first, channels - first),
    };
    let law = law(law_name, path, changed);
    let net = Gentle(TestConv::new(path, kept, changed * law.parameters()));
    ImageCoupling::new(mask, channels, net, law).unwrap()
}

/// What of `bijection`, on events of `event`, is not as autograd has it.
fn faults(bijection: &dyn Bijection, event: &[i64], vs: &nn::VarStore) -> String {
    let parameters = vs.trainable_variables();
    let x = randn(&[&[ROWS], event].concat(), Kind::Double, 11) * 1.5 + 0.5;
    let [of_z, of_log_det] = [x.size(), vec![ROWS]].map(|size| randn(&size, Kind::Double, 13));
    let mut faults = String::new();
    for context in [None, Some(randn(&[ROWS, CONTEXT], Kind::Double, 12))] {
        let leaf = x.copy().set_requires_grad(true);
        let (z, log_det) = bijection.forward(&leaf, context.as_ref());
        let loss = (&z * &of_z).sum(None::<Kind>) + (&log_det * &of_log_det).sum(None::<Kind>);
        let leaves: Vec<&Tensor> = std::iter::once(&leaf).chain(&parameters).collect();
        let mut expected = Tensor::run_backward(&[loss], &leaves, false, false);
        let grad_x = expected.remove(0);
        let mut compare = |what: &str, got: &Tensor, expected: &Tensor| {
            let expected = if expected.defined() { expected.shallow_clone() } else { got.zeros_like() };
            let off = (got - &expected).abs().max().double_value(&[]) / (1.0 + expected.abs().max().double_value(&[]));
            if off.is_nan() || off > 1e-9 {
                faults += &format!("{what}: off by {off:e}\n");
            }
        };
        for wanted in [true, false] {
            let zeros = |parameter: &Tensor| drop(gradient_of(parameter).expect("it is trained").zero_());
            parameters.iter().for_each(zeros);
            let (value, own, back) = tch::no_grad(|| {
                let kept = bijection.forward_keeping(&x, context.as_ref());
                (kept.value, kept.log_det, kept.back.backward(&of_z, &of_log_det, wanted, &mut ToParameters))
            });
            compare("value", &value, &z);
            compare("log-det", &own, &log_det);
            assert_eq!(back.is_some(), wanted, "a gradient is given where it is wanted");
            back.iter().for_each(|back| compare("gradient of the input", back, &grad_x));
            for ((name, parameter), expected) in parameters.iter().enumerate().zip(&expected) {
                compare(&format!("gradient of parameter {name}, wanted: {wanted}"), &parameter.grad(), expected);
            }
        }
    }
    faults
}

#[test]
fn every_mask_goes_with_every_law() {
    let mut found = String::new();
    for (channels, height, width) in [(3, 3, 2), (4, 2, 3), (1, 3, 3)] {
        for (mask, law) in masks(channels).into_iter().flat_map(|mask| LAWS.map(|law| (mask, law))) {
            let vs = store(Kind::Double);
            let coupling = coupling(&vs.root(), mask, channels, law);
            randomize(&vs, 5);
            for fault in faults(&coupling, &[channels as i64, height, width], &vs).lines() {
                found += &format!("{mask:?}, {law}, {channels} channels: {fault}\n");
            }
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

/// Levels of `channels` and twice as many, with every mask before and after the squeeze.
fn levels(path: &nn::Path, law: &str) -> Vec<Level> {
    let chain = |path: &nn::Path, channels: usize| {
        let mut chain = Chain::default();
        for (i, mask) in masks(channels).into_iter().enumerate() {
            chain.push(format!("{channels}_{i}"), coupling(&(path / format!("{i}")), mask, channels, law)).unwrap();
        }
        chain
    };
    let level = |i: usize, channels: usize, kept: usize| {
        let path = path / format!("level_{i}");
        Level { before: chain(&(&path / "before"), channels), steps: chain(&(&path / "steps"), 4 * channels), kept }
    };
    vec![level(0, 1, 2), level(1, 2, 3)]
}

/// Pixels of odd last rows and columns go around the level, and their gradients too.
#[test]
fn levels_of_odd_and_even_sides_take_gradients_back() {
    for event in [[1usize, 4, 4], [1, 5, 7], [1, 6, 5]] {
        for law in LAWS {
            let vs = store(Kind::Double);
            let levels = levels(&vs.root(), law);
            let multiscale = Multiscale::new(event, SqueezeOrder::ChannelMajor, levels).unwrap();
            randomize(&vs, 5);
            // Deep stacks at full strength stretch by more than digits last.
            for (name, mut variable) in vs.variables().into_iter().filter(|(name, _)| !name.ends_with("bound")) {
                let _: Tensor =
                    tch::no_grad(|| variable.g_mul_scalar_(if name.contains("output") { 0.3 } else { 1.0 }));
            }
            let dim = event.iter().product::<usize>() as i64;
            let found = faults(&multiscale, &[dim], &vs);
            assert!(found.is_empty(), "{event:?}, {law}:\n{found}");
        }
    }
}
