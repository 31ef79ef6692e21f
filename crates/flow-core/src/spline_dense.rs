//! The spline law by [`flow_dense`]: what a row is, and which threads take it.

use flow_dense::{LogSlopeGradient, MOST_BINS, SplineLaw};
use tch::Tensor;

use crate::dense::{self, NewTensor, numbers};
use crate::plain::in_shares;

/// Whether the law of so many bins is computed so on `x: [n, changed, ..]`.
pub(crate) fn applies(x: &Tensor, bins: usize) -> bool {
    x.dim() >= 2 && bins <= MOST_BINS && dense::applies(x)
}

/// `(z, ln dz/dx)`.
pub(crate) fn forward(x: &Tensor, parameters: &Tensor, bins: usize) -> (Tensor, Tensor) {
    take(x, parameters, bins, |law, x, log_slope| law.forward(x, log_slope))
}

/// `(x, ln dz/dx)`.
pub(crate) fn inverse(z: &Tensor, parameters: &Tensor, bins: usize) -> (Tensor, Tensor) {
    take(z, parameters, bins, |law, z, log_slope| law.inverse(z, log_slope))
}

fn take(
    values: &Tensor,
    parameters: &Tensor,
    bins: usize,
    way: impl Fn(&SplineLaw, &mut [f32], &mut [f32]) + Sync,
) -> (Tensor, Tensor) {
    let rows = Rows::of(values, bins);
    let parameters = parameters.contiguous();
    let (mut log_slope, mut values) = (NewTensor::empty(&values.size()), NewTensor::copy_of(values));
    let all = numbers(&parameters);
    let slices = [(values.numbers_mut(), rows.each), (log_slope.numbers_mut(), rows.each)];
    in_shares(rows.count, slices, |first, [values, log_slope]| {
        way(&rows.law(all, first, values.len()), values, log_slope);
    });
    (values.done(), log_slope.done())
}

/// From the gradients with respect to `z: [n, changed, ..]` and to `ln dz/dx`, of the same shape or one that broadcasts to it, to
/// those with respect to `x` and to the parameters.
pub(crate) fn backward(
    x: &Tensor,
    parameters: &Tensor,
    bins: usize,
    of_z: &Tensor,
    of_log_slope: &Tensor,
) -> (Tensor, Tensor) {
    let rows = Rows::of(x, bins);
    let (x, parameters) = (x.contiguous(), parameters.contiguous());
    let of_rows = of_log_slope.numel() == rows.count && of_log_slope.size()[0] == rows.count as i64;
    let logs = if of_rows { of_log_slope.contiguous() } else { of_log_slope.expand_as(&x).contiguous() };
    let (mut grad, mut of_parameters) = (NewTensor::copy_of(of_z), NewTensor::empty(&parameters.size()));
    let (values, all, logs) = (numbers(&x), numbers(&parameters), numbers(&logs));
    let each = (3 * bins + 1) * rows.each;
    let slices = [(grad.numbers_mut(), rows.each), (of_parameters.numbers_mut(), each)];
    in_shares(rows.count, slices, |first, [grad, of_parameters]| {
        let (start, count) = (first * rows.each, grad.len());
        let logs = match of_rows {
            true => LogSlopeGradient::OfRows(&logs[first..first + count / rows.each]),
            false => LogSlopeGradient::OfEach(&logs[start..start + count]),
        };
        rows.law(all, first, count).backward(&values[start..start + count], grad, logs, of_parameters);
    });
    (grad.done(), of_parameters.done())
}

/// How many rows of how many numbers.
#[derive(Clone, Copy)]
struct Rows {
    count: usize,
    each: usize,
    bins: usize,
}

impl Rows {
    fn of(x: &Tensor, bins: usize) -> Self {
        let count = x.size()[0] as usize;
        Rows { count, each: x.numel() / count, bins }
    }

    /// The law of the rows from the `first` on, of so many numbers in all.
    fn law<'a>(&self, parameters: &'a [f32], first: usize, numbers: usize) -> SplineLaw<'a> {
        let (rows, each) = (numbers / self.each, (3 * self.bins + 1) * self.each);
        SplineLaw::new(self.bins, rows, self.each, &parameters[first * each..(first + rows) * each])
    }
}
