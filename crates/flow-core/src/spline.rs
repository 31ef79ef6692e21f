//! An elementwise monotone spline, the same for all coordinates, that can start as the shape of the data.

use flow_dense::SplineTable;
use tch::{Device, Kind, Tensor, nn};

use crate::backward::Taped;
use crate::dense::{self, NewTensor, numbers};
use crate::plain::{in_shares, is_plain};
use crate::rational_quadratic::{Bins, left_ends};
use crate::shape::sum_event;
use crate::{Backward, Bijection, Edge, Error, Gradients, Inspection, Kept, Result};

/// A monotone rational-quadratic spline (Durkan et al. 2019, section 3.1) from `[low, high]` onto `[-8, 8]`, applied to each
/// coordinate of `[n, ..event]`; beyond both ends it goes on as a line. `log_det = Σ ln dz/dx`.
///
/// What it is for: a pixel of an image that is background is uniform over one of 256 cells, which no affine map makes a
/// Gaussian, and most pixels are background. [`Bijection::start_from_data`] sets the spline so that values below
/// `background` come out as N(-3, 1) and the others, all together, as N(3, 1.5²). What is left to the couplings is to tell
/// which is which. That it has been done is a saved variable, `started`, as for [`crate::ActNorm`].
#[derive(Debug)]
pub struct Spline {
    /// Logarithms of the bins' shares of the domain, `[bins]`.
    widths: Tensor,
    /// Logarithms of the bins' shares of the range, `[bins]`.
    heights: Tensor,
    /// Logarithms of the slopes at the knots, `[bins + 1]`.
    slopes: Tensor,
    started: Tensor,
    low: f64,
    high: f64,
    background: f64,
}

/// The range is ± this.
const BOUND: f64 = 8.0;
/// Mean of the background is minus this, of the rest this.
const MEAN: f64 = 3.0;
/// Standard deviation of the rest; the background's is 1.
const REST_STD: f64 = 1.5;
/// No bin starts narrower than this share of the domain, so that no slope starts too steep for f32.
const NARROWEST: f64 = 1e-4;

impl Spline {
    /// Parameters `path/widths` and `path/heights`, `[bins]`, `path/slopes`, `[bins + 1]`, and the flag `path/started`. It
    /// starts as a line.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless `low < background < high`, all finite, and there are 2 bins or more.
    pub fn new(path: &nn::Path, bins: usize, low: f64, high: f64, background: f64) -> Result<Self> {
        let wrong = |name, expected, value| Err(Error::OutOfRange { name, expected, value });
        if bins < 2 {
            return wrong("bins", "2 or more", bins as f64);
        }
        if !(low.is_finite() && high.is_finite() && low < high) {
            return wrong("high", "finite and above low", high);
        }
        if !(low < background && background < high) {
            return wrong("background", "between low and high", background);
        }
        let slope = (2.0 * BOUND / (high - low)).ln();
        Ok(Spline {
            widths: path.zeros("widths", &[bins as i64]),
            heights: path.zeros("heights", &[bins as i64]),
            slopes: path.var("slopes", &[bins as i64 + 1], nn::Init::Const(slope)),
            started: path.zeros_no_train("started", &[1]),
            low,
            high,
            background,
        })
    }

    /// Whether the start from data has been done, here or before the parameters were saved.
    pub fn has_started(&self) -> bool {
        self.started.double_value(&[0]) != 0.0
    }

    /// All bins, `[bins]` each.
    fn bins(&self) -> Bins {
        let w = self.widths.softmax(0, None::<Kind>) * (self.high - self.low);
        let h = self.heights.softmax(0, None::<Kind>) * (2.0 * BOUND);
        let (d, bins) = (self.slopes.exp(), w.size()[0]);
        Bins {
            x: left_ends(&w, 0, self.low),
            z: left_ends(&h, 0, -BOUND),
            d0: d.narrow(0, 0, bins),
            d1: d.narrow(0, 1, bins),
            w,
            h,
        }
    }
}

/// The spline as plain numbers.
struct ByTable {
    table: SplineTable,
    /// The bins' shares of the domain, and of the range.
    shares: [Vec<f64>; 2],
    slopes: Vec<f64>,
}

