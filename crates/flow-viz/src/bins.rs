//! Bins that several samples share, and how many values of each fall into them.

/// Equal bins between two values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bins {
    pub low: f64,
    pub high: f64,
    pub count: usize,
}

/// What a sample puts into the bins, and what beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filled {
    pub bins: Vec<usize>,
    /// Finite values below and above all bins.
    pub below: usize,
    pub above: usize,
    /// Values that are not finite.
    pub broken: usize,
    /// The mean of all finite values, also of those beside the bins.
    pub mean: f64,
}

impl Filled {
    /// All finite values.
    pub fn finite(&self) -> usize {
        self.bins.iter().sum::<usize>() + self.below + self.above
    }

    /// The share of the finite values in a bin.
    pub fn share(&self, bin: usize) -> f64 {
        self.bins[bin] as f64 / self.finite().max(1) as f64
    }
}

impl Bins {
    /// The left edge of a bin; that of bin `count` is the right edge of the last.
    pub fn edge(&self, bin: usize) -> f64 {
        self.low + (self.high - self.low) * bin as f64 / self.count as f64
    }

    /// Counts the values of a sample. The last bin has both its edges.
    pub fn fill(&self, values: &[f64]) -> Filled {
        let mut filled = Filled { bins: vec![0; self.count], ..Filled::default() };
        let mut sum = 0.0;
        for &value in values {
            if !value.is_finite() {
                filled.broken += 1;
                continue;
            }
            sum += value;
            let at = (value - self.low) / (self.high - self.low) * self.count as f64;
            match at {
                _ if value < self.low => filled.below += 1,
                _ if value > self.high => filled.above += 1,
                _ => filled.bins[(at as usize).min(self.count - 1)] += 1,
            }
        }
        filled.mean = sum / filled.finite() as f64;
        filled
    }
}

/// The range that holds all but the most extreme 0.5 % of each of `samples` at either end, a little widened; nothing
/// where no value is finite.
pub(crate) fn robust_range(samples: &[&[f64]]) -> Option<(f64, f64)> {
    let inner = samples.iter().filter_map(|values| quantiles(values, [0.005, 0.995]));
    let (low, high) = inner.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), [c, d]| (a.min(c), b.max(d)));
    if low > high {
        return None;
    }
    // One value alone stands in the middle of a range.
    let room = (0.03 * (high - low)).max(1e-4 * low.abs().max(high.abs())).max(1e-6);
    Some((low - room, high + room))
}

/// As many bins of the range as the width of Freedman and Diaconis (1981), 2 IQR / n^(1/3), asks for in the sample that
/// asks for the narrowest; 10 to 80.
pub(crate) fn bins_for(samples: &[&[f64]], (low, high): (f64, f64)) -> usize {
    let width = |values: &&[f64]| {
        let [a, b] = quantiles(values, [0.25, 0.75])?;
        Some(2.0 * (b - a) / (values.len() as f64).cbrt()).filter(|&w| w > 0.0)
    };
    let narrowest = samples.iter().filter_map(width).fold(high - low, f64::min);
    ((high - low) / narrowest).ceil().clamp(10.0, 80.0) as usize
}

/// The values at these shares of the sorted finite `values`; nothing where there are none.
fn quantiles<const N: usize>(values: &[f64], shares: [f64; N]) -> Option<[f64; N]> {
    let mut values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    Some(shares.map(|share| values[(share * (values.len() - 1) as f64).round() as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_once() {
        let bins = Bins { low: 0.0, high: 4.0, count: 4 };
        let filled = bins.fill(&[0.0, 0.5, 1.0, 3.9, 4.0, -0.1, 9.0, 9.0, f64::NAN, f64::NEG_INFINITY]);
        assert_eq!(filled.bins, [2, 1, 0, 2]);
        assert_eq!((filled.below, filled.above, filled.broken, filled.finite()), (1, 2, 2, 8));
        assert_eq!(filled.mean, (0.5 + 1.0 + 3.9 + 4.0 - 0.1 + 18.0) / 8.0);
        assert_eq!(filled.share(0), 0.25);
        assert_eq!((bins.edge(0), bins.edge(4)), (0.0, 4.0));
    }

    #[test]
    fn far_values_do_not_spoil_the_range() {
        let mut values: Vec<f64> = (0..1000).map(|i| i as f64 / 1000.0).collect();
        values[17] = -1e9;
        values[18] = f64::INFINITY;
        let (low, high) = robust_range(&[&values, &[2.0, 2.1]]).unwrap();
        assert!((-0.1..0.0).contains(&low) && (2.1..2.2).contains(&high), "{low} {high}");
        assert!(robust_range(&[&[f64::NAN], &[]]).is_none());
        let (low, high) = robust_range(&[&[-1234.5]]).unwrap();
        assert!(low < -1234.5 && high > -1234.5);
    }

    #[test]
    fn many_values_ask_for_many_bins_within_reason() {
        let even = |n: usize| (0..n).map(|i| i as f64 / n as f64).collect::<Vec<_>>();
        let number = |n: usize| bins_for(&[&even(n)], (0.0, 1.0));
        assert!(number(10) == 10 && number(20_000) > 20 && number(10_000_000) == 80);
        assert_eq!(bins_for(&[&[1.0, 1.0]], (0.0, 2.0)), 10);
    }
}
