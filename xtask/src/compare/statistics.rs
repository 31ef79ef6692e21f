//! Many times as a few numbers.

use serde::Serialize;

/// The middle of what was measured, and the quarter below and above it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    pub median: f64,
    /// First and third quartile.
    pub quartiles: [f64; 2],
    pub count: usize,
}

impl Summary {
    /// `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part| quantile(&sorted, part);
        Some(Summary { median: at(0.5)?, quartiles: [at(0.25)?, at(0.75)?], count: sorted.len() })
    }
}

/// Between neighbours along a straight line, as numpy does by default.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * sorted.len().checked_sub(1)? as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_those_of_numpy() {
        // numpy.quantile([4, 1, 3, 2, 10], [.5, .25, .75]) and numpy.quantile([1, 2, 4, 8], ..).
        let odd = Summary::of(&[4.0, 1.0, 3.0, 2.0, 10.0]).unwrap();
        assert_eq!((odd.median, odd.quartiles, odd.count), (3.0, [2.0, 4.0], 5));
        let even = Summary::of(&[8.0, 1.0, 4.0, 2.0]).unwrap();
        assert_eq!((even.median, even.quartiles, even.count), (3.0, [1.75, 5.0], 4));
        let one = Summary::of(&[7.0]).unwrap();
        assert_eq!((one.median, one.quartiles), (7.0, [7.0, 7.0]));
        assert_eq!(Summary::of(&[]), None);
    }
}
