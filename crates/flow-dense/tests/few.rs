//! Nets on a few rows against the same by plain loops in f64, and the teams of threads that they are computed by.

mod common;
#[path = "common/written.rs"]
mod written;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{ROUNDING, again_with_fewer_instructions, close, draw};
use flow_dense::{Bf16, Held, Layer, Packed, Slope, Weight, in_parallel, in_team, through_layers, within};
use written::written;

/// Inputs of a net, and of each layer its outputs and whether it is residual.
const NETS: [(usize, &[(usize, bool)]); 9] = [
    (1, &[(1, true)]),
    (16, &[(17, false)]),
    (17, &[(17, true)]),
    (3, &[(16, false), (16, true), (17, false)]),
    (70, &[(70, true), (70, true), (1, false)]),
    (17, &[(3, false), (3, true), (70, false), (16, false), (16, true)]),
    (1, &[(70, false), (70, true), (3, false)]),
    (70, &[(17, false), (1, false), (1, true), (70, false)]),
    // Wide enough to be packed.
    (79, &[(79, false), (79, true), (3, false)]),
];

const ACTIVATIONS: [Option<Slope>; 3] = [None, Some(Slope(0.0)), Some(Slope(0.01))];

const THREADS: [usize; 4] = [1, 2, 3, 8];

/// What a [`Layer`] borrows.
struct Own {
    weight: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
    activation: Option<Slope>,
    residual: bool,
}

impl Own {
    fn layer(&self) -> Layer<'_> {
        self.held(Weight::new(&self.weight, self.inputs).into())
    }

    /// With the weight held in another way.
    fn held<'a>(&'a self, weight: Held<'a>) -> Layer<'a> {
        let Own { activation, residual, .. } = *self;
        Layer { weight, bias: &self.bias, activation, residual }
    }
}

impl Own {
    /// With weights that bf16 has.
    fn cut(&self) -> Own {
        Own { weight: cut(&self.weight), bias: self.bias.clone(), ..*self }
    }
}

/// The upper halves of numbers.
fn halves(numbers: &[f32]) -> Vec<Bf16> {
    numbers.iter().map(|x| Bf16::from_bits((x.to_bits() >> 16) as u16)).collect()
}

/// Numbers without their lower halves.
fn cut(numbers: &[f32]) -> Vec<f32> {
    halves(numbers).into_iter().map(Bf16::to_f32).collect()
}

/// Weights that leave numbers as large as they are.
fn weight(outputs: usize, inputs: usize, seed: u32) -> Vec<f32> {
    let scale = (3.0 / inputs as f32).sqrt();
    draw(outputs * inputs, seed).into_iter().map(|w| scale * w).collect()
}

/// The layers of a net, whose first one has the `first` of [`ACTIVATIONS`].
fn net(mut inputs: usize, layers: &[(usize, bool)], first: usize) -> Vec<Own> {
    let mut net = Vec::new();
    for (i, (outputs, residual)) in layers.iter().copied().enumerate() {
        let (weight, bias) = (weight(outputs, inputs, i as u32), draw(outputs, 100 + i as u32));
        let activation = ACTIVATIONS[(first + i) % ACTIVATIONS.len()];
        net.push(Own { weight, bias, inputs, activation, residual });
        inputs = outputs;
    }
    net
}

/// `W x`, of one row.
fn product(weight: &[f32], x: &[f64]) -> Vec<f64> {
    let row = |w: &[f32]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
    weight.chunks(x.len()).map(row).collect()
}

/// What comes of one row.
fn plain(net: &[Own], skip: Option<&[f32]>, x: &[f32]) -> Vec<f64> {
    let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
    let mut h = x.clone();
    for (i, own) in net.iter().enumerate() {
        let mut y = product(&own.weight, &h);
        if let Some(skip) = skip.filter(|_| i + 1 == net.len()) {
            y.iter_mut().zip(product(skip, &x)).for_each(|(y, s)| *y += s);
        }
        y.iter_mut().zip(&own.bias).for_each(|(y, b)| *y += f64::from(*b));
        if let Some(Slope(slope)) = own.activation {
            y.iter_mut().filter(|y| **y < 0.0).for_each(|y| *y *= f64::from(slope));
        }
        if own.residual {
            y.iter_mut().zip(&h).for_each(|(y, h)| *y += h);
        }
        h = y;
    }
    h
}

/// Calls `f` with each net, with each of the activations first, without a skip and with one.
fn nets(mut f: impl FnMut(&[Own], Option<&[f32]>)) {
    for (inputs, layers) in NETS {
        for first in 0..ACTIVATIONS.len() {
            let net = net(inputs, layers, first);
            let skip = weight(layers[layers.len() - 1].0, inputs, 50);
            [None, Some(&skip[..])].into_iter().for_each(|skip| f(&net, skip));
        }
    }
}

