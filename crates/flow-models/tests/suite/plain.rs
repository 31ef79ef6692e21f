//! Rows as plain numbers, a few and many, in evaluation and in a training step, are the same as libtorch's, which is taken where
//! gradients are on.

use flow_core::{
    ActNorm, Bijection, Bound, Chain, Coupling, ElementwiseAffine, Error, Kept, Law, Logit, Mask, Permute, ToParameters,
};
use flow_models::{Activation, MlpConfig, Model};
use tch::{Device, Kind, Tensor, nn};

use crate::common::{batch, normal, randomised, zoo};

const DIM: usize = 12;

/// From rows and their context to values and log-determinants.
type Map<'a> = &'a dyn Fn(&Tensor, Option<&Tensor>) -> (Tensor, Tensor);

/// Whether some is not `truth`, relative to the largest finite number; what is not finite must be the same.
fn is_off(got: &Tensor, truth: &Tensor) -> bool {
    let most = truth.nan_to_num(0.0, 0.0, 0.0).abs().max().double_value(&[]);
    got.size() != truth.size() || !got.allclose(truth, 1e-5, 1e-5 * (1.0 + most), true)
}

/// What of some rows of `x` is not as it is in the batch of all, on a tape.
fn faults(what: &str, map: Map, x: &Tensor, context: Option<&Tensor>) -> String {
    let (value, log_det) = tch::with_grad(|| map(x, context));
    faults_beside(what, map, [(&value.detach(), 0.0), (&log_det.detach(), 0.0)], x, context)
}

/// What of some rows of `x` is neither the value and the log-determinant that are given, nor within so much of them.
fn faults_beside(what: &str, map: Map, truth: [(&Tensor, f64); 2], x: &Tensor, context: Option<&Tensor>) -> String {
    let all = x.size()[0];
    let mut faults = String::new();
    for rows in [1, 2, 15, 16, 40].into_iter().filter(|&rows| rows <= all) {
        for start in [0, all - rows] {
            let some = |t: &Tensor| t.narrow(0, start, rows);
            let (own, own_log_det) = tch::no_grad(|| map(&some(x), context.map(some).as_ref()));
            for (name, got, (truth, within)) in [("value", own, truth[0]), ("log-det", own_log_det, truth[1])] {
                let off = (&got - some(truth)).abs().max().double_value(&[]);
                if is_off(&got, &some(truth)) && (off.is_nan() || off > within) {
                    faults += &format!("{what}: the {name} of {rows} rows from {start} on is off by {off:e}\n");
                }
            }
        }
    }
    faults
}

/// What is not `exact` in f64, where libtorch's own f32 is not as far from that.
fn faults_in_f64(what: &str, [map, exact]: [Map; 2], x: &Tensor, context: Option<&Tensor>) -> String {
    let double = |t: &Tensor| t.to_kind(Kind::Double);
    let (value, log_det) = tch::no_grad(|| exact(&double(x), context.map(double).as_ref()));
    let taped = tch::with_grad(|| map(x, context));
    // Another order of sums may come to twice as much.
    let within = |taped: &Tensor, truth: &Tensor| 2.0 * (taped.detach() - truth).abs().max().double_value(&[]);
    let within = [within(&taped.0, &value), within(&taped.1, &log_det)];
    let [value, log_det] = [value, log_det].map(|t| t.to_kind(Kind::Float));
    faults_beside(what, map, [(&value, within[0]), (&log_det, within[1])], x, context)
}

/// The same in both directions, in batches of 16 and of 40.
fn both(what: &str, bijection: &dyn Bijection, x: &Tensor, context: Option<&Tensor>) -> String {
    let z = tch::with_grad(|| bijection.forward(x, context)).0.detach();
    let mut found = String::new();
    for all in [16, 40] {
        let some = |t: &Tensor| t.narrow(0, 0, all);
        let context = context.map(some);
        let forward: Map = &|x, context| bijection.forward(x, context);
        found += &faults(&format!("{what}, forward"), forward, &some(x), context.as_ref());
        let inverse: Map = &|z, context| bijection.inverse(z, context);
        found += &faults(&format!("{what}, inverse"), inverse, &some(&z), context.as_ref());
    }
    found
}

