//! A spline with the same bins for all numbers against the same in f64, and its way back against differences of that.

mod common;

use common::{ROUNDING, again_with_fewer_instructions, close, draw};
use flow_dense::{SplineTable, SplineTableGradient};

const BINS: usize = 5;
const START: [f64; 2] = [-3.0, -6.0];

/// Widths, heights and slopes.
#[derive(Clone)]
struct Numbers([Vec<f64>; 3]);

impl Numbers {
    fn new() -> Self {
        let raw = |count: usize, seed| draw(count, seed).iter().map(|&x| (2.0 * f64::from(x)).exp()).collect();
        Numbers([raw(BINS, 1), raw(BINS, 2), raw(BINS + 1, 3)])
    }

    fn table(&self) -> SplineTable {
        SplineTable::new(START, &self.0[0], &self.0[1], &self.0[2])
    }

    /// Where bin `i` begins along an axis, or the last one ends.
    fn start(&self, axis: usize, i: usize) -> f64 {
        START[axis] + self.0[axis][..i].iter().sum::<f64>()
    }

    /// `(z, ln dz/dx)` (Durkan et al. 2019, section 3.1), on a line beyond the ends.
    fn right(&self, x: f64) -> (f64, f64) {
        let bin = (1..BINS).take_while(|&i| x >= self.start(0, i)).count();
        let [w, h, d0] = [0, 1, 2].map(|k| self.0[k][bin]);
        let (s, d1, free) = (h / w, self.0[2][bin + 1], (x - self.start(0, bin)) / w);
        let t = free.clamp(0.0, 1.0);
        let denominator = s + (d0 + d1 - 2.0 * s) * t * (1.0 - t);
        let z = self.start(1, bin) + h * (s * t * t + d0 * t * (1.0 - t)) / denominator;
        let slope = s * s * (d1 * t * t + 2.0 * s * t * (1.0 - t) + d0 * (1.0 - t).powi(2)) / denominator.powi(2);
        (z + (free - t) * w * slope, slope.ln())
    }

    /// Inside every bin, on every knot, and beyond both ends.
    fn values(&self) -> Vec<f32> {
        let (low, high) = (self.start(0, 0), self.start(0, BINS));
        let inside = draw(37, 4).into_iter().map(|x| (low + (high - low) * (0.6 * f64::from(x) + 0.5)) as f32);
        inside.chain((0..=BINS).map(|i| self.start(0, i) as f32)).chain([-40.0, 40.0]).collect()
    }
}

#[test]
fn both_ways() {
    let numbers = Numbers::new();
    let (x, table) = (numbers.values(), numbers.table());
    let (mut z, mut log_slope) = (x.clone(), vec![f32::NAN; x.len()]);
    table.forward(&mut z, &mut log_slope);
    let right: Vec<_> = x.iter().map(|&x| numbers.right(f64::from(x))).collect();
    close(&z, &right.iter().map(|right| right.0).collect::<Vec<_>>(), ROUNDING);
    close(&log_slope, &right.iter().map(|right| right.1).collect::<Vec<_>>(), ROUNDING);
    let mut back = z.clone();
    table.inverse(&mut back, &mut log_slope);
    for ((&back, &z), &log_slope) in back.iter().zip(&z).zip(&log_slope) {
        // Where the curve is steep a rounding of x is many of z.
        let (z_again, log_again) = numbers.right(f64::from(back));
        let rounding = 1e-5 + 2e-6 * log_again.exp();
        assert!((z_again - f64::from(z)).abs() < rounding * (1.0 + z_again.abs()), "{back} to {z_again}, {z}");
        assert!((f64::from(log_slope) - log_again).abs() < 1e-3, "{back}: {log_slope} {log_again}");
    }
}

#[test]
fn the_way_back() {
    const EACH: usize = 9;
    let numbers = Numbers::new();
    // Numbers on a knot have a gradient for each side.
    let x = &numbers.values()[..3 * EACH];
    let (of_z, of_logs) = (draw(x.len(), 5), draw(3, 6));
    let mut grad = of_z.clone();
    let SplineTableGradient { widths, heights, slopes } = numbers.table().backward(x, &mut grad, &of_logs);
    let loss = |numbers: &Numbers, i: usize, x: f64| {
        let (z, log_slope) = numbers.right(x);
        f64::from(of_z[i]) * z + f64::from(of_logs[i / EACH]) * log_slope
    };
    let near = |own: f64, moved: &dyn Fn(f64) -> f64| {
        let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        assert!((own - difference).abs() < 1e-3 * (1.0 + difference.abs()), "{own} {difference}");
    };
    for (i, &x) in x.iter().enumerate() {
        near(f64::from(grad[i]), &|by| loss(&numbers, i, f64::from(x) + by));
    }
    for (which, own) in [widths, heights, slopes].into_iter().enumerate() {
        for (k, own) in own.into_iter().enumerate() {
            near(own, &|by| {
                let mut moved = numbers.clone();
                moved.0[which][k] += by;
                x.iter().enumerate().map(|(i, &x)| loss(&moved, i, f64::from(x))).sum()
            });
        }
    }
}

#[test]
fn what_is_no_number_stays_so_and_nothing_is_nothing() {
    let table = Numbers::new().table();
    let (mut x, mut log_slope) = ([f32::NAN, 0.0], [0.0; 2]);
    table.forward(&mut x, &mut log_slope);
    assert!(x[0].is_nan() && log_slope[0].is_nan() && x[1].is_finite(), "{x:?} {log_slope:?}");
    table.forward(&mut [], &mut []);
    let SplineTableGradient { widths, .. } = table.backward(&[], &mut [], &[]);
    assert_eq!(widths, [0.0; BINS]);
}

#[test]
#[should_panic(expected = "2 widths, 1 heights, 3 slopes")]
fn sizes_that_do_not_fit_are_refused() {
    let _ = SplineTable::new([0.0, 0.0], &[1.0; 2], &[1.0], &[1.0; 3]);
}

#[test]
#[should_panic(expected = "5 gradients of 5 numbers in 2 rows")]
fn rows_that_are_not_whole_are_refused() {
    let _ = Numbers::new().table().backward(&[0.0; 5], &mut [0.0; 5], &[0.0; 2]);
}

#[test]
fn the_same_with_fewer_instructions() {
    again_with_fewer_instructions("the_same_with_fewer_instructions");
}