fn through(net: &[Own], skip: Option<&[f32]>, x: &[f32], threads: usize) -> Vec<f32> {
    let layers: Vec<Layer> = net.iter().map(Own::layer).collect();
    written(&layers, skip.map(|skip| Weight::new(skip, net[0].inputs).into()), x, threads)
}

#[test]
fn nets_by_the_rows() {
    nets(|net, skip| {
        let inputs = net[0].inputs;
        let packed: Vec<_> = net.iter().map(|own| Packed::new(Weight::new(&own.weight, own.inputs))).collect();
        let held = net.iter().zip(&packed).map(|(own, packed)| match packed {
            Some(packed) => own.held(packed.into()),
            None => own.layer(),
        });
        let held: Vec<Layer> = held.collect();
        for rows in [0, 1, 2, 3, 4, 5, 15] {
            let x = draw(rows * inputs, 200);
            let plain: Vec<f64> = x.chunks(inputs).flat_map(|x| plain(net, skip, x)).collect();
            for threads in THREADS {
                close(&through(net, skip, &x, threads), &plain, ROUNDING);
                let skip = skip.map(|skip| Weight::new(skip, inputs).into());
                close(&written(&held, skip, &x, threads), &plain, ROUNDING);
            }
        }
    });
}

/// Weights in bf16, as they are and packed, against the same numbers in f64.
#[test]
fn nets_in_bf16() {
    nets(|net, skip| {
        let inputs = net[0].inputs;
        let net: Vec<Own> = net.iter().map(Own::cut).collect();
        let skip: Option<Vec<f32>> = skip.map(cut);
        let halves: Vec<Vec<Bf16>> = net.iter().map(|own| halves(&own.weight)).collect();
        let half = |i: usize| Weight::new(&halves[i], net[i].inputs);
        let half_skip: Option<Vec<Bf16>> = skip.as_deref().map(self::halves);
        let packed: Vec<Option<Packed>> = (0..net.len()).map(|i| Packed::of_bf16(half(i))).collect();
        for rows in [0, 1, 2, 5, 15] {
            let x = draw(rows * inputs, 400);
            let plain: Vec<f64> = x.chunks(inputs).flat_map(|x| plain(&net, skip.as_deref(), x)).collect();
            for threads in THREADS {
                let skip = half_skip.as_deref().map(|skip| Weight::new(skip, inputs).into());
                for packs in [false, true] {
                    let held = |i: usize| match &packed[i] {
                        Some(packed) if packs => packed.into(),
                        _ => half(i).into(),
                    };
                    let layers: Vec<Layer> = net.iter().enumerate().map(|(i, own)| own.held(held(i))).collect();
                    close(&written(&layers, skip, &x, threads), &plain, ROUNDING);
                }
            }
        }
    });
}

#[test]
fn numbers_by_their_upper_half() {
    assert_eq!(Bf16::from_bits(0x3f80).to_f32(), 1.0);
    assert_eq!(Bf16::from_bits(0xc049).to_f32(), -3.140_625);
    assert_eq!(Bf16::from_bits(0x0001).to_f32(), f32::from_bits(0x0001_0000));
    assert_eq!(Bf16::from_bits(0xff80).to_f32(), f32::NEG_INFINITY);
}

/// Each of many callers at once gets its own result, from a team or without one.
#[test]
fn nets_of_many_callers() {
    let (inputs, layers) = NETS[5];
    let net = net(inputs, layers, 1);
    let caller = |seed| {
        let x = draw(3 * inputs, seed);
        let plain: Vec<f64> = x.chunks(inputs).flat_map(|x| plain(&net, None, x)).collect();
        (0..20).for_each(|_| close(&through(&net, None, &x, 3), &plain, ROUNDING));
    };
    std::thread::scope(|scope| (0..3).for_each(|seed| drop(scope.spawn(move || caller(seed)))));
    in_parallel(3, &|part, _| caller(part as u32));
}

/// What is infinite or no number stays it, and ReLU's other side is 0 even of infinity.
#[test]
fn activations_of_what_is_not_finite() {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    // A row that does not fill a vector, one that does, and one and a bit.
    for inputs in [1, 16, 17] {
        let mut weight = vec![0.0; inputs];
        weight[inputs - 1] = 1.0;
        let mut x = vec![0.0; 4 * inputs];
        x.chunks_mut(inputs).zip([nan, infinity, -infinity, -1.0]).for_each(|(row, bad)| row[inputs - 1] = bad);
        for (activation, right) in ACTIVATIONS.into_iter().zip([[-infinity, -1.0], [0.0, 0.0], [-infinity, -0.01]]) {
            for threads in THREADS {
                let net = [Own { weight: weight.clone(), bias: vec![0.0], inputs, activation, residual: false }];
                let y = through(&net, None, &x, threads);
                assert!(y[0].is_nan());
                assert_eq!(y[1..], [infinity, right[0], right[1]]);
                // What comes through a skip is activated, too.
                let net = [Own { weight: vec![0.0; inputs], bias: vec![0.0], inputs, activation, residual: false }];
                assert_eq!(through(&net, Some(&weight), &x[3 * inputs..], threads), [right[1]]);
            }
        }
    }
}

