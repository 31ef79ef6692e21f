//! A spline with the same bins for all numbers: against [`SplineLaw`], whose own test knows the curve, and differences of it.

mod common;

use common::{ROUNDING, again_with_fewer_instructions, close, draw};
use flow_dense::{SplineLaw, SplineTable, SplineTableGradient};

const BINS: usize = 5;

/// Widths and heights whose sums are 12, and slopes.
struct Numbers([Vec<f64>; 3]);

impl Numbers {
    fn new() -> Self {
        let raw = |seed| draw(BINS + 1, seed).iter().map(|&x| f64::from(x).exp()).collect::<Vec<_>>();
        let sizes = |seed| {
            let raw = &raw(seed)[..BINS];
            raw.iter().map(|x| 12.0 * x / raw.iter().sum::<f64>()).collect()
        };
        Numbers([sizes(1), sizes(2), raw(3)])
    }

    fn table(&self) -> SplineTable {
        SplineTable::new([-6.0, -6.0], &self.0[0], &self.0[1], &self.0[2])
    }

    /// The same as the parameters of a [`SplineLaw`], for every one of `count` numbers.
    fn parameters(&self, count: usize) -> Vec<f32> {
        let size = |size: &f64| ((size / 12.0 - 1e-3) / (1.0 - 1e-3 * BINS as f64)).ln();
        let slope = |slope: &f64| ((slope - 1e-3).exp_m1() / 1f64.exp_m1()).ln();
        let [widths, heights, slopes] = &self.0;
        let all = widths.iter().chain(heights).map(size).chain(slopes.iter().map(slope));
        all.flat_map(|x| std::iter::repeat_n(x as f32, count)).collect()
    }
}

fn values() -> Vec<f32> {
    draw(37, 4).iter().map(|x| 7.5 * x).collect()
}

fn f64s(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn it_is_the_law_of_the_same_bins() {
    let (numbers, x) = (Numbers::new(), values());
    let (table, parameters) = (numbers.table(), numbers.parameters(x.len()));
    let law = SplineLaw::new(BINS, 1, x.len(), &parameters);
    let way = |f: &dyn Fn(&mut [f32], &mut [f32])| {
        let (mut value, mut log_slope) = (x.clone(), vec![f32::NAN; x.len()]);
        f(&mut value, &mut log_slope);
        (value, log_slope)
    };
    let pairs = [
        (way(&|x, log| table.forward(x, log)), way(&|x, log| law.forward(x, log))),
        (way(&|x, log| table.inverse(x, log)), way(&|x, log| law.inverse(x, log))),
    ];
    for ((own, own_log), (right, right_log)) in pairs {
        close(&own, &f64s(&right), ROUNDING);
        close(&own_log, &f64s(&right_log), ROUNDING);
    }
}

#[test]
fn the_way_back() {
    let (mut numbers, x) = (Numbers::new(), values());
    let of_z = draw(x.len(), 5);
    let (mut grad, table) = (of_z.clone(), numbers.table());
    let mut gradient = table.no_gradient();
    table.backward(&x, &mut grad, 0.3, &mut gradient);
    let loss = |numbers: &Numbers, x: &[f32]| {
        let (mut z, mut log_slope) = (x.to_vec(), vec![0.0; x.len()]);
        numbers.table().forward(&mut z, &mut log_slope);
        let each = z.iter().zip(&of_z).map(|(&z, &of)| f64::from(z) * f64::from(of));
        each.zip(&log_slope).map(|(own, &log)| own + 0.3 * f64::from(log)).sum::<f64>()
    };
    // Differences of sums in f32.
    let near = |own: f64, difference: f64| {
        assert!((own - difference).abs() < 2e-2 * (1.0 + difference.abs()), "{own} {difference}");
    };
    let step = 1e-3;
    for i in 0..x.len() {
        let moved = |by: f32| {
            let mut x = x.clone();
            x[i] += by;
            loss(&numbers, &x)
        };
        near(f64::from(grad[i]), (moved(step as f32) - moved(-step as f32)) / (2.0 * step));
    }
    let SplineTableGradient { widths, heights, slopes } = gradient;
    for (which, own) in [widths, heights, slopes].into_iter().enumerate() {
        for (i, own) in own.into_iter().enumerate() {
            let mut moved = |by: f64| {
                numbers.0[which][i] += by;
                let loss = loss(&numbers, &x);
                numbers.0[which][i] -= by;
                loss
            };
            near(own, (moved(step) - moved(-step)) / (2.0 * step));
        }
    }
}

#[test]
#[should_panic(expected = "2 widths, 1 heights, 3 slopes")]
fn sizes_that_do_not_fit_are_refused() {
    let _ = SplineTable::new([0.0, 0.0], &[1.0; 2], &[1.0], &[1.0; 3]);
}

#[test]
fn the_same_with_fewer_instructions() {
    again_with_fewer_instructions("the_same_with_fewer_instructions");
}
