//! Layers, gradients and steps against the same by plain loops in f64, of sizes that no tile divides.

mod common;

use common::{ROUNDING, again_with_fewer_instructions, close, draw};
use flow_dense::{
    Bf16, Coefficients, Destination, Instructions, OfLayer, Panels, Rounding, Slope, Then, ThenBack, Weight, adam_step,
    backward, forward, gradient, instructions,
};

/// Factors as a product has them.
fn factors<const N: usize>(rounding: Rounding, of: [&[f32]; N]) -> [Vec<f32>; N] {
    let number = |x: &f32| if rounding == Rounding::Bf16 { Bf16::nearest(*x).to_f32() } else { *x };
    of.map(|numbers| numbers.iter().map(number).collect())
}

/// Of rows, of threads, and of how factors are rounded.
fn ways<const N: usize>(threads: [usize; N]) -> impl Iterator<Item = ((usize, usize, usize), usize, Rounding)> {
    let with = move |size| {
        let each =
            move |threads| [Rounding::None, Rounding::Parts, Rounding::Bf16].map(|rounding| (size, threads, rounding));
        threads.into_iter().flat_map(each)
    };
    SIZES.into_iter().flat_map(with)
}

/// `[n, k] x [k, m]` in f64, `b` as `[m, k]` where it is transposed.
fn matmul(a: &[f32], b: &[f32], (n, k, m): (usize, usize, usize), transposed: bool) -> Vec<f64> {
    let at = |i: usize, j: usize| if transposed { b[j * k + i] } else { b[i * m + j] };
    let cell = |row: usize, column: usize| (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(at(i, column))).sum();
    (0..n * m).map(|cell_at| cell(cell_at / m, cell_at % m)).collect()
}

fn rows(panels: &Panels) -> Vec<f32> {
    let mut rows = vec![f32::NAN; panels.rows() * panels.columns()];
    panels.to_rows(&mut rows, 2);
    rows
}

/// So many rows in whole panels.
fn filled(rows: usize) -> usize {
    rows.next_multiple_of(if instructions() == Some(Instructions::Avx2) { 16 } else { 32 })
}

/// Rows of a batch, inputs, outputs. The last two have more panels than go through a weight together, of inputs or of rows.
const SIZES: [(usize, usize, usize); 16] = [
    (1, 1, 1),
    (200, 1, 70),
    (45, 70, 2),
    (130, 2, 43),
    (64, 43, 1),
    (40, 2, 2),
    (300, 2, 601),
    (120, 1201, 1),
    (31, 5, 14),
    (32, 16, 32),
    (33, 17, 15),
    (128, 70, 43),
    (300, 33, 129),
    (70, 400, 90),
    (512, 600, 15),
    (1100, 60, 9),
];

#[test]
fn panels_and_back() {
    for (n, k, _) in SIZES {
        let numbers = draw(n * k, 1);
        let panels = Panels::from_rows(&numbers, n, k, 2);
        assert_eq!(rows(&panels), numbers);
        // Rows that fill up a panel are columns of 0 in the transposed.
        let turned = panels.transposed(3);
        let depth = turned.columns();
        assert_eq!((turned.rows(), depth), (k, filled(n)));
        let turned = rows(&turned);
        for row in 0..depth {
            for column in 0..k {
                let there = if row < n { numbers[row * k + column] } else { 0.0 };
                assert_eq!(turned[column * depth + row], there, "{row} {column}");
            }
        }
    }
}

