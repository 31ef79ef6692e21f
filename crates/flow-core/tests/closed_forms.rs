//! Bases and flows against what can be written down or integrated: densities, samples, gradients, seeds, ActNorm's start.

mod common;

use std::f64::consts::{LN_2, PI};

use approx::assert_relative_eq;
use common::{CONTEXT, TestNet, randn, randomize, store};
use flow_core::{
    ActNorm, Base, Bijection, Bound, Chain, Coupling, ElementwiseAffine, Flow, Inverse, Law, Logistic, Logit, Mask,
    Permute, StandardNormal,
};
use tch::{Device, Kind, Tensor, nn};

const CPU: Device = Device::Cpu;

fn values(t: &Tensor) -> Vec<f64> {
    Vec::try_from(t.to_kind(Kind::Double).reshape([-1])).unwrap()
}

fn ln_normal(z: f64) -> f64 {
    -z * z / 2.0 - (2.0 * PI).ln() / 2.0
}

fn ln_logistic(z: f64) -> f64 {
    -z - 2.0 * (-z).exp().ln_1p()
}

#[test]
fn log_prob_is_the_formula_summed_over_the_event() {
    for event in [&[1i64][..], &[3], &[2, 1, 2]] {
        let size: Vec<i64> = std::iter::once(6).chain(event.iter().copied()).collect();
        let z = randn(&size, Kind::Double, 1) * 2.0;
        let rows = values(&z);
        let dim = rows.len() / 6;
        let sums = |ln_density: fn(f64) -> f64| -> Vec<f64> {
            rows.chunks(dim).map(|row| row.iter().map(|&z| ln_density(z)).sum()).collect()
        };
        for (base, expected) in
            [(&StandardNormal::new(event) as &dyn Base, sums(ln_normal)), (&Logistic::new(event), sums(ln_logistic))]
        {
            assert_eq!(base.event(), event);
            for (got, expected) in values(&base.log_prob(&z)).into_iter().zip(expected) {
                assert_relative_eq!(got, expected, max_relative = 1e-13);
            }
            assert_eq!(base.log_prob(&z.narrow(0, 0, 0)).size(), [0]);
        }
    }
}

#[test]
fn the_logistic_is_finite_far_out() {
    let z = Tensor::from_slice(&[-1e4f32, -100.0, 0.0, 100.0, 1e4]).reshape([-1, 1]).set_requires_grad(true);
    let log_prob = Logistic::new(&[1]).log_prob(&z);
    assert_eq!(values(&log_prob.detach()), [-1e4, -100.0, f64::from(-2.0 * 2f32.ln()), -100.0, -1e4]);
    log_prob.sum(None::<Kind>).backward();
    // d/dz log p = -tanh(z/2)
    assert_eq!(values(&z.grad()), [1.0, 1.0, 0.0, -1.0, -1.0]);
}

#[test]
#[should_panic(expected = "a base over events [4] was given a batch [3, 5]")]
fn a_latent_of_another_shape_is_refused() {
    let _ = StandardNormal::new(&[4]).log_prob(&randn(&[3, 5], Kind::Float, 1));
}

/// The largest distance between the draws' distribution and `cdf`, times √n: beyond 1.95 by chance once in a thousand.
fn kolmogorov(draws: &Tensor, cdf: impl Fn(f64) -> f64) -> f64 {
    let mut draws = values(draws);
    draws.sort_by(f64::total_cmp);
    let n = draws.len() as f64;
    let distance = |(i, &x): (usize, &f64)| {
        let expected = cdf(x);
        (expected - i as f64 / n).abs().max((expected - (i + 1) as f64 / n).abs())
    };
    draws.iter().enumerate().map(distance).fold(0.0, f64::max) * n.sqrt()
}

/// Mean and mean square of `draws` lie within 4.5 standard errors of what they should be.
fn assert_moments(draws: &Tensor, mean: f64, variance: f64) {
    let draws = draws.to_kind(Kind::Double).reshape([-1]) - mean;
    let n = draws.numel() as f64;
    for (moment, expected) in [(&draws, 0.0), (&draws.square(), variance)] {
        let error = moment.std(true).double_value(&[]) / n.sqrt();
        let off = (moment.mean(None::<Kind>).double_value(&[]) - expected) / error;
        assert!(off.abs() < 4.5, "off by {off} standard errors from {expected}");
    }
}

