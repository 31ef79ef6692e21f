//! A layer of 512 to 512 forward, backward, and Adam's step by its gradient, on one thread: a batch as in training on MNIST. The same with
//! factors rounded to bf16.
//! Weights are of 24 layers in turn, so that they come from outside a core's own cache, as in a net.

use criterion::{Criterion, criterion_group, criterion_main};
use flow_dense::{
    Coefficients, Destination, Panels, Rounding, Slope, Then, ThenBack, Weight, backward, forward, gradient,
};

const ROWS: usize = 128;
const WIDTH: usize = 512;
const LAYERS: usize = 24;

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 % 1000) as f32 - 500.0) / 10_000.0).collect()
}

/// The numbers of a vector from the beginning of a line on, as tensors have them.
fn aligned(numbers: &mut [f32]) -> &mut [f32] {
    let before = numbers.as_ptr().align_offset(64);
    &mut numbers[before..][..LAYERS * WIDTH * WIDTH]
}

fn bench(c: &mut Criterion) {
    let size = WIDTH * WIDTH;
    let [mut weights, mut first, mut second] = [1.0, 0.0, 0.0].map(|times| {
        let numbers = numbers(LAYERS * size + 16);
        numbers.into_iter().map(|x| x * times).collect::<Vec<f32>>()
    });
    let [weights, first, second] = [&mut weights, &mut first, &mut second].map(|numbers| aligned(numbers));
    let bias = numbers(WIDTH);
    let x = Panels::from_rows(&numbers(ROWS * WIDTH), ROWS, WIDTH, 1);
    let mut at = 0;
    let mut next = || {
        at = (at + 1) % LAYERS;
        at * size..(at + 1) * size
    };

    let coefficients = Coefficients {
        beta1: 0.9,
        beta2: 0.999,
        rest1: 0.1,
        rest2: 0.001,
        shorten: 1.0,
        step_size: 1e-6,
        second_scale: 1.0,
        epsilon: 1e-8,
        keep: 1.0,
    };
    for (rounding, of) in [(Rounding::None, ""), (Rounding::Parts, " in parts"), (Rounding::Bf16, " of bf16")] {
        c.bench_function(&format!("dense layer{of}"), |b| {
            b.iter(|| {
                let then = Then { bias: Some(&bias), activation: Some(Slope(0.0)), rounding, ..Then::default() };
                forward(&[(Weight::new(&weights[next()], WIDTH), &x)], then, 1)
            });
        });
        c.bench_function(&format!("dense layer{of}, back"), |b| {
            b.iter(|| {
                let then = ThenBack { derivative: Some((&x, Slope(0.0))), rounding, ..ThenBack::default() };
                backward(&[(Weight::new(&weights[next()], WIDTH), &x)], WIDTH, then, 1)
            });
        });
        c.bench_function(&format!("dense layer{of}, step"), |b| {
            b.iter(|| {
                let own = next();
                let into = Destination::Step {
                    weight: &mut weights[own.clone()],
                    first: &mut first[own.clone()],
                    second: &mut second[own],
                    coefficients: &coefficients,
                };
                gradient(&x, &x, rounding, into, 1)
            });
        });
    }
    c.bench_function("dense layer, transposed", |b| b.iter(|| x.transposed(1)));
}

criterion_group!(benches, bench);
criterion_main!(benches);
