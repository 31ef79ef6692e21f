//! Kernels against libtorch in f64: thread by thread on the processor, or, by `FLOW_TEST_DEVICE=cuda`, on a GPU.

use std::cell::Cell;

use flow_cuda::kernels::{
    Layer, Rounding, Second, SplineGradients, Then, emulated, filter, filter_back, filter_gradients, layer, layer_back,
    layer_gradients, spline_backward, spline_forward, spline_inverse,
};
use tch::{Device, Kind, Tensor};

fn on_device(f: impl Fn(Device)) {
    STATE.set(1);
    match std::env::var("FLOW_TEST_DEVICE").as_deref() {
        Ok("cuda") => f(Device::Cuda(0)),
        _ => emulated(|| f(Device::Cpu)),
    }
}

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(1) };
}

/// Sums of uniform numbers, of mean 0 and variance 1: the same in each test, whatever other threads draw.
fn draw(size: &[i64], device: Device) -> Tensor {
    let uniform = || {
        let next = STATE.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        STATE.set(next);
        (next >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let numbers: Vec<f32> =
        (0..size.iter().product()).map(|_: i64| 2.0 * (uniform() + uniform() + uniform())).collect();
    Tensor::from_slice(&numbers).reshape(size).to_device(device)
}

/// Relative to the largest number.
fn off(got: &Tensor, expected: &Tensor) -> f64 {
    let [got, expected] = [got, expected].map(|t| t.to_device(Device::Cpu).to_kind(Kind::Double));
    assert_eq!(got.size(), expected.size());
    ((got - &expected).abs().max() / expected.abs().max()).double_value(&[])
}

fn close(got: &Tensor, expected: &Tensor, rounding: Rounding, what: &str) {
    let (least, most) = match rounding {
        Rounding::None => (0.0, 2e-6),
        // Of a single product nothing need be lost.
        _ if got.numel() < 10 => (0.0, 0.1),
        Rounding::Tf32 => (1e-5, 2e-3),
        Rounding::Bf16 => (2e-4, 2e-2),
    };
    let off = off(got, expected);
    assert!((least..most).contains(&off), "{what} is off by {off}: {:?}, {rounding:?}", got.size());
}

fn double(t: &Tensor) -> Tensor {
    t.to_device(Device::Cpu).to_kind(Kind::Double)
}

fn leaky(t: &Tensor, by: &Tensor, slope: f64) -> Tensor {
    t.where_self(&by.gt(0.0), &(t * slope))
}

const ROUNDINGS: [Rounding; 3] = [Rounding::None, Rounding::Tf32, Rounding::Bf16];
/// Rows, inputs, outputs: of every tile, with edges of each kind.
const LAYERS: [(i64, i64, i64); 8] =
    [(1, 1, 1), (5, 3, 130), (40, 101, 5), (3, 100, 70), (33, 100, 36), (60, 37, 1400), (200, 9, 800), (600, 36, 660)];

/// Some columns of a wider matrix, as a coupling takes them, of which nothing else may be read.
fn columns(n: i64, count: i64, device: Device) -> Tensor {
    let wide = Tensor::full([n, (count / 4 + 2) * 4], f64::NAN, (Kind::Float, device));
    let own = wide.narrow(1, 0, count);
    own.shallow_clone().copy_(&draw(&[n, count], device));
    own
}

#[test]
fn layers_are_products_with_what_follows() {
    on_device(|device| {
        for (n, inputs, outputs) in LAYERS {
            for rounding in ROUNDINGS {
                let (x, w, b) =
                    (columns(n, inputs, device), draw(&[outputs, inputs], device), draw(&[outputs], device));
                let added = draw(&[n, outputs], device);
                let exact = double(&x).mm(&double(&w).tr());
                let then = Then { bias: Some(&b), ..Then::default() };
                let (y, none) = layer(&x, &w, &then, rounding);
                assert!(none.is_none());
                close(&y, &(&exact + double(&b)), rounding, "a layer");
                let then = Then {
                    bias: Some(&b),
                    activate: true,
                    added: Some(&added),
                    second: Second::Early,
                    slope: 0.125,
                    ..Then::default()
                };
                let (y, early) = layer(&x, &w, &then, rounding);
                let expected = leaky(&(&exact + double(&b)), &(&exact + double(&b)), 0.125);
                close(&early.unwrap(), &expected, rounding, "its activation");
                close(&y, &(expected + double(&added)), rounding, "a residual layer");
            }
        }
    });
}

#[test]
fn layers_have_their_way_back() {
    on_device(|device| {
        for (n, inputs, outputs) in LAYERS {
            for rounding in ROUNDINGS {
                let (g, w) = (columns(n, outputs, device), draw(&[outputs, inputs], device));
                let (gate, added) = (draw(&[n, inputs], device), draw(&[n, inputs], device));
                let exact = double(&g).mm(&double(&w));
                let then = Then { gate: Some(&gate), slope: 0.125, ..Then::default() };
                let (x, _) = layer_back(&g, &w, &then, rounding);
                close(&x, &leaky(&exact, &double(&gate), 0.125), rounding, "a gated gradient");
                let then = Then { added: Some(&added), second: Second::Gated, ..then };
                let (x, gated) = layer_back(&g, &w, &then, rounding);
                let expected = exact + double(&added);
                close(&x, &expected, rounding, "a residual gradient");
                close(&gated.unwrap(), &leaky(&expected, &double(&gate), 0.125), rounding, "the same, gated");
            }
        }
    });
}

#[test]
fn gradients_of_layers_are_added_to_theirs() {
    // Of as many rows that sums are split, too.
    let long = [(600, 40, 36), (777, 3, 70)];
    on_device(|device| {
        for (rounding, sizes) in ROUNDINGS.into_iter().flat_map(|rounding| [(rounding, &LAYERS[..]), (rounding, &long)])
        {
            let drawn: Vec<_> = sizes
                .iter()
                .map(|&(n, inputs, outputs)| {
                    let before = (draw(&[outputs, inputs], device), draw(&[outputs], device));
                    (columns(n, outputs, device), columns(n, inputs, device), before)
                })
                .collect();
            // More than go into one call.
            let many = (0..30).map(|i| &drawn[i % drawn.len()]);
            let layers: Vec<Layer> = many
                .clone()
                .map(|(grad, input, (w, b))| Layer { grad, input, weight: w.copy(), bias: Some(b.copy()) })
                .collect();
            layer_gradients(&layers, rounding);
            for (layer, (grad, input, (w, b))) in layers.iter().zip(many) {
                let exact = double(grad).tr().mm(&double(input)) + double(w);
                close(&layer.weight, &exact, rounding, "a weight's");
                let exact = double(grad).sum_dim_intlist(0i64, false, None::<Kind>) + double(b);
                close(layer.bias.as_ref().unwrap(), &exact, Rounding::None, "a bias's");
            }
        }
    });
}

/// Images, channels in and out, height, width, size of filters.
const FILTERS: [(i64, i64, i64, i64, i64, i64); 6] = [
    (1, 1, 1, 1, 1, 3),
    (3, 2, 5, 7, 4, 3),
    (2, 6, 33, 5, 9, 1),
    (4, 20, 40, 14, 14, 3),
    (9, 3, 70, 13, 11, 3),
    (1, 5, 4, 2, 3, 1),
];

/// All but the last channel of larger images, as a coupling takes them, of which that may not be read.
fn images(n: i64, channels: i64, height: i64, width: i64, device: Device) -> Tensor {
    let larger = Tensor::full([n, channels + 1, height, width], f64::NAN, (Kind::Float, device));
    let own = larger.narrow(1, 0, channels);
    own.shallow_clone().copy_(&draw(&[n, channels, height, width], device));
    own
}

#[test]
fn filters_are_convolutions_with_what_follows() {
    on_device(|device| {
        for (n, from, to, height, width, size) in FILTERS {
            for rounding in ROUNDINGS {
                let x = images(n, from, height, width, device);
                let w = draw(&[to, from, size, size], device);
                let (b, shift) = (draw(&[to], device), draw(&[n, to], device));
                let added = draw(&[n, to, height, width], device);
                let exact = double(&x).conv2d(&double(&w), Some(&double(&b)), 1, size / 2, 1, 1);
                let (y, _) = filter(&x, &w, &Then { bias: Some(&b), ..Then::default() }, rounding);
                close(&y, &exact, rounding, "a convolution");
                let then = Then {
                    bias: Some(&b),
                    shift: Some(&shift),
                    added: Some(&added),
                    second: Second::Activated,
                    slope: 0.125,
                    ..Then::default()
                };
                let (y, activated) = filter(&x, &w, &then, rounding);
                let expected = exact + double(&shift).reshape([n, to, 1, 1]) + double(&added);
                close(&y, &expected, rounding, "a shifted one");
                close(&activated.unwrap(), &leaky(&expected, &expected, 0.125), rounding, "its activation");
            }
        }
    });
}

#[test]
fn filters_have_their_way_back() {
    on_device(|device| {
        for (n, from, to, height, width, size) in FILTERS {
            for rounding in ROUNDINGS {
                let g = images(n, to, height, width, device);
                let w = draw(&[to, from, size, size], device);
                let (gate, added) = (draw(&[n, from, height, width], device), draw(&[n, from, height, width], device));
                let exact = double(&g).conv_transpose2d(&double(&w), None::<Tensor>, 1, size / 2, 0, 1, 1);
                let then = Then { gate: Some(&gate), added: Some(&added), slope: 0.125, ..Then::default() };
                let (x, _) = filter_back(&g, &w, &then, rounding);
                close(&x, &(leaky(&exact, &double(&gate), 0.125) + double(&added)), rounding, "a gradient");
            }
        }
    });
}

#[test]
fn gradients_of_filters_are_added_to_theirs() {
    on_device(|device| {
        for rounding in ROUNDINGS {
            let drawn: Vec<_> = FILTERS
                .iter()
                .map(|&(n, from, to, height, width, size)| {
                    let (g, x) = (images(n, to, height, width, device), images(n, from, height, width, device));
                    (g, x, draw(&[to, from, size, size], device), draw(&[to], device))
                })
                .collect();
            let filters: Vec<Layer> = drawn
                .iter()
                .map(|(grad, input, w, b)| Layer { grad, input, weight: w.copy(), bias: Some(b.copy()) })
                .collect();
            filter_gradients(&filters, rounding);
            for (filter, (g, x, w, b)) in filters.iter().zip(&drawn) {
                let leaf = double(w).zeros_like().set_requires_grad(true);
                let y = double(x).conv2d(&leaf, None::<Tensor>, 1, w.size()[2] / 2, 1, 1);
                (y * double(g)).sum(None::<Kind>).backward();
                close(&filter.weight, &(leaf.grad() + double(w)), rounding, "filters'");
                let exact = double(g).sum_dim_intlist(&[0i64, 2, 3][..], false, None::<Kind>) + double(b);
                close(filter.bias.as_ref().unwrap(), &exact, Rounding::None, "a bias's");
            }
        }
    });
}

/// The bits are the same from call to call: nothing depends on which block is the first.
#[test]
fn results_are_the_same_to_the_bit() {
    on_device(|device| {
        let (x, g) = (images(9, 8, 14, 14, device), images(9, 24, 14, 14, device));
        let once = || {
            let (weight, bias) = (draw(&[24, 8, 3, 3], device).zeros_like(), draw(&[24], device).zeros_like());
            filter_gradients(
                &[Layer { grad: &g, input: &x, weight: weight.shallow_clone(), bias: Some(bias.shallow_clone()) }],
                Rounding::None,
            );
            (weight, bias)
        };
        let first = once();
        for _ in 0..3 {
            assert_eq!(once(), first);
        }
    });
}

/// The law in this test's own words, in f64 and on autograd's tape: `[n, changed, ..]` and `[n, 25 * changed, ..]`.
fn spline(x: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
    let (size, k) = (x.size(), 8i64);
    let by_bin = parameters.reshape([&[size[0], 3 * k + 1], &size[1..]].concat());
    let shares = |from: i64| (by_bin.narrow(1, from, k).softmax(1, None::<Kind>) * (1.0 - 8e-3) + 1e-3) * 12.0;
    let (w, h) = (shares(0), shares(k));
    let d = (by_bin.narrow(1, 2 * k, k + 1) + (std::f64::consts::E - 1.0).ln()).softplus() + 1e-3;
    let (left, bottom) = (w.cumsum(1, None::<Kind>) - &w - 6.0, h.cumsum(1, None::<Kind>) - &h - 6.0);
    let above = x.unsqueeze(1).ge_tensor(&left).sum_dim_intlist(1i64, true, Kind::Int64);
    let index = (above - 1).clamp(0, k - 1);
    let of = |t: &Tensor, index: &Tensor| t.gather(1, index, false).squeeze_dim(1);
    let (w, h, left, bottom) = (of(&w, &index), of(&h, &index), of(&left, &index), of(&bottom, &index));
    let (d0, d1) = (of(&d, &index), of(&d, &(&index + 1)));
    let free = (x - left) / &w;
    let t = free.clamp(0.0, 1.0);
    let s = &h / &w;
    let both = &t * (1.0 - &t);
    let denominator = &s + (&d0 + &d1 - &s * 2.0) * &both;
    let rest: Tensor = 1.0 - &t;
    let numerator = &d1 * t.square() + &s * &both * 2.0 + &d0 * rest.square();
    let log_slope = (s.square() * numerator / denominator.square()).log();
    let z = bottom + &h * (&s * t.square() + &d0 * &both) / denominator + (free - t) * w * log_slope.exp();
    (z, log_slope)
}

#[test]
fn the_spline_law_and_its_gradients() {
    on_device(|device| {
        for size in [vec![37i64, 5], vec![3, 2, 7, 5], vec![1, 1, 1, 1]] {
            let wide: Vec<i64> = [&[size[0], size[1] + 1], &size[2..]].concat();
            let of_parameters: Vec<i64> = [&[size[0], size[1] * 25], &size[2..]].concat();
            // Some beyond the spline's range.
            let x = (draw(&wide, device) * 3.5).narrow(1, 1, size[1]);
            let parameters = draw(&of_parameters, device) * 1.5;
            let [x64, p64] = [&x, &parameters].map(|t| double(t).set_requires_grad(true));
            let (z64, log64) = spline(&x64, &p64);
            let (z, log) = spline_forward(&x, &parameters, 8);
            assert!(off(&z, &z64.detach()) < 2e-5, "z is off by {}", off(&z, &z64.detach()));
            assert!(off(&log, &log64.detach()) < 1e-4, "ln dz/dx is off by {}", off(&log, &log64.detach()));
            let (back, log_back) = spline_inverse(&z, &parameters, 8);
            assert!(off(&back, &double(&x)) < 1e-3, "the way back is off by {}", off(&back, &double(&x)));
            assert!(off(&log_back, &log64.detach()) < 1e-2, "its ln is off by {}", off(&log_back, &log64.detach()));

            let grad_z = draw(&size, device);
            let mut by_row = vec![1; size.len()];
            by_row[0] = size[0];
            for grad_log in [draw(&by_row, device), draw(&size, device)] {
                for leaf in [&x64, &p64] {
                    if leaf.grad().defined() {
                        let _ = leaf.grad().zero_();
                    }
                }
                let (z64, log64) = spline(&x64, &p64);
                let loss = (z64 * double(&grad_z)).sum(None::<Kind>) + (log64 * double(&grad_log)).sum(None::<Kind>);
                loss.backward();
                let grads = SplineGradients { z: &grad_z, log_slope: &grad_log };
                let (grad_x, grad_parameters) = spline_backward(&x, &parameters, 8, grads);
                for (got, leaf, what) in [(grad_x, &x64, "x"), (grad_parameters, &p64, "the parameters")] {
                    let off = off(&got, &leaf.grad());
                    assert!(off < 2e-4, "the gradient of {what} is off by {off}");
                }
            }
        }
    });
}