/// The nearest, ties to even; what is not a number stays none, whichever of its bits are lost.
#[test]
fn numbers_are_rounded_to_bf16() {
    let of = |bits: u32| Bf16::nearest(f32::from_bits(bits)).to_f32().to_bits();
    for (bits, rounded) in [
        (0x3f80_7fff, 0x3f80_0000),
        (0x3f80_8000, 0x3f80_0000),
        (0x3f80_8001, 0x3f81_0000),
        (0x3f81_8000, 0x3f82_0000),
        (0xbf81_8000, 0xbf82_0000),
        (0x7f7f_ffff, 0x7f80_0000),
        (0xff80_0000, 0xff80_0000),
        (0x8000_0000, 0x8000_0000),
    ] {
        assert_eq!(of(bits), rounded, "{bits:x}");
    }
    for nan in [0x7f80_0001, 0x7fff_ffff, 0xffff_ffff, 0xff80_0001] {
        assert!(f32::from_bits(of(nan)).is_nan(), "{nan:x}");
    }
    // As vectors have it, in a product with 1.
    let all: Vec<f32> = (0..5000u32).map(|i| f32::from_bits(0x3f80_0000 + i * 1237)).collect();
    let x = Panels::from_rows(&all, all.len(), 1, 2);
    let then = Then { rounding: Rounding::Bf16, ..Then::default() };
    let rounded: Vec<f32> = all.iter().map(|x| Bf16::nearest(*x).to_f32()).collect();
    assert_eq!(rows(&forward(&[(Weight::new(&[1.0], 1), &x)], then, 2)), rounded);
}

#[test]
fn a_layer_with_all_that_may_follow() {
    for ((n, k, m), threads, rounding) in ways([1, 2, 3, 8]) {
        let (x, w, v, b, sum) = (draw(n * k, 1), draw(m * k, 2), draw(m * k, 3), draw(m, 4), draw(n * m, 5));
        let panels = |numbers: &[f32], columns| Panels::from_rows(numbers, n, columns, threads);
        let (x_panels, sum_panels) = (panels(&x, k), panels(&sum, m));
        let mut before = None;
        let then = Then {
            bias: Some(&b),
            activation: Some(Slope(0.01)),
            before_sum: Some(&mut before),
            sum: Some(&sum_panels),
            rounding,
        };
        let terms = [&w, &v].map(|weight| (Weight::new(weight, k), &x_panels));
        let out = forward(&terms, then, threads);
        let alone = forward(&terms[..1], Then { rounding, ..Then::default() }, threads);

        let [x, w, v] = factors(rounding, [&x, &w, &v]);
        let [first, second] = [&w, &v].map(|weight| matmul(&x, weight, (n, k, m), true));
        let both = first.iter().zip(&second).enumerate().map(|(i, (a, c))| a + c + f64::from(b[i % m]));
        let activated: Vec<f64> = both.map(|y| if y > 0.0 { y } else { f64::from(0.01f32) * y }).collect();
        let summed: Vec<f64> = activated.iter().zip(&sum).map(|(y, s)| y + f64::from(*s)).collect();
        close(&rows(&alone), &first, ROUNDING);
        close(&rows(&before.expect("it was asked for")), &activated, ROUNDING);
        close(&rows(&out), &summed, ROUNDING);
    }
}

#[test]
fn the_way_back_with_all_that_may_follow() {
    for ((n, k, m), threads, rounding) in ways([1, 2, 3, 8]) {
        let used = k.div_ceil(2);
        let more = m + 5;
        let (w, v, g, h) = (draw(m * k, 1), draw(more * k, 2), draw(n * m, 3), draw(n * more, 6));
        let (sum, result) = (draw(n * used, 4), draw(n * used, 5));
        let panels = |numbers: &[f32], columns| Panels::from_rows(numbers, n, columns, threads);
        let (grads, sum_panels, result_panels) =
            ([panels(&g, m), panels(&h, more)], panels(&sum, used), panels(&result, used));
        let mut after = None;
        let then = ThenBack {
            sum: Some(&sum_panels),
            after_sum: Some(&mut after),
            derivative: Some((&result_panels, Slope(0.25))),
            rounding,
        };
        let terms = [(Weight::new(&w, k), &grads[0]), (Weight::new(&v, k), &grads[1])];
        let out = backward(&terms, used, then, threads);
        let alone = backward(&terms[1..], k, ThenBack { rounding, ..ThenBack::default() }, threads);

        let [w, v, g, h] = factors(rounding, [&w, &v, &g, &h]);
        let (first, second) = (matmul(&g, &w, (n, m, k), false), matmul(&h, &v, (n, more, k), false));
        close(&rows(&alone), &second, ROUNDING);
        let both = first.iter().zip(&second).map(|(a, b)| a + b).enumerate().filter(|(i, _)| i % k < used);
        let summed: Vec<f64> = both.zip(&sum).map(|((_, y), s)| y + f64::from(*s)).collect();
        let masked = summed.iter().zip(&result).map(|(y, r)| if *r > 0.0 { *y } else { 0.25 * y });
        close(&rows(&after.expect("it was asked for")), &summed, ROUNDING);
        close(&rows(&out), &masked.collect::<Vec<_>>(), ROUNDING);
        // What fills up a panel stays 0.
        let turned = rows(&alone.transposed(1));
        assert!(turned.chunks(filled(n)).all(|column| column[n..].iter().all(|x| *x == 0.0)));
    }
}