fn normal_cdf(x: f64) -> f64 {
    let half_erfc = Tensor::from(-x / 2f64.sqrt()).erfc() / 2.0;
    half_erfc.double_value(&[])
}

#[test]
fn samples_follow_their_distribution_at_every_temperature() {
    const N: usize = 20_000;
    for temperature in [1.0, 0.7] {
        let normal = StandardNormal::new(&[2, 1]).sample(N, temperature, 3, CPU);
        assert_eq!((normal.size(), normal.kind()), (vec![N as i64, 2, 1], Kind::Float));
        assert_moments(&normal, 0.0, temperature * temperature);
        assert!(kolmogorov(&normal, |z| normal_cdf(z / temperature)) < 1.95);

        let logistic = Logistic::new(&[2]).sample(N, temperature, 4, CPU);
        assert_eq!((logistic.size(), logistic.kind()), (vec![N as i64, 2], Kind::Float));
        assert_moments(&logistic, 0.0, temperature * temperature * PI * PI / 3.0);
        assert!(kolmogorov(&logistic, |z| 1.0 / (1.0 + (-z / temperature).exp())) < 1.95);
    }
    // Coordinates are independent.
    let pairs = StandardNormal::new(&[2]).sample(N, 1.0, 5, CPU);
    assert_moments(&pairs.prod_dim_int(1, false, None::<Kind>), 0.0, 1.0);
}

#[test]
fn an_affine_map_of_the_normal_is_a_normal() {
    let vs = store(Kind::Float);
    let affine = ElementwiseAffine::standardize(&vs.root(), &[3.0], &[2.0]).unwrap();
    let flow = Flow::new(affine, StandardNormal::new(&[1]), CPU);
    let x = [-4.0, 0.0, 2.5, 3.0, 11.0];
    let log_prob = flow.log_prob(&Tensor::from_slice(&x).to_kind(Kind::Float).reshape([-1, 1]), None);
    for (got, x) in values(&log_prob).into_iter().zip(x) {
        assert_relative_eq!(got, ln_normal((x - 3.0) / 2.0) - LN_2, max_relative = 1e-6);
    }
    let draws = flow.sample(20_000, 1.0, 0, None);
    assert!(!draws.requires_grad());
    assert_moments(&draws, 3.0, 4.0);
    assert!(kolmogorov(&draws, |x| normal_cdf((x - 3.0) / 2.0)) < 1.95);
    assert_moments(&flow.sample(20_000, 0.5, 0, None), 3.0, 1.0);
}

/// The logit of a uniform is a logistic: with that base the density on the cube is constant, `(1 - 2α)^D`.
#[test]
fn the_logit_with_a_logistic_base_is_the_uniform() {
    for alpha in [1e-6f64, 0.05] {
        let flow = Flow::new(Logit::new(alpha).unwrap(), Logistic::new(&[3]), CPU);
        let x = Tensor::linspace(0.0, 1.0, 30, (Kind::Double, CPU)).reshape([10, 3]);
        for log_prob in values(&flow.log_prob(&x, None)) {
            assert_relative_eq!(log_prob, 3.0 * (1.0 - 2.0 * alpha).ln(), epsilon = 1e-12);
        }
        let draws = flow.sample(20_000, 1.0, 1, None);
        let (low, width) = (-alpha / (1.0 - 2.0 * alpha), 1.0 / (1.0 - 2.0 * alpha));
        assert!(kolmogorov(&draws, |x| ((x - low) / width).clamp(0.0, 1.0)) < 1.95);
    }
}

/// And turned round: the inverse logit of a uniform's parent, `log p(z)` of logistic data under a uniform's flow.
#[test]
fn an_inverse_is_the_flow_the_other_way() {
    let affine = |vs: &nn::VarStore| ElementwiseAffine::standardize(&vs.root(), &[3.0], &[2.0]).unwrap();
    let vs = store(Kind::Double);
    let flow = Flow::new(Inverse(affine(&vs)), StandardNormal::new(&[1]), CPU);
    // z = 3 + 2x, so x ~ N(-3/2, 1/4).
    let x = randn(&[5, 1], Kind::Double, 2);
    for (got, x) in values(&flow.log_prob(&x, None)).into_iter().zip(values(&x)) {
        assert_relative_eq!(got, ln_normal(3.0 + 2.0 * x) + LN_2, max_relative = 1e-12);
    }
}

