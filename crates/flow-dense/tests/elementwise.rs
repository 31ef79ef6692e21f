//! Exponentials and an affine coupling's law against the same in f64.

#[path = "common/again.rs"]
mod again;

use again::again_with_fewer_instructions;
use flow_dense::{exp, scale_and_shift, scale_and_shift_back, shift_and_scale};

fn numbers() -> impl Iterator<Item = f32> {
    (-9000..=9000).map(|i| i as f32 * 0.0117).chain([0.0, -0.0, 1e-30, -1e-8, 0.624, 0.626])
}

#[test]
fn exponentials() {
    let mut all: Vec<f32> = numbers().collect();
    exp(&mut all);
    for (x, own) in numbers().zip(all) {
        let right = f64::from(x).exp();
        // Where f32 has fewer digits, or none that large.
        let edge = if right > f64::from(f32::MAX) { own == f32::INFINITY } else { right < 1e-37 && own < 1.1e-37 };
        assert!(edge || (f64::from(own) - right).abs() <= 3e-7 * right, "{x}: {own} {right}");
    }
    let mut odd = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    exp(&mut odd);
    assert_eq!(odd[..2], [f32::INFINITY, 0.0]);
    assert!(odd[2].is_nan());
}

#[test]
fn an_affine_law_and_its_inverse() {
    let raw: Vec<f32> = numbers().collect();
    let count = raw.len();
    let draw = |factor: f32| (0..count).map(|i| (i as f32 * factor).sin()).collect::<Vec<f32>>();
    let (start, shift, bounds) = (draw(0.7), draw(1.3), draw(2.1));
    let mut x = start.clone();
    let sum = scale_and_shift(&mut x, &raw, &shift, 2.0, Some(&bounds));
    let log_s = |i: usize| 2.0 * f64::from(bounds[i]) * f64::from(raw[i]).tanh();
    for i in 0..count {
        let right = f64::from(start[i]) * log_s(i).exp() + f64::from(shift[i]);
        assert!((f64::from(x[i]) - right).abs() <= 2e-6 * (1.0 + right.abs()), "{}: {} {right}", raw[i], x[i]);
    }
    let total: f64 = (0..count).map(log_s).sum();
    assert!((sum - total).abs() <= 1e-2, "{sum} {total}");
    let back = shift_and_scale(&mut x, &raw, &shift, 2.0, Some(&bounds));
    assert_eq!(back, -sum);
    x.iter().zip(&start).for_each(|(x, start)| assert!((x - start).abs() < 1e-5));
}

#[test]
fn the_way_back_of_an_affine_law() {
    let raw: Vec<f32> = (0..37).map(|i| (i as f32 * 0.7).sin() * 2.0).collect();
    let draw = |factor: f32| raw.iter().map(|x| (x * factor).cos()).collect::<Vec<f32>>();
    let (x, grad, bounds) = (draw(0.7), draw(1.3), draw(2.1));
    let (mut own, mut of_raw, mut of_bounds) = (grad.clone(), raw.clone(), vec![0.25; 37]);
    scale_and_shift_back(&mut own, &mut of_raw, &x, 0.3, 2.0, Some((&bounds, &mut of_bounds)));
    for i in 0..37 {
        let [x, g, raw, bound] = [x[i], grad[i], raw[i], 2.0 * bounds[i]].map(f64::from);
        let (tanh, of_x) = (raw.tanh(), g * (bound * raw.tanh()).exp());
        let of_s = of_x * x + f64::from(0.3f32);
        let right = [of_x, of_s * bound * (1.0 - tanh * tanh), 0.25 + 2.0 * of_s * tanh];
        for (own, right) in [own[i], of_raw[i], of_bounds[i]].map(f64::from).into_iter().zip(right) {
            assert!((own - right).abs() <= 3e-6 * (1.0 + right.abs()), "{i}: {own} {right}");
        }
    }
}

#[test]
fn small_scales_keep_their_digits() {
    for raw in [1e-30f32, 1e-4, -0.3, 0.62, -0.63, 3.0, 30.0, f32::INFINITY] {
        let sum = scale_and_shift(&mut [1.0], &[raw], &[0.0], 1.0, None);
        let right = f64::from(raw).tanh();
        assert!((sum - right).abs() <= 3e-7 * right.abs(), "{raw}: {sum} {right}");
    }
    assert!(scale_and_shift(&mut [1.0], &[f32::NAN], &[0.0], 1.0, None).is_nan());
}

#[test]
fn the_same_with_fewer_instructions() {
    again_with_fewer_instructions("the_same_with_fewer_instructions");
}