/// What is infinite or no number stays it, and ReLU's other side is 0 even of infinity.
#[test]
fn activations_of_what_is_not_finite() {
    let inputs = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0];
    let x = Panels::from_rows(&inputs, 4, 1, 1);
    for rounding in [Rounding::None, Rounding::Parts, Rounding::Bf16] {
        let then = Then { activation: Some(Slope(0.0)), rounding, ..Then::default() };
        let y = rows(&forward(&[(Weight::new(&[1.0], 1), &x)], then, 1));
        assert!(y[0].is_nan());
        assert_eq!(y[1..], [f32::INFINITY, 0.0, 0.0]);
    }
}

/// Layer, way back and gradient of `n` rows, of this depth each, by one rounding.
fn all_products(x: &[f32], w: &[f32], n: usize, rounding: Rounding) -> [Vec<f32>; 3] {
    let width = x.len() / n;
    let panels = Panels::from_rows(x, n, width, 2);
    let terms = [(Weight::new(w, width), &panels)];
    let there = forward(&terms, Then { rounding, ..Then::default() }, 2);
    let back = backward(&terms, width, ThenBack { rounding, ..ThenBack::default() }, 2);
    let mut of_weight = vec![f32::NAN; width * width];
    gradient(&panels, &panels, rounding, Destination::Store(&mut of_weight), 2);
    [rows(&there), rows(&back), of_weight]
}

/// Errors are those of sums of f32, which has 24 bits; of bf16's 8 nothing is to be seen. Magnitudes go over eight powers of ten, so that
/// small terms meet large sums.
#[test]
fn products_in_parts_are_as_exact_as_those_of_f32() {
    let n = 96;
    for depth in [96, 500] {
        let spread = |seed| {
            let size = draw(n.max(depth) * depth, seed + 7);
            let numbers = draw(n.max(depth) * depth, seed);
            numbers.into_iter().zip(size).map(|(x, size)| x * 10.0f32.powf(4.0 * size)).collect::<Vec<f32>>()
        };
        let (x, w) = (&spread(1)[..n * depth], &spread(2)[..depth * depth]);
        let turned: Vec<f32> = (0..depth * n).map(|i| x[i % n * depth + i / n]).collect();
        let size = |numbers: &[f32]| numbers.iter().map(|x| x.abs()).collect::<Vec<f32>>();
        let right = |x: &[f32], w: &[f32], turned: &[f32]| {
            let layer = (n, depth, depth);
            [matmul(x, w, layer, true), matmul(x, w, layer, false), matmul(turned, x, (depth, n, depth), false)]
        };
        let exact = right(x, w, &turned);
        // What all terms of a sum come to without their signs.
        let sizes = right(&size(x), &size(w), &size(&turned));
        let worst = |rounding| {
            let got = all_products(x, w, n, rounding);
            let error = |((got, exact), size): ((&f32, &f64), &f64)| (f64::from(*got) - exact).abs() / size;
            let of = |i: usize| got[i].iter().zip(&exact[i]).zip(&sizes[i]).map(error).fold(0.0, f64::max);
            [0, 1, 2].map(of)
        };
        let (f32s, parts, bf16) = (worst(Rounding::None), worst(Rounding::Parts), worst(Rounding::Bf16));
        for i in 0..3 {
            assert!(parts[i] < 1.5 * f32s[i] && parts[i] < 1e-6, "{depth}, {i}: {parts:?}, f32 {f32s:?}");
            assert!(bf16[i] > 100.0 * parts[i], "{depth}, {i}: {parts:?}, bf16 {bf16:?}");
        }
    }
}