/// A coupling flow in 2-D with a context, parameters not trivial.
fn couplings(path: &nn::Path) -> Chain {
    let mut chain = Chain::default();
    for i in 0..2 {
        let path = path / i;
        let law = Law::Affine { bound: Bound::learned(&path, 1, 1.0) };
        let coupling = Coupling::new(Mask::halves(2, i == 1).unwrap(), TestNet::new(&path, 1, 2), law);
        chain.push(format!("coupling_{i}"), coupling).unwrap();
    }
    chain.push("reverse", Permute::reverse(2)).unwrap();
    chain.push("scaling", ElementwiseAffine::learned(&(path / "scaling"), &[2])).unwrap();
    chain
}

/// A density integrates to 1 whatever its parameters: nothing here knows how a log-determinant is computed. And samples
/// have the moments of that integral, so that both directions are those of one model.
#[test]
fn a_coupling_flow_is_a_density_and_samples_follow_it() {
    for logistic in [false, true] {
        let vs = store(Kind::Float);
        let chain = couplings(&vs.root());
        randomize(&vs, 8);
        let base: Box<dyn Base> =
            if logistic { Box::new(Logistic::new(&[2])) } else { Box::new(StandardNormal::new(&[2])) };
        let flow = Flow::new(chain, base, CPU);

        const SIDE: i64 = 600;
        let half = if logistic { 60.0 } else { 20.0 };
        let axis = Tensor::linspace(-half, half, SIDE, (Kind::Float, CPU));
        let grid = Tensor::cartesian_prod(&[&axis, &axis]);
        let cell = (2.0 * half / (SIDE - 1) as f64).powi(2);
        let context = randn(&[1, CONTEXT], Kind::Float, 9);
        let repeated = |n: i64| context.expand([n, CONTEXT], false);
        let density = tch::no_grad(|| flow.log_prob(&grid, Some(&repeated(SIDE * SIDE))).exp()) * cell;
        let density = density.to_kind(Kind::Double);
        assert_relative_eq!(density.sum(None::<Kind>).double_value(&[]), 1.0, epsilon = 1e-4);

        const N: i64 = 40_000;
        let draws = flow.sample(N as usize, 1.0, 10, Some(&repeated(N))).to_kind(Kind::Double);
        let grid = grid.to_kind(Kind::Double);
        for statistic in [
            |x: &Tensor| x.select(1, 0),
            |x: &Tensor| x.select(1, 1),
            |x: &Tensor| x.square().select(1, 0),
            |x: &Tensor| x.square().select(1, 1),
            |x: &Tensor| x.prod_dim_int(1, false, None::<Kind>),
            |x: &Tensor| (x.select(1, 0) * 2.0 + x.select(1, 1)).sin(),
        ] {
            let expected = (statistic(&grid) * &density).sum(None::<Kind>).double_value(&[]);
            let drawn = statistic(&draws);
            let error = drawn.std(true).double_value(&[]) / (N as f64).sqrt();
            let off = (drawn.mean(None::<Kind>).double_value(&[]) - expected) / error;
            assert!(off.abs() < 4.5, "off by {off} standard errors from {expected}");
        }
    }
}

#[test]
fn a_trace_names_every_step_and_gives_the_same_log_prob() {
    let vs = store(Kind::Double);
    let mut chain = Chain::default();
    chain.push("inner", couplings(&(vs.root() / "inner"))).unwrap();
    chain.push("turned", Inverse(couplings(&(vs.root() / "turned")))).unwrap();
    randomize(&vs, 8);
    let flow = Flow::new(chain, StandardNormal::new(&[2]), CPU);
    let x = randn(&[4, 2], Kind::Double, 1);

    let mut names = Vec::new();
    let mut last = None;
    let (z, log_prob) = flow.trace_forward(&x, None, &mut |name: &str, value: &Tensor, log_det: &Tensor| {
        assert_eq!((value.size(), log_det.size()), (vec![4, 2], vec![4]));
        names.push(name.to_owned());
        last = Some(value.shallow_clone());
    });
    let inner = ["inner.coupling_0", "inner.coupling_1", "inner.reverse", "inner.scaling"];
    let turned = ["turned.scaling", "turned.reverse", "turned.coupling_1", "turned.coupling_0"];
    assert_eq!(names, [inner, turned].concat());
    assert_eq!(last.unwrap(), z);
    assert_eq!(log_prob, flow.log_prob(&x, None));

    let mut back_names = Vec::new();
    let mut probe = |name: &str, _: &Tensor, _: &Tensor| back_names.push(name.to_owned());
    let (back, back_log_prob) = flow.trace_inverse(&z, None, &mut probe);
    names.reverse();
    assert_eq!(back_names, names);
    assert_relative_eq!(values(&back)[..], values(&x)[..], epsilon = 1e-12);
    assert_relative_eq!(values(&back_log_prob)[..], values(&log_prob)[..], epsilon = 1e-12);
}