/// Rows know nothing of each other.
#[test]
fn rows_beside_what_is_not_finite() {
    nets(|net, skip| {
        let inputs = net[0].inputs;
        let x = draw(5 * inputs, 300);
        let all_right = through(net, skip, &x, 2);
        let outputs = all_right.len() / 5;
        for (row, bad) in [(0, f32::NAN), (2, f32::INFINITY), (4, f32::NAN)] {
            let mut x = x.clone();
            x[row * inputs..(row + 1) * inputs].fill(bad);
            let y = through(net, skip, &x, 2);
            for (i, (y, right)) in y.chunks(outputs).zip(all_right.chunks(outputs)).enumerate() {
                assert!(if i == row { bad.is_infinite() || y.iter().all(|y| y.is_nan()) } else { y == right });
            }
        }
    });
}

/// What `f` says when it panics.
fn said(f: impl FnOnce()) -> String {
    let said = catch_unwind(AssertUnwindSafe(f)).expect_err("sizes do not go together");
    said.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn sizes_that_do_not_go_together_are_told() {
    let own = |outputs, inputs, biases: usize, residual| {
        let (weight, bias) = (weight(outputs, inputs, 1), draw(biases, 2));
        Own { weight, bias, inputs, activation: None, residual }
    };
    let said = |net: &[Own], skip: Option<&[f32]>| said(|| drop(through(net, skip, &[1.0; 6], 1)));
    assert!(said(&[own(2, 4, 2, false)], None).contains("6 numbers in rows of 4"));
    assert!(said(&[own(2, 3, 2, false), own(2, 3, 2, false)], None).contains("inputs of a layer"));
    assert!(said(&[own(2, 3, 1, false)], None).contains("a layer of 2 outputs"));
    assert!(said(&[own(2, 3, 3, false)], None).contains("a layer of 2 outputs"));
    assert!(said(&[own(2, 3, 2, true)], None).contains("a layer of 2 outputs"));
    for rows in [1, 3] {
        assert!(said(&[own(2, 3, 2, false)], Some(&vec![1.0; rows * 3])).contains("a skip from 3 to 2"));
    }
    let layers = [own(2, 3, 2, false)];
    let layers = layers.each_ref().map(Own::layer);
    let other = self::said(|| drop(written(&layers, Some(Weight::new(&[1.0; 4], 2).into()), &[1.0; 6], 1)));
    assert!(other.contains("a skip from 3 to 2"));
    let other = self::said(|| through_layers(&layers, None, &[1.0; 6], &mut [0.0; 3], 1));
    assert!(other.contains("room for 2 rows of 2"));
}

/// All members are there at the same time, each once.
#[test]
fn members_of_a_team() {
    for most in [0, 1, 2, 3, 8, 17] {
        let (come, seen) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let ends = Instant::now() + Duration::from_secs(20);
        in_team(most, &|member, members| {
            come.fetch_add(1, Ordering::AcqRel);
            while come.load(Ordering::Acquire) < members && Instant::now() < ends {
                std::thread::yield_now();
            }
            let met = come.load(Ordering::Acquire) == members;
            seen.lock().expect("nobody panics").push((member, members, met));
        });
        let mut seen = seen.into_inner().expect("nobody panics");
        seen.sort_unstable();
        let members = seen.len();
        assert!((1..=most.max(1)).contains(&members), "{members} of {most}");
        assert_eq!(seen, (0..members).map(|member| (member, members, true)).collect::<Vec<_>>());
        assert!(!within());
    }
}

type Calls = fn(usize, &(dyn Fn(usize, usize) + Sync));

/// Within a team, or a part of other work, there is no other team to be had.
#[test]
fn a_team_within_a_team() {
    let outers: [Calls; 2] = [in_team, in_parallel];
    for outer in outers {
        let (calls, seen) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        outer(3, &|_, _| {
            let own = std::thread::current().id();
            for _ in 0..2 {
                let inner = |member, members| {
                    let here = within() && std::thread::current().id() == own;
                    seen.lock().expect("nobody panics").push((member, members, here));
                };
                in_team(4, &inner);
            }
            // The inner one has ended, this one has not.
            calls.fetch_add(usize::from(within()), Ordering::Relaxed);
        });
        let (calls, seen) = (calls.into_inner(), seen.into_inner().expect("nobody panics"));
        assert!(calls > 1);
        assert_eq!(seen, vec![(0, 1, true); 2 * calls]);
    }
}

#[test]
fn the_same_with_fewer_instructions() {
    again_with_fewer_instructions("the_same_with_fewer_instructions");
}