/// What is infinite, no number or too large for bf16 comes to what f32's products come to, in whatever block it is.
#[test]
fn products_in_parts_of_what_is_not_finite() {
    let (n, width) = (70, 45);
    let (mut x, mut w) = (draw(n * width, 1), draw(width * width, 2));
    x[3 * width + 7] = f32::INFINITY;
    x[40 * width + 40] = f32::NAN;
    x[50 * width + 2] = f32::MAX;
    w[20 * width + 33] = f32::NEG_INFINITY;
    w[44 * width + 2] = 0.0;
    let [parts, f32s] = [Rounding::Parts, Rounding::None].map(|rounding| all_products(&x, &w, n, rounding));
    for (parts, f32s) in parts.iter().zip(&f32s) {
        close(parts, &f32s.iter().map(|y| f64::from(*y)).collect::<Vec<_>>(), ROUNDING);
    }
}

const QUICK: Coefficients = Coefficients {
    beta1: 0.9,
    beta2: 0.99,
    rest1: 0.1,
    rest2: 0.01,
    shorten: 1.0,
    step_size: 1e-3,
    second_scale: 1.5,
    epsilon: 1e-8,
    keep: 0.999,
};

/// `(p, m, v)` after a step, in f64.
fn stepped(p: f32, g: f64, m: f32, v: f32, c: &Coefficients) -> [f64; 3] {
    let g = g * f64::from(c.shorten);
    let m = f64::from(c.beta1) * f64::from(m) + f64::from(c.rest1) * g;
    let v = f64::from(c.beta2) * f64::from(v) + f64::from(c.rest2) * g * g;
    let change = f64::from(c.step_size) * m / (v.sqrt() * f64::from(c.second_scale) + f64::from(c.epsilon));
    [f64::from(c.keep) * f64::from(p) - change, m, v]
}

#[test]
fn a_gradient_is_stored_added_or_taken() {
    for ((n, k, m), threads, rounding) in ways([1, 2, 6]) {
        let (x, g) = (draw(n * k, 1), draw(n * m, 2));
        let input = Panels::from_rows(&x, n, k, threads);
        let grad = Panels::from_rows(&g, n, m, threads);
        // Of hardly any columns nothing is rounded.
        let of_product = if k.min(m) <= 2 { Rounding::None } else { rounding };
        let [rounded_g, rounded_x] = factors(of_product, [&g, &x]);
        let turned: Vec<f32> = (0..m * n).map(|i| rounded_g[i % n * m + i / n]).collect();
        let plain = matmul(&turned, &rounded_x, (m, n, k), false);
        let squares: f64 = plain.iter().map(|g| g * g).sum();
        let sums: Vec<f64> = (0..m).map(|i| (0..n).map(|row| f64::from(g[row * m + i])).sum()).collect();
        let right = |told: OfLayer| {
            assert!((told.squares - squares).abs() <= ROUNDING * squares, "{told:?} {squares}");
            close(&told.bias, &sums, 1e-5);
        };

        let mut stored = vec![f32::NAN; m * k];
        right(gradient(&grad, &input, rounding, Destination::Store(&mut stored), threads));
        close(&stored, &plain, ROUNDING);

        let mut added = draw(m * k, 3);
        let sums: Vec<f64> = plain.iter().zip(&added).map(|(g, s)| g + f64::from(*s)).collect();
        right(gradient(&grad, &input, rounding, Destination::Add(&mut added), threads));
        close(&added, &sums, ROUNDING);

        let (mut weight, mut first) = (draw(m * k, 4), draw(m * k, 5));
        let mut second: Vec<f32> = draw(m * k, 6).into_iter().map(f32::abs).collect();
        let all = plain.iter().enumerate().map(|(i, g)| stepped(weight[i], *g, first[i], second[i], &QUICK));
        let all: Vec<[f64; 3]> = all.collect();
        let into =
            Destination::Step { weight: &mut weight, first: &mut first, second: &mut second, coefficients: &QUICK };
        right(gradient(&grad, &input, rounding, into, threads));
        for (place, numbers) in [weight, first, second].iter().enumerate() {
            close(numbers, &all.iter().map(|all| all[place]).collect::<Vec<_>>(), ROUNDING);
        }
    }
}

