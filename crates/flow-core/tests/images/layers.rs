//! What image layers are by their papers: moments, starts, places of latents, and gradients by rebuilding.

use flow_core::{
    ActNorm, BatchNorm, Bijection, Bound, Chain, Conditioner, Conv1x1, Error, Flow, ImageCoupling, ImageMask, Law,
    Level, Multiscale, Spline, SqueezeOrder, StandardNormal, TopPrior,
};
use tch::{Kind, Tensor, nn};

use crate::common::{device, randn, randomize, store};

fn largest(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

/// Mean and variance (divided by n) of each channel of `[n, c, h, w]`.
fn moments(x: &Tensor) -> (Tensor, Tensor) {
    let others = &[0i64, 2, 3][..];
    let mean = x.mean_dim(others, true, Kind::Double);
    let variance = (x - &mean).square().mean_dim(others, true, Kind::Double);
    (mean, variance)
}

#[test]
fn batch_normalisation_in_training_is_by_the_moments_as_the_batch_moves_them() {
    let vs = store(Kind::Double);
    let (x, share) = (randn(&[6, 3, 2, 4], Kind::Double, 1) * 2.0 + 0.7, 0.3);
    let mut norm = BatchNorm::new(&vs.root(), 3, share);
    norm.set_training(true);
    let (z, log_det) = norm.forward(&x, None);

    let (mean, variance) = moments(&x);
    // From the running moments of a new one, 0 and 1.
    let (mean, variance) = (mean * share, variance * share + (1.0 - share));
    let expected = (&x - &mean) / (&variance + 1e-5).sqrt();
    let off = largest(&(z - expected));
    assert!(off < 1e-12, "{off:e}");
    let by_hand = (&variance + 1e-5).log().sum(Kind::Double).double_value(&[]) * -0.5 * 8.0;
    assert!(largest(&(log_det - by_hand)) < 1e-10);
    let kept = |name: &str| vs.variables()[name].shallow_clone();
    assert!(largest(&(kept("mean") - mean.flatten(0, -1))) < 1e-12);
    assert!(largest(&(kept("variance") - variance.flatten(0, -1))) < 1e-12);

    // In evaluation nothing moves, and there is a way back.
    norm.set_training(false);
    let before = kept("mean").copy();
    let (z, _) = norm.forward(&x, None);
    assert!(largest(&(norm.inverse(&z, None).0 - &x)) < 1e-12);
    assert_eq!(kept("mean"), before);
}

/// Unlike what carries a flag that says so.
#[test]
fn batch_normalisation_starts_from_data_also_where_its_moments_were_loaded() {
    let vs = store(Kind::Double);
    let norm = BatchNorm::new(&vs.root(), 3, 0.1);
    for (name, loaded) in [("mean", 7.0), ("variance", 4.0)] {
        let _ = vs.variables()[name].shallow_clone().fill_(loaded);
    }
    for seed in [1, 2] {
        let x = randn(&[6, 3, 2, 4], Kind::Double, seed) * 2.0 + 0.7;
        let _ = norm.start_from_data(&x, None);
        let (mean, variance) = moments(&x);
        for (name, expected) in [("mean", mean), ("variance", variance)] {
            assert!(largest(&(&vs.variables()[name] - expected.flatten(0, -1))) < 1e-12, "{name}");
        }
    }
}

#[test]
#[should_panic(expected = "no inverse in training mode")]
fn batch_normalisation_has_no_way_back_in_training() {
    let vs = store(Kind::Double);
    let mut norm = BatchNorm::new(&vs.root(), 2, 0.1);
    norm.set_training(true);
    let _ = norm.inverse(&randn(&[3, 2], Kind::Double, 1), None);
}

#[test]
fn a_mixing_starts_as_a_rotation_in_either_form() {
    for lu in [false, true] {
        let vs = store(Kind::Double);
        let mix = if lu { Conv1x1::lu(&vs.root(), 12, 4) } else { Conv1x1::plain(&vs.root(), 12, 4) };
        let x = randn(&[5, 12], Kind::Double, 2);
        let (z, log_det) = mix.forward(&x, None);
        let length = |t: &Tensor| t.square().sum_dim_intlist(1i64, false, Kind::Double);
        assert!(largest(&(length(&z) - length(&x))) < 1e-12, "a rotation keeps lengths");
        assert!(largest(&log_det) < 1e-12);
        assert!(largest(&(z - x)) > 0.1, "and turns");
    }
}

#[test]
fn both_forms_of_a_mixing_start_alike() {
    let (one, other) = (store(Kind::Double), store(Kind::Double));
    let (plain, lu) = (Conv1x1::plain(&one.root(), 7, 4), Conv1x1::lu(&other.root(), 7, 4));
    let x = randn(&[3, 7, 2, 2], Kind::Double, 2);
    assert!(largest(&(plain.forward(&x, None).0 - lu.forward(&x, None).0)) < 1e-12);
}

#[test]
fn a_spline_starts_as_two_gaussians() {
    let vs = store(Kind::Float);
    // Two thirds of the values uniform below 0.2, the rest uniform above.
    let u = randn(&[3_000, 30], Kind::Float, 3);
    let u = (u * -(2f64.sqrt()).recip()).erfc() * 0.5;
    let background = u.narrow(0, 0, 2_000) * 0.2;
    let rest = u.narrow(0, 2_000, 1_000) * 0.75 + 0.25;
    let spline = Spline::new(&vs.root(), 32, 0.0, 1.0, 0.22).unwrap();
    let _ = spline.start_from_data(&Tensor::cat(&[&background, &rest], 0), None);
    assert!(spline.has_started());
    let of = |x: &Tensor| {
        let z = spline.forward(x, None).0;
        (z.mean(Kind::Double).double_value(&[]), z.std(true).double_value(&[]))
    };
    let (mean, std) = of(&background);
    assert!((mean + 3.0).abs() < 0.1 && (std - 1.0).abs() < 0.1, "background: {mean} ± {std}");
    let (mean, std) = of(&rest);
    assert!((mean - 3.0).abs() < 0.1 && (std - 1.5).abs() < 0.15, "rest: {mean} ± {std}");

    // Started once, it stays as it is.
    let before = vs.variables()["widths"].copy();
    let _ = spline.start_from_data(&rest, None);
    assert_eq!(vs.variables()["widths"], before);
}

#[test]
fn a_spline_of_an_impossible_domain_is_an_error() {
    let vs = store(Kind::Float);
    let new = |bins, low, high, background| Spline::new(&vs.root(), bins, low, high, background).unwrap_err();
    assert!(matches!(new(1, 0.0, 1.0, 0.5), Error::OutOfRange { name: "bins", .. }));
    assert!(matches!(new(4, 1.0, 0.0, 0.5), Error::OutOfRange { name: "high", .. }));
    assert!(matches!(new(4, 0.0, 1.0, 1.0), Error::OutOfRange { name: "background", .. }));
}

#[test]
fn a_multiscale_without_steps_leaves_every_pixel_where_it_is() {
    let levels =
        || vec![Level { kept: 2, ..Level::default() }, Level { kept: 4, ..Level::default() }, Level::default()];
    for event in [[1, 8, 8], [1, 13, 11]] {
        let multiscale = Multiscale::new(event, SqueezeOrder::ChannelMajor, levels()).unwrap();
        let dim = event.iter().product::<usize>() as i64;
        let x = randn(&[2, dim], Kind::Double, 4);
        assert_eq!(multiscale.forward(&x, None).0, x);
    }
}

#[test]
fn levels_let_go_of_what_their_squeezes_say() {
    let level = |kept| Level { kept, ..Level::default() };
    let multiscale = Multiscale::new([1, 4, 5], SqueezeOrder::ChannelMajor, vec![level(2), level(4)]).unwrap();
    let rows: Vec<Vec<i64>> = (0..4).map(|i| Vec::try_from(multiscale.levels().get(0).get(i)).unwrap()).collect();
    // Of each block the upper two pixels go on; the odd last column does not.
    assert_eq!(rows, [vec![1, 1, 1, 1, 0], vec![0; 5], vec![1, 1, 1, 1, 0], vec![0; 5]]);
}

#[test]
fn levels_that_an_image_cannot_have_are_errors() {
    let new = |event, kept: &[usize]| {
        let levels = kept.iter().map(|&kept| Level { kept, ..Level::default() }).collect();
        Multiscale::new(event, SqueezeOrder::ChannelMajor, levels)
    };
    for (event, kept) in [([1, 4, 4], &[][..]), ([1, 4, 4], &[2, 2, 0]), ([1, 4, 4], &[5, 0]), ([1, 4, 4], &[0, 0])] {
        assert!(matches!(new(event, kept), Err(Error::Levels { .. })), "{event:?}, {kept:?}");
    }
    assert!(new([1, 4, 4], &[4, 0]).is_ok());
}

/// A step of Glow with one convolution as its net.
#[derive(Debug)]
struct OneConv(nn::Conv2D);

impl Conditioner for OneConv {
    fn forward(&self, kept: &Tensor, _context: Option<&Tensor>) -> Tensor {
        kept.apply(&self.0).tanh()
    }
}

fn step(path: &nn::Path, channels: usize) -> Chain {
    let half = channels / 2;
    let config = nn::ConvConfig { padding: 1, ..nn::ConvConfig::default() };
    let net = flow_core::rng::with_seed(0, || nn::conv2d(path / "net", half as i64, channels as i64, 3, config));
    let law = Law::Affine { bound: Bound::learned_by_channel(path, half, 1.0) };
    let mask = ImageMask::Channels { first: half, flipped: false };
    let mut chain = Chain::default();
    chain.push("actnorm", ActNorm::new(&(path / "actnorm"), channels)).unwrap();
    chain.push("mix", Conv1x1::lu(&(path / "mix"), channels, 3)).unwrap();
    chain.push("coupling", ImageCoupling::new(mask, channels, OneConv(net), law).unwrap()).unwrap();
    chain
}

/// Gradients by rebuilding against those of kept activations, for every parameter of a deep multi-scale flow, in f32.
#[test]
fn rebuilding_gives_the_gradients_of_kept_activations_to_round_off() {
    let vs = store(Kind::Float);
    let level = |i: usize, channels: usize, depth: usize| {
        let path = vs.root() / format!("level_{i}");
        let mut steps = Chain::default();
        for j in 0..depth {
            steps.push(format!("step_{j}"), step(&(&path / format!("step_{j}")), channels)).unwrap();
        }
        if i == 1 {
            steps.push("prior", TopPrior::new(&(&path / "prior"), &[8, 2, 2], 0)).unwrap();
        }
        Level { steps, kept: channels / 2, ..Level::default() }
    };
    let levels = vec![level(0, 4, 6), level(1, 8, 6)];
    let multiscale = Multiscale::new([1, 8, 8], SqueezeOrder::ChannelMajor, levels).unwrap();
    let flow = Flow::new(multiscale, StandardNormal::new(&[64]), device());
    randomize(&vs, 5);
    for (name, variable) in vs.variables() {
        // Near the start of a training: a quarter of what `randomize` gives.
        if variable.requires_grad() && !name.ends_with("bound") {
            tch::no_grad(|| variable.shallow_clone().copy_(&(&variable * 0.25)));
        }
    }
    let x = randn(&[16, 64], Kind::Float, 6);
    let _ = tch::no_grad(|| flow.bijection().start_from_data(&x, None));

    let parameters = vs.trainable_variables();
    let loss = flow.log_prob(&x, None).mean(Kind::Float).neg();
    let expected = Tensor::run_backward(&[&loss], &parameters, false, false);
    // Gradients are found whether they are on or off around it.
    let rebuilt = tch::no_grad(|| flow.backward_rebuilding(&x, None));
    let log_prob = rebuilt.log_prob.mean(Kind::Float).double_value(&[]);
    assert!((log_prob + loss.double_value(&[])).abs() < 1e-4, "{log_prob}");
    assert!(rebuilt.error < 1e-4, "{}", rebuilt.error);
    for (parameter, expected) in parameters.iter().zip(&expected) {
        let scale = largest(expected).max(1e-2);
        let off = largest(&(parameter.grad() - expected)) / scale;
        assert!(off < 1e-3, "a gradient of shape {:?} is off by {off:.1e} of itself", expected.size());
    }
}
