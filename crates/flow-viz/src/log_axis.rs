//! An axis on which equal factors are equal distances.

use crate::axes::nice_step;
use crate::number;

/// Room at either end, as a share of the axis.
const ROOM: f64 = 0.05;
/// With fewer powers of ten than this on an axis, their double and fivefold are ticks too.
const FEW: usize = 3;

/// An axis from `low` to `high`, decimal logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LogAxis {
    low: f64,
    high: f64,
}

impl LogAxis {
    /// An axis with all of `values`, which are positive; `None` where there are none.
    pub fn over(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) =
            values.map(f64::log10).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        let room = (ROOM * (high - low)).max(0.05);
        (low <= high).then_some(Self { low: low - room, high: high + room })
    }

    /// Where a positive value is, 0 at the low end and 1 at the high one.
    pub fn share(&self, value: f64) -> f32 {
        ((value.log10() - self.low) / (self.high - self.low)) as f32
    }

    /// The values at which to draw a line, and their numbers.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let of = |digits: &[f64]| -> Vec<f64> {
            let powers = self.low.floor() as i32..=self.high.ceil() as i32;
            let values = powers.flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)));
            values.filter(|v| (self.low..=self.high).contains(&v.log10())).collect()
        };
        let powers = of(&[1.0]);
        let values = if powers.len() < FEW { of(&[1.0, 2.0, 5.0]) } else { powers };
        match values.len() {
            0 | 1 => self.even_ticks(),
            _ => values.into_iter().map(|value| (value, number::exact(value))).collect(),
        }
    }

    /// Ticks at equal distances, for an axis so short that it is nearly an ordinary one.
    fn even_ticks(&self) -> Vec<(f64, String)> {
        let (from, to) = (10f64.powf(self.low), 10f64.powf(self.high).min(f64::MAX));
        let step = nice_step(to - from, 5);
        let text = |value: f64| match (1e-3..1e6).contains(&value) {
            true => number::tick(value, step),
            false => number::scientific(value, step),
        };
        let numbers = (from / step).ceil() as i64..=(to / step).floor() as i64;
        numbers.map(|i| i as f64 * step).map(|value| (value, text(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: [f64; 2]) -> Vec<String> {
        LogAxis::over(values.into_iter()).unwrap().ticks().into_iter().map(|(_, number)| number).collect()
    }

    #[test]
    fn ticks_are_powers_of_ten_or_in_between_where_these_are_few() {
        assert_eq!(numbers([2.0, 3_072.0]), ["10", "100", "1,000"]);
        assert_eq!(numbers([2.0, 64.0]), ["2", "5", "10", "20", "50"]);
        assert_eq!(numbers([0.02, 3.0]), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]);
    }

    #[test]
    fn a_short_axis_has_ticks_at_equal_distances() {
        assert_eq!(numbers([300.0, 300.0]), ["280", "300", "320"]);
        assert_eq!(numbers([190.0, 210.0]), ["180", "200", "220"]);
        assert_eq!(numbers([3.0, 4.0]), ["3.0", "3.5", "4.0"]);
        assert_eq!(numbers([3e7, 3e7]), ["2.8e7", "3.0e7", "3.2e7"]);
        for value in [1e-300, 7e-5, 0.5, 33.0, 1e300, f64::MAX] {
            assert!(numbers([value; 2]).len() > 1, "{value}: {:?}", numbers([value; 2]));
        }
    }

    #[test]
    fn equal_factors_are_equal_distances() {
        let axis = LogAxis::over([1.0, 10_000.0].into_iter()).unwrap();
        let steps: Vec<f32> = [1.0, 10.0, 100.0, 1_000.0].map(|v| axis.share(10.0 * v) - axis.share(v)).to_vec();
        assert!(steps.iter().all(|step| (step - steps[0]).abs() < 1e-6 && *step > 0.2), "{steps:?}");
        assert_eq!(LogAxis::over(std::iter::empty()), None);
    }
}