fn softmax(logs: &[f32]) -> Vec<f64> {
    let most = logs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f64> = logs.iter().map(|&log| (f64::from(log) - f64::from(most)).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.iter().map(|share| share / sum).collect()
}

/// The gradient of what a softmax was made of, from that of its shares times `scale`.
fn softmax_back(shares: &[f64], of: &[f64], scale: f64) -> Tensor {
    let mean: f64 = shares.iter().zip(of).map(|(share, of)| share * of).sum();
    let of: Vec<f32> = shares.iter().zip(of).map(|(share, of)| (share * (of - mean) * scale) as f32).collect();
    Tensor::from_slice(&of)
}

impl Spline {
    /// Where [`flow_dense`] computes on `x`.
    fn by_table(&self, x: &Tensor) -> Option<ByTable> {
        let all = [&self.widths, &self.heights, &self.slopes];
        if x.dim() < 2 || !dense::applies(x) || !all.into_iter().all(is_plain) {
            return None;
        }
        let [widths, heights, slopes] = all.map(numbers);
        let shares = [softmax(widths), softmax(heights)];
        let sizes = |shares: &[f64], range: f64| shares.iter().map(|share| share * range).collect::<Vec<_>>();
        let slopes: Vec<f64> = slopes.iter().map(|&slope| f64::from(slope).exp()).collect();
        let (widths, heights) = (sizes(&shares[0], self.high - self.low), sizes(&shares[1], 2.0 * BOUND));
        let table = SplineTable::new([self.low, -BOUND], &widths, &heights, &slopes);
        Some(ByTable { table, shares, slopes })
    }
}

impl ByTable {
    /// `x` taken by `way`, and the sums of the slopes' logarithms.
    fn take(&self, x: &Tensor, way: impl Fn(&SplineTable, &mut [f32], &mut [f32]) + Sync) -> (Tensor, Tensor) {
        let (rows, each) = (x.size()[0] as usize, x.numel() / x.size()[0] as usize);
        let (mut value, mut log_slope) = (NewTensor::copy_of(x), NewTensor::empty(&x.size()));
        let slices = [(value.numbers_mut(), each), (log_slope.numbers_mut(), each)];
        in_shares(rows, slices, |_, [value, log_slope]| way(&self.table, value, log_slope));
        (value.done(), sum_event(&log_slope.done()))
    }
}

struct ByTableBack<'a> {
    spline: &'a Spline,
    by_table: ByTable,
    x: Tensor,
}

impl Backward for ByTableBack<'_> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        _wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let ByTableBack { spline, by_table, x } = *self;
        let mut grad = NewTensor::copy_of(grad_value);
        let of_log_det = Vec::<f32>::try_from(grad_log_det).expect("one number a row");
        let own = by_table.table.backward(numbers(&x), grad.numbers_mut(), &of_log_det);
        let of_slopes: Vec<f32> =
            own.slopes.iter().zip(&by_table.slopes).map(|(of, slope)| (of * slope) as f32).collect();
        gradients.give(&spline.widths, &softmax_back(&by_table.shares[0], &own.widths, spline.high - spline.low));
        gradients.give(&spline.heights, &softmax_back(&by_table.shares[1], &own.heights, 2.0 * BOUND));
        gradients.give(&spline.slopes, &Tensor::from_slice(&of_slopes));
        Some(grad.done())
    }
}

/// For each of `values` the numbers of its bin out of `all`, which begin at `ends`; the first and last bin take what lies
/// beyond.
fn pick(all: &Bins, ends: &Tensor, values: &Tensor) -> Bins {
    let index = values.detach().contiguous().bucketize(&ends.detach(), false, true) - 1;
    let index = index.clamp(0, ends.size()[0] - 1);
    let table = Tensor::stack(&[&all.x, &all.w, &all.z, &all.h, &all.d0, &all.d1], 1);
    // An embedding and not an index_select, whose backward pass on a CPU adds row by row.
    let rows = Tensor::embedding(&table, &index, -1, false, false);
    let [x, w, z, h, d0, d1] = [0, 1, 2, 3, 4, 5].map(|i| rows.select(-1, i));
    Bins { x, w, z, h, d0, d1 }
}