/// Central differences of a mean log-likelihood, parameter by parameter, and by context and data too.
#[test]
fn gradients_agree_with_finite_differences() {
    let vs = store(Kind::Double);
    let chain = couplings(&vs.root());
    randomize(&vs, 8);
    let flow = Flow::new(chain, StandardNormal::new(&[2]), CPU);
    let x = randn(&[7, 2], Kind::Double, 1).set_requires_grad(true);
    let context = randn(&[7, CONTEXT], Kind::Double, 2).set_requires_grad(true);
    let loss = || flow.log_prob(&x, Some(&context)).mean(None::<Kind>);
    loss().backward();

    let mut named: Vec<(String, Tensor)> = vs.variables().into_iter().collect();
    named.extend([("x".to_owned(), x.shallow_clone()), ("context".to_owned(), context.shallow_clone())]);
    let mut compared = 0;
    for (name, tensor) in named {
        let gradient = values(&tensor.grad());
        let flat = tensor.detach().view(-1);
        for (i, gradient) in gradient.into_iter().enumerate() {
            let step = 1e-5;
            let moved = |by: f64| {
                let _ = flat.narrow(0, i as i64, 1).g_add_scalar_(by);
                tch::no_grad(loss).double_value(&[])
            };
            let above = moved(step);
            let below = moved(-2.0 * step);
            moved(step);
            let difference = (above - below) / (2.0 * step);
            let where_ = format!("{name}[{i}]");
            assert!(
                approx::relative_eq!(gradient, difference, epsilon = 1e-8, max_relative = 1e-6),
                "{where_}: {gradient} by autograd, {difference} by differences"
            );
            compared += usize::from(gradient.abs() > 1e-6);
        }
    }
    assert!(compared > 80, "only {compared} gradients are not 0");
}

#[test]
fn same_seed_same_samples_even_with_two_threads_at_once() {
    let sample = |seed: u64| {
        let vs = store(Kind::Float);
        let affine = ElementwiseAffine::standardize(&vs.root(), &[3.0; 4], &[2.0; 4]).unwrap();
        let normal = Flow::new(affine, StandardNormal::new(&[4]), CPU).sample(50, 0.9, seed, None);
        let logistic = Flow::new(Chain::default(), Logistic::new(&[4]), CPU).sample(50, 0.9, seed, None);
        (
            normal,
            logistic,
            Permute::random(20, seed, CPU).forward(&Tensor::arange(20, (Kind::Float, CPU)).view([1, 20]), None).0,
        )
    };
    let alone = [sample(1), sample(2)];
    assert_ne!(alone[0].0, alone[1].0);
    assert_ne!(alone[0].1, alone[1].1);
    assert_ne!(alone[0].2, alone[1].2);
    let together: Vec<_> = [1, 2]
        .map(|seed| std::thread::spawn(move || (0..200).map(|_| sample(seed)).collect::<Vec<_>>()))
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    for (alone, together) in alone.iter().zip(&together) {
        assert!(together.iter().all(|drawn| drawn == alone));
    }
}

/// Mean and standard deviation of feature 1.
fn moments(z: &Tensor) -> (Vec<f64>, Vec<f64>) {
    let others: Vec<i64> = (0..z.dim() as i64).filter(|&d| d != 1).collect();
    (values(&z.mean_dim(&others[..], false, None::<Kind>)), values(&z.std_dim(&others[..], false, false)))
}