/// Where the slopes of splines multiply what is rounded, libtorch's f32 is as far from the truth as ours.
#[test]
fn rows_of_every_model_are_those_of_a_batch_in_f64() {
    let mut found = String::new();
    for case in zoo() {
        let model = randomised(&case.config, &case.event);
        let double = model.to_double().unwrap();
        let of = |model: &Model, way: usize, x: &Tensor, context: Option<&Tensor>| match way {
            0 => model.flow().bijection().forward(x, context),
            1 => model.flow().bijection().inverse(x, context),
            _ => {
                let log_prob = model.flow().log_prob(x, context);
                (log_prob.shallow_clone(), log_prob)
            }
        };
        for rows in [16, 40] {
            let (x, context) = batch(&model, rows);
            let z = tch::with_grad(|| of(&model, 0, &x, context.as_ref())).0.detach();
            for (way, name) in ["forward", "inverse", "likelihood"].into_iter().enumerate() {
                let own: Map = &|x, context| of(&model, way, x, context);
                let exact: Map = &|x, context| of(&double, way, x, context);
                let x = if way == 1 { &z } else { &x };
                found += &faults_in_f64(&format!("{}, {name}", case.name), [own, exact], x, context.as_ref());
            }
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

/// Perceptrons of every shape that is known by hand.
fn nets() -> Vec<MlpConfig> {
    let mut nets = Vec::new();
    for (i, activation) in [Activation::Relu, Activation::LeakyRelu].into_iter().enumerate() {
        for (residual, skip) in [(false, false), (false, true), (true, false), (true, true)] {
            for layers in [1, 3] {
                let hidden = [5, 37][(i + layers) % 2];
                nets.push(MlpConfig { hidden, layers, residual, skip, activation, ..MlpConfig::default() });
            }
        }
    }
    nets
}

fn masks() -> [Result<Mask, Error>; 7] {
    let some = |i: usize| [true, true, false, true, false, false, false, true, false, true, true, true][i];
    [
        Mask::halves(DIM, false),
        Mask::halves(DIM, true),
        Mask::alternating(DIM, false),
        Mask::alternating(DIM, true),
        Mask::checkerboard(3, 4, false, Device::Cpu),
        Mask::checkerboard(3, 4, true, Device::Cpu),
        Mask::from_bools(&std::array::from_fn::<bool, DIM, _>(some), Device::Cpu),
    ]
}

/// All that is known of few rows, and a logit and a chain that are not, of points on the cube.
fn chain(path: &nn::Path, net: &MlpConfig) -> Chain {
    let mut chain = Chain::default();
    chain.push("turned", Permute::reverse(DIM)).unwrap();
    chain.push("logit", Logit::new(0.05).unwrap()).unwrap();
    chain.push("norm", ActNorm::new(&(path / "norm"), DIM)).unwrap();
    for (i, mask) in masks().into_iter().enumerate() {
        let (mask, path) = (mask.unwrap(), path / format!("coupling_{i}"));
        let changed = mask.changed().len();
        let law = match i % 3 {
            0 => Law::Affine { bound: Bound::learned(&path, changed, 1.0) },
            1 => Law::Additive,
            _ => Law::Affine { bound: Bound::Fixed(0.7) },
        };
        let net = net.build(&path, mask.kept().len(), changed * law.parameters(), 1).unwrap();
        chain.push(format!("coupling_{i}"), Coupling::new(mask, net, law)).unwrap();
    }
    chain.push("nothing", Chain::default()).unwrap();
    chain.push("shuffled", Permute::random(DIM, 1, Device::Cpu)).unwrap();
    chain.push("saved", Permute::saved(&(path / "saved"), DIM, 2)).unwrap();
    chain.push("scaling", ElementwiseAffine::scaling(&(path / "scaling"), &[DIM as i64])).unwrap();
    let (mean, std): (Vec<f64>, Vec<f64>) = (0..DIM).map(|i| (0.1 * i as f64 - 0.3, 0.5 + 0.1 * i as f64)).unzip();
    chain.push("standard", ElementwiseAffine::standardize(&(path / "standard"), &mean, &std).unwrap()).unwrap();
    chain.push("affine", ElementwiseAffine::learned(&(path / "affine"), &[DIM as i64])).unwrap();
    chain
}

/// With parameters that are no longer at their start, and nets whose output is no larger for being wide.
fn ready(vs: &nn::VarStore, net: &MlpConfig) -> Chain {
    let chain = chain(&vs.root(), net);
    let _ = tch::no_grad(|| chain.start_from_data(&cube(40), None));
    for (i, variable) in vs.trainable_variables().iter().enumerate() {
        let size = variable.size();
        let scale = if size.len() == 2 { 0.8 / (size[1] as f64).sqrt() } else { 0.3 };
        tch::no_grad(|| variable.shallow_clone().copy_(&(normal(&size, i as u64) * scale)));
    }
    chain
}

/// Points on the cube.
fn cube(rows: i64) -> Tensor {
    normal(&[rows, DIM as i64], 17).sigmoid()
}

#[test]
fn a_chain_of_all_that_is_known_of_few_rows_with_others_between() {
    let mut found = String::new();
    for net in nets() {
        let vs = nn::VarStore::new(Device::Cpu);
        found += &both(&format!("{net:?}"), &ready(&vs, &net), &cube(40), None);
    }
    assert!(found.is_empty(), "\n{found}");
}

/// So many that they go through in several blocks, on several threads, and a net so wide that a few rows of it have a team.
#[test]
fn many_rows_and_wide_nets() {
    let mut found = String::new();
    for hidden in [5, 300] {
        let vs = nn::VarStore::new(Device::Cpu);
        let net = MlpConfig { hidden, layers: 2, residual: true, skip: true, ..MlpConfig::default() };
        let (chain, x) = (ready(&vs, &net), cube(1_100));
        let (truth, truth_log_det) = tch::with_grad(|| chain.forward(&x, None));
        let (truth, truth_log_det) = (truth.detach(), truth_log_det.detach());
        for (start, rows) in [(0, 1_100), (7, 257), (0, 513), (0, 1), (3, 15), (11, 100)] {
            let some = |t: &Tensor| t.narrow(0, start, rows);
            let (value, log_det) = tch::no_grad(|| chain.forward(&some(&x), None));
            let (back, log_det_back) = tch::no_grad(|| chain.inverse(&value, None));
            for (name, got, truth) in [
                ("value", &value, some(&truth)),
                ("log-det", &log_det, some(&truth_log_det)),
                ("way back", &back, some(&x)),
                ("log-det back", &log_det_back, -some(&truth_log_det)),
            ] {
                if is_off(&(got / 10.0), &(truth / 10.0)) {
                    found += &format!("{hidden} wide, {rows} rows: {name}\n");
                }
            }
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

/// What one tape of the whole chain gives, and what its maps give one after another.
#[test]
fn a_training_step_of_plain_rows_has_the_gradients_of_one_tape() {
    let mut found = String::new();
    for net in nets() {
        let vs = nn::VarStore::new(Device::Cpu);
        let chain = ready(&vs, &net);
        for rows in [32, 97, 512] {
            let (x, grad) = (cube(rows), normal(&[rows, DIM as i64], 20) / rows as f64);
            let of_log_det = normal(&[rows], 21) / rows as f64;
            let leaf = x.copy().set_requires_grad(true);
            let (value, log_det) = tch::with_grad(|| chain.forward(&leaf, None));
            let loss = (&value * &grad).sum(None::<Kind>) + (&log_det * &of_log_det).sum(None::<Kind>);
            let mut trained: Vec<_> = vs.variables().into_iter().filter(|(_, v)| v.requires_grad()).collect();
            trained.sort_by(|(a, _), (b, _)| a.cmp(b));
            let leaves: Vec<&Tensor> = std::iter::once(&leaf).chain(trained.iter().map(|(_, v)| v)).collect();
            let truth = Tensor::run_backward(&[loss], &leaves, false, false);

            trained.iter().for_each(|(_, variable)| {
                let _ = tch::no_grad(|| flow_core::gradient_of(variable).expect("it is trained").zero_());
            });
            tch::no_grad(|| {
                let Kept { value: own, log_det: own_log_det, back } = chain.forward_keeping(&x, None);
                let grad_x = back.backward(&grad, &of_log_det, true, &mut ToParameters).expect("it is wanted");
                let named = trained.iter().map(|(name, variable)| (name.as_str(), variable.grad()));
                let got = [("value", own), ("log-det", own_log_det), ("way back", grad_x)].into_iter().chain(named);
                let truth = [value.detach(), log_det.detach()].into_iter().chain(truth);
                for ((name, got), truth) in got.zip(truth) {
                    if is_off(&got, &truth) {
                        let off = (got - &truth).abs().max().double_value(&[]);
                        found += &format!("{net:?}, {rows} rows: {name} is off by {off:e}\n");
                    }
                }
            });
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

/// The images that rows are, as a map of its own.
#[derive(Debug)]
struct ToImages;

impl Bijection for ToImages {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        (x.reshape([-1, 3, 2, 2]), Tensor::zeros([x.size()[0]], (Kind::Float, Device::Cpu)))
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        (z.flatten(1, -1), Tensor::zeros([z.size()[0]], (Kind::Float, Device::Cpu)))
    }
}

/// Couplings take events of any shape, and so they do behind a map that makes such.
#[test]
fn a_map_that_makes_images_of_rows() {
    let vs = nn::VarStore::new(Device::Cpu);
    let mut chain = ready(&vs, &nets()[1]);
    // The couplings, and what is behind them that knows but rows.
    let mut couplings = chain.split_off(3);
    let rest = couplings.split_off(7);
    assert!(rest.len() > 1);
    chain.push("images", ToImages).unwrap();
    let all = |chain: Chain, into: &mut Chain| into.push("couplings", chain).unwrap();
    all(couplings, &mut chain);
    let found = both("images", &chain, &cube(40), None);
    assert!(found.is_empty(), "\n{found}");
    let kept = tch::no_grad(|| chain.forward_keeping(&cube(40), None).value);
    assert!(!is_off(&kept, &tch::with_grad(|| chain.forward(&cube(40), None)).0.detach()));
}

/// Steps one at a time: a sign that is wrong twice is not made good by a later one.
#[test]
fn each_step_alone() {
    let vs = nn::VarStore::new(Device::Cpu);
    let chain = ready(&vs, &nets()[15]);
    let mut found = String::new();
    for i in 0..chain.len() {
        let forward: Map = &|x, context| chain.forward_range(i..i + 1, x, context);
        let inverse: Map = &|z, context| chain.inverse_range(i..i + 1, z, context);
        for (way, map) in [("forward", forward), ("inverse", inverse)] {
            found += &faults(&format!("step {i}, {way}"), map, &cube(16), None);
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

/// Some columns of more, every other row, on their side, or one row again and again.
#[test]
fn rows_that_are_a_part_of_others() {
    let vs = nn::VarStore::new(Device::Cpu);
    let (chain, dim) = (ready(&vs, &nets()[3]), DIM as i64);
    let wide = normal(&[32, dim + 3], 18).sigmoid();
    let mut found = String::new();
    for x in [
        wide.narrow(1, 2, dim),
        wide.narrow(1, 0, dim).slice(0, 0, 32, 2),
        normal(&[dim, 16], 18).sigmoid().tr(),
        wide.narrow(0, 0, 1).narrow(1, 0, dim).expand([16, -1], false),
    ] {
        found += &faults(&format!("in steps of {:?}", x.stride()), &|x, context| chain.forward(x, context), &x, None);
    }
    assert!(found.is_empty(), "\n{found}");
}

/// Zeros, denormals, large numbers, and what is none.
#[test]
fn rows_at_the_edges_of_f32() {
    let values = [0.0, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, 30.0, -30.0, 1e4, -1e4, f32::NAN, f32::INFINITY];
    let vs = nn::VarStore::new(Device::Cpu);
    let mut chain = ready(&vs, &nets()[7]);
    // Behind the logit, which takes points on the cube only.
    let rest = chain.split_off(2);
    let mut found = String::new();
    for value in values {
        let alone = Tensor::full([16, DIM as i64], f64::from(value), (Kind::Float, Device::Cpu));
        let one_of_many = normal(&[16, DIM as i64], 19);
        let _ = one_of_many.narrow(1, 4, 1).fill_(f64::from(value));
        for x in [alone, one_of_many] {
            for i in 0..rest.len() {
                let forward: Map = &|x, context| rest.forward_range(i..i + 1, x, context);
                let inverse: Map = &|z, context| rest.inverse_range(i..i + 1, z, context);
                for (way, map) in [("forward", forward), ("inverse", inverse)] {
                    found += &faults(&format!("{value:e}, step {i}, {way}"), map, &x, None);
                }
            }
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

#[test]
#[should_panic(expected = "coordinates was given")]
fn rows_of_other_coordinates_are_a_bug() {
    let mut chain = Chain::default();
    chain.push("turned", Permute::reverse(DIM)).unwrap();
    let _ = tch::no_grad(|| chain.forward(&normal(&[1, 3], 1), None));
}