impl Bijection for Spline {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        if let Some(by_table) = self.by_table(x) {
            return by_table.take(x, SplineTable::forward);
        }
        let all = self.bins();
        let (z, log_slope) = pick(&all, &all.x, x).forward(x);
        (z, sum_event(&log_slope))
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        if let Some(by_table) = self.by_table(z) {
            let (x, log_det) = by_table.take(z, SplineTable::inverse);
            return (x, log_det.neg());
        }
        let all = self.bins();
        let (x, log_slope) = pick(&all, &all.z, z).inverse(z);
        (x, sum_event(&log_slope).neg())
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        let Some(by_table) = self.by_table(x) else {
            return Taped::run(x, |x| self.forward(x, context));
        };
        let (value, log_det) = by_table.take(x, SplineTable::forward);
        Kept { value, log_det, back: Box::new(ByTableBack { spline: self, by_table, x: x.contiguous() }) }
    }

    fn start_from_data(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        if !self.has_started() && x.size()[0] > 0 {
            crate::no_grad(|| self.fit(x));
        }
        self.forward(x, context).0
    }

    fn inspect(&self, x: &Tensor, _context: Option<&Tensor>) -> Inspection {
        let at = x.lt(self.low).logical_or(&x.gt(self.high));
        Inspection { edge: Some(Edge::new("outside of all bins", &at)), ..Inspection::default() }
    }
}

impl Spline {
    /// Puts the knots where the quantiles of `x` meet those of the two Gaussians.
    fn fit(&self, x: &Tensor) {
        // First to the processor, here and below: Metal has no f64.
        let sorted = x.to_device(Device::Cpu).to_kind(Kind::Double).flatten(0, -1).sort(0, false).0;
        let all = sorted.size()[0];
        let below = sorted.lt(self.background).sum(Kind::Int64).int64_value(&[]) as f64 / all as f64;
        // With nothing on one side, all of it is one Gaussian; half of the bins must not be spent on nothing.
        let share = below.clamp(0.02, 0.98);
        let bins = self.widths.size()[0];
        let heights = heights(share, bins as usize);
        let z: Vec<f64> = std::iter::once(-BOUND)
            .chain(heights.iter().scan(-BOUND, |z, h| {
                *z += h;
                Some(*z)
            }))
            .collect();
        let knots: Vec<f64> = z
            .iter()
            .map(|&z| {
                // Between two values, so that none lies on a knot, where the slope has a bend.
                let place = ((mixture(z, share) * all as f64) as i64).clamp(1, (all - 1).max(1)).min(all - 1);
                0.5 * (sorted.double_value(&[(place - 1).max(0)]) + sorted.double_value(&[place]))
            })
            .collect();
        let domain = self.high - self.low;
        let inner = knots[1..knots.len() - 1].iter().copied();
        let knots: Vec<f64> = std::iter::once(self.low).chain(inner).chain([self.high]).collect();
        let widths: Vec<f64> =
            knots.windows(2).map(|pair| (pair[1] - pair[0]).max(NARROWEST * domain) / domain).collect();
        let total: f64 = widths.iter().sum();
        let widths: Vec<f64> = widths.iter().map(|w| w / total * domain).collect();
        self.set(&widths, &heights);
    }

    /// Bins of these widths and heights; the slope at a knot lies between those of its bins, each weighed by the other's
    /// width.
    fn set(&self, widths: &[f64], heights: &[f64]) {
        let slope = |k: usize| heights[k] / widths[k];
        let last = widths.len() - 1;
        let slopes: Vec<f64> = (0..=widths.len())
            .map(|k| match k {
                0 => slope(0),
                k if k > last => slope(last),
                k => (slope(k) * widths[k - 1] + slope(k - 1) * widths[k]) / (widths[k] + widths[k - 1]),
            })
            .collect();
        let put = |parameter: &Tensor, values: &[f64]| {
            let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
            parameter.shallow_clone().copy_(&Tensor::from_slice(&logs).to_kind(parameter.kind()));
        };
        put(&self.widths, widths);
        put(&self.heights, heights);
        put(&self.slopes, &slopes);
        let _ = self.started.shallow_clone().fill_(1.0);
    }
}

/// Half of the bins for the background, up to where `share` of the mixture lies, the other half for the rest; all bins of
/// one half alike.
fn heights(share: f64, bins: usize) -> Vec<f64> {
    let (mut low, mut high) = (-BOUND, BOUND);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if mixture(middle, share) < share { low = middle } else { high = middle }
    }
    let first = bins / 2;
    let lower = (low + BOUND) / first as f64;
    let upper = (BOUND - low) / (bins - first) as f64;
    (0..bins).map(|k| if k < first { lower } else { upper }).collect()
}

/// The distribution function of what the start aims at.
fn mixture(z: f64, share: f64) -> f64 {
    share * normal_cdf(z + MEAN) + (1.0 - share) * normal_cdf((z - MEAN) / REST_STD)
}

fn normal_cdf(z: f64) -> f64 {
    0.5 * Tensor::from(-z / std::f64::consts::SQRT_2).erfc().double_value(&[])
}
