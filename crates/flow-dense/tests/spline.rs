//! The spline law against the same in f64, and its way back against differences of that.

mod common;

use common::{ROUNDING, again_with_fewer_instructions, close, draw};
use flow_dense::{LogSlopeGradient, SplineLaw};

/// Rows, numbers of each, bins.
const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [3, 5, 2], [2, 16, 8], [2, 37, 8], [1, 9, 64]];

/// A number by its own parameters, `widths, heights, slopes`: `(z, ln dz/dx)`, as the paper has it.
fn right(x: f64, parameters: &[f64]) -> (f64, f64) {
    let bins = parameters.len() / 3;
    let sizes = |raw: &[f64]| {
        let sum: f64 = raw.iter().map(|x| x.exp()).sum();
        raw.iter().map(|x| 12.0 * (1e-3 + (1.0 - 1e-3 * bins as f64) * x.exp() / sum)).collect::<Vec<_>>()
    };
    let (w, h) = (sizes(&parameters[..bins]), sizes(&parameters[bins..2 * bins]));
    let d = |i: usize| (1.0 + (1f64.exp() - 1.0) * parameters[2 * bins + i].exp()).ln() + 1e-3;
    let start = |sizes: &[f64], i: usize| -6.0 + sizes[..i].iter().sum::<f64>();
    let bin = (1..bins).take_while(|&i| x >= start(&w, i)).count();
    let (x0, z0, w, h, d0, d1) = (start(&w, bin), start(&h, bin), w[bin], h[bin], d(bin), d(bin + 1));
    let (s, free) = (h / w, (x - x0) / w);
    let t = free.clamp(0.0, 1.0);
    let denominator = s + (d0 + d1 - 2.0 * s) * t * (1.0 - t);
    let z = z0 + h * (s * t * t + d0 * t * (1.0 - t)) / denominator;
    let slope = s * s * (d1 * t * t + 2.0 * s * t * (1.0 - t) + d0 * (1.0 - t).powi(2)) / denominator.powi(2);
    (z + (free - t) * w * slope, slope.ln())
}

/// Values of which some lie beyond both ends, and parameters with slopes from almost 0 to steep.
fn case([rows, each, bins]: [usize; 3]) -> (Vec<f32>, Vec<f32>) {
    let x = draw(rows * each, 1).iter().map(|x| 7.5 * x).collect();
    let parameters = draw(rows * (3 * bins + 1) * each, 2).iter().map(|x| 4.0 * x * x * x).collect();
    (x, parameters)
}

/// The parameters of number `i` of all.
fn own([_, each, bins]: [usize; 3], parameters: &[f32], i: usize) -> Vec<f64> {
    (0..=3 * bins).map(|k| f64::from(parameters[place([0, each, bins], i, k)])).collect()
}

fn place([_, each, bins]: [usize; 3], i: usize, k: usize) -> usize {
    (i / each * (3 * bins + 1) + k) * each + i % each
}

#[test]
fn the_law_and_its_inverse() {
    for size in SIZES {
        let (x, parameters) = case(size);
        let law = SplineLaw::new(size[2], size[0], size[1], &parameters);
        let (mut z, mut log_slope) = (x.clone(), vec![f32::NAN; x.len()]);
        law.forward(&mut z, &mut log_slope);
        let all: Vec<_> = (0..x.len()).map(|i| right(f64::from(x[i]), &own(size, &parameters, i))).collect();
        close(&z, &all.iter().map(|all| all.0).collect::<Vec<_>>(), ROUNDING);
        close(&log_slope, &all.iter().map(|all| all.1).collect::<Vec<_>>(), 1e-4);
        let mut back = z.clone();
        law.inverse(&mut back, &mut log_slope);
        for (i, (&back, &log_slope)) in back.iter().zip(&log_slope).enumerate() {
            // Where the curve is flat a rounding of z is many of x, and where it is steep a rounding of x many of z: what counts is where
            // it goes again.
            let (z_again, log_again) = right(f64::from(back), &own(size, &parameters, i));
            let rounding = 1e-5 + 2e-6 * log_again.exp();
            assert!((z_again - f64::from(z[i])).abs() < rounding, "{size:?} {i}: {back} to {z_again}, {}", z[i]);
            assert!((f64::from(log_slope) - log_again).abs() < 1e-3, "{size:?} {i}: {log_slope} {log_again}");
        }
    }
}

#[test]
fn the_way_back() {
    for size in SIZES {
        let (x, parameters) = case(size);
        let (of_z, of_each, of_rows) = (draw(x.len(), 3), draw(x.len(), 4), draw(size[0], 5));
        let law = SplineLaw::new(size[2], size[0], size[1], &parameters);
        for each in [true, false] {
            let (mut grad, mut of_parameters) = (of_z.clone(), vec![f32::NAN; parameters.len()]);
            let logs = if each { LogSlopeGradient::OfEach(&of_each) } else { LogSlopeGradient::OfRows(&of_rows) };
            law.backward(&x, &mut grad, logs, &mut of_parameters);
            for i in 0..x.len() {
                let of_log = f64::from(if each { of_each[i] } else { of_rows[i / size[1]] });
                let loss = |x: f64, parameters: &[f64]| {
                    let (z, log_slope) = right(x, parameters);
                    f64::from(of_z[i]) * z + of_log * log_slope
                };
                let (x, parameters) = (f64::from(x[i]), own(size, &parameters, i));
                let check = |own: f32, moved: &dyn Fn(f64) -> f64| {
                    let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                    let near = (f64::from(own) - difference).abs() <= 2e-3 * (1.0 + difference.abs());
                    assert!(near, "{size:?} {i}: {own} {difference}");
                };
                check(grad[i], &|by| loss(x + by, &parameters));
                for k in 0..parameters.len() {
                    check(of_parameters[place(size, i, k)], &|by| {
                        let mut moved = parameters.clone();
                        moved[k] += by;
                        loss(x, &moved)
                    });
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_so_and_far_numbers_stay_on_their_line() {
    let parameters = vec![0.0; 25 * 3];
    let law = SplineLaw::new(8, 1, 3, &parameters);
    let (mut x, mut log_slope) = ([f32::NAN, 1e6, -1e6], [0.0; 3]);
    law.forward(&mut x, &mut log_slope);
    assert!(x[0].is_nan() && log_slope[0].is_nan());
    for i in 1..3 {
        // Slopes at the ends are 1.001.
        let far = 6.0 + (1e6 - 6.0) * 1.001;
        assert!((x[i].abs() - far).abs() < 1.0 && (log_slope[i] - 1.001f32.ln()).abs() < 1e-6, "{x:?} {log_slope:?}");
    }
    law.inverse(&mut x, &mut log_slope);
    assert!(x[0].is_nan() && (x[1] - 1e6).abs() < 1.0 && (x[2] + 1e6).abs() < 1.0, "{x:?}");
}

#[test]
#[should_panic(expected = "65 bins")]
fn too_many_bins_are_refused() {
    let _ = SplineLaw::new(65, 1, 1, &[0.0; 196]);
}

#[test]
#[should_panic(expected = "parameters of 2 rows of 3 numbers, 1 bins")]
fn parameters_that_do_not_fit_are_refused() {
    let _ = SplineLaw::new(1, 2, 3, &[0.0; 23]);
}

#[test]
fn the_same_with_fewer_instructions() {
    again_with_fewer_instructions("the_same_with_fewer_instructions");
}