#[test]
fn a_step_of_adam_by_its_equations() {
    let len = 2100;
    let c = Coefficients { shorten: 0.5, ..QUICK };
    let (mut p, g, mut m) = (draw(len, 1), draw(len, 2), draw(len, 3));
    let mut v: Vec<f32> = draw(len, 4).into_iter().map(|x| x * x * 1e-6).collect();
    // Where nothing has ever been, nothing moves, by decay alone.
    let mut g = g;
    (g[7], m[7], v[7]) = (0.0, 0.0, 0.0);
    let all: Vec<[f64; 3]> = (0..len).map(|i| stepped(p[i], f64::from(g[i]), m[i], v[i], &c)).collect();
    let squares = adam_step(&mut p, &g, &mut m, &mut v, &c);
    let expected: f64 = g.iter().map(|g| (f64::from(*g) * 0.5).powi(2)).sum();
    assert!((squares / expected - 1.0).abs() < 1e-6, "{squares} {expected}");
    for (place, numbers) in [p, m, v].iter().enumerate() {
        close(numbers, &all.iter().map(|all| all[place]).collect::<Vec<_>>(), 1e-6);
    }
}

#[test]
fn moments_of_dead_units_come_to_nothing() {
    let len = 21;
    let (mut p, mut m, mut v) = (vec![0.5; len], vec![-0.25; len], vec![0.0625; len]);
    let live = 3;
    for t in 0..12_000 {
        let mut g = vec![0.0; len];
        g[live] = 0.01;
        adam_step(&mut p, &g, &mut m, &mut v, &QUICK);
        let slow = m.iter().chain(&v).filter(|x| x.is_subnormal()).count();
        assert_eq!(slow, 0, "step {t}");
    }
    for i in (0..len).filter(|i| *i != live) {
        assert_eq!((m[i], v[i]), (0.0, 0.0));
    }
    // What is alive is what the equations say: both moments have come to those of a constant gradient.
    assert!((m[live] / 0.01 - 1.0).abs() < 1e-5 && (v[live] / 1e-4 - 1.0).abs() < 1e-5, "{} {}", m[live], v[live]);
}

/// A step that went wrong can be looked at.
#[test]
fn a_gradient_that_is_not_finite_moves_nothing() {
    let (mut p, mut m, mut v) = (vec![0.5; 40], vec![0.1; 40], vec![0.1; 40]);
    let mut g = vec![0.1; 40];
    g[17] = f32::NAN;
    assert!(!adam_step(&mut p, &g, &mut m, &mut v, &QUICK).is_finite());
    assert!(p.iter().all(|p| *p == 0.5) && m.iter().chain(&v).all(|m| *m == 0.1));

    let grad = Panels::from_rows(&g, 1, 40, 1);
    for (inputs, rounding) in [(1, Rounding::None), (5, Rounding::None), (5, Rounding::Bf16)] {
        let len = 40 * inputs;
        let (mut p, mut m, mut v) = (vec![0.5; len], vec![0.1; len], vec![0.1; len]);
        let input = Panels::from_rows(&vec![f32::INFINITY; inputs], 1, inputs, 1);
        let into = Destination::Step { weight: &mut p, first: &mut m, second: &mut v, coefficients: &QUICK };
        assert!(!gradient(&grad, &input, rounding, into, 1).squares.is_finite());
        assert!(p.iter().all(|p| *p == 0.5) && m.iter().chain(&v).all(|m| *m == 0.1));
    }
}

#[test]
#[should_panic(expected = "terms of one layer")]
fn sizes_that_do_not_go_together_are_told() {
    let x = Panels::from_rows(&[1.0, 2.0], 1, 2, 1);
    forward(&[(Weight::new(&[1.0; 6], 3), &x)], Then::default(), 1);
}

#[test]
fn the_same_with_fewer_instructions() {
    again_with_fewer_instructions("the_same_with_fewer_instructions");
}