#[test]
fn actnorm_starts_at_mean_0_and_deviation_1() {
    for size in [&[200i64, 3][..], &[40, 3, 2, 5]] {
        let vs = store(Kind::Float);
        let actnorm = ActNorm::new(&vs.root(), 3);
        assert!(!actnorm.has_started());
        let mut shape = vec![1; size.len()];
        shape[1] = 3;
        let scale = Tensor::from_slice(&[0.1f32, 1.0, 30.0]).reshape(&shape);
        let x = randn(size, Kind::Float, 1) * &scale + &scale * 2.0;
        let _ = actnorm.start_from_data(&x.narrow(0, 0, 0), None);
        assert!(!actnorm.has_started(), "an empty batch says nothing");

        let z = actnorm.start_from_data(&x, None);
        assert!(actnorm.has_started());
        assert_eq!(z, actnorm.forward(&x, None).0);
        let (mean, std) = moments(&z);
        assert_relative_eq!(mean[..], [0.0; 3][..], epsilon = 1e-5);
        assert_relative_eq!(std[..], [1.0; 3][..], epsilon = 1e-5);

        let _ = actnorm.start_from_data(&(&x * 5.0 + 1.0), None);
        assert_eq!(z, actnorm.forward(&x, None).0, "it starts once");
    }
}

/// Inside a chain every ActNorm starts from what reaches it.
#[test]
fn actnorms_of_a_chain_start_one_after_another() {
    let vs = store(Kind::Double);
    let mut chain = Chain::default();
    chain.push("scale", ElementwiseAffine::standardize(&(vs.root() / "a"), &[1.0; 2], &[0.2; 2]).unwrap()).unwrap();
    chain.push("first", ActNorm::new(&(vs.root() / "first"), 2)).unwrap();
    chain.push("couplings", couplings(&(vs.root() / "couplings"))).unwrap();
    chain.push("second", ActNorm::new(&(vs.root() / "second"), 2)).unwrap();
    randomize(&vs, 8);
    let x = randn(&[300, 2], Kind::Double, 1);
    let z = chain.start_from_data(&x, None);
    for value in [chain.forward_range(0..2, &x, None).0, z] {
        let (mean, std) = moments(&value);
        assert_relative_eq!(mean[..], [0.0; 2][..], epsilon = 1e-12);
        assert_relative_eq!(std[..], [1.0; 2][..], epsilon = 1e-12);
    }
}

#[test]
fn a_loaded_actnorm_does_not_start_again() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "model.ot"] {
        let file = folder.path().join(name);
        let x = randn(&[50, 3], Kind::Float, 1) * 3.0 + 2.0;
        let vs = store(Kind::Float);
        let z = ActNorm::new(&vs.root(), 3).start_from_data(&x, None);
        vs.save(&file).unwrap();

        let mut vs = store(Kind::Float);
        let loaded = ActNorm::new(&vs.root(), 3);
        assert_ne!(loaded.forward(&x, None).0, z);
        vs.load(&file).unwrap();
        assert!(loaded.has_started());
        let _ = loaded.start_from_data(&(&x * 10.0), None);
        assert_eq!(loaded.forward(&x, None).0, z);
    }
}

/// One row has no deviation, a constant feature neither: the scale stays finite and the way back leads back.
#[test]
fn actnorm_survives_a_batch_of_one_and_a_constant_feature() {
    let one = randn(&[1, 3], Kind::Double, 1);
    let constant = Tensor::cat(&[randn(&[20, 2], Kind::Double, 1), Tensor::full([20, 1], 7.0, (Kind::Double, CPU))], 1);
    for x in [one, constant] {
        let vs = store(Kind::Double);
        let actnorm = ActNorm::new(&vs.root(), 3);
        let z = actnorm.start_from_data(&x, None);
        let (mean, _) = moments(&z);
        assert_relative_eq!(mean[..], [0.0; 3][..], epsilon = 1e-9);
        let other = randn(&[4, 3], Kind::Double, 2);
        let (z, log_det) = actnorm.forward(&other, None);
        assert!(log_det.isfinite().all().int64_value(&[]) == 1);
        let (back, _) = actnorm.inverse(&z, None);
        assert_relative_eq!(values(&back)[..], values(&other)[..], epsilon = 1e-12);
    }
}
