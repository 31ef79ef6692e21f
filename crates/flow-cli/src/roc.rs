//! The area under the ROC curve: how well one number tells two kinds apart.

use flow_train::evaluate::Mean;

/// P(a number of the first kind is larger than one of the second) + P(they are equal) / 2, with its standard error.
pub type Auroc = Mean;

/// Of two samples, each of one number or more.
///
/// The standard error is that of DeLong et al. (1988) for independent samples. Where the second kind was made of the first,
/// image by image, it errs on the large side: an image that scores high does so in either form, and the two parts cancel.
pub fn auroc(first: &[f64], second: &[f64]) -> Auroc {
    let (above, below) = (shares_below(first, second), shares_below(second, first));
    let (above, below) = (Mean::of(&above), Mean::of(&below));
    Mean { mean: above.mean, se: above.se.hypot(below.se) }
}

/// For each value the share of `others` that lie below it, equal ones counted by half.
fn shares_below(values: &[f64], others: &[f64]) -> Vec<f64> {
    let mut others = others.to_vec();
    others.sort_by(f64::total_cmp);
    let share = |x: &f64| {
        let (below, not_above) = (others.partition_point(|y| y < x), others.partition_point(|y| y <= x));
        (below + not_above) as f64 / (2 * others.len()) as f64
    };
    values.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted() {
        assert_eq!(auroc(&[2.0, 3.0], &[0.0, 1.0]).mean, 1.0);
        assert_eq!(auroc(&[0.0, 1.0], &[2.0, 3.0]).mean, 0.0);
        assert_eq!(auroc(&[1.0, 1.0], &[1.0]).mean, 0.5);
        // Of the six pairs (1,0) (1,2) (1,3) (4,0) (4,2) (4,3) four are in order.
        let some = auroc(&[1.0, 4.0], &[0.0, 2.0, 3.0]);
        assert!((some.mean - 4.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn the_error_is_that_of_delong() {
        // shares: of the first kind 1/3 and 1, variance 2/9 over 2; of the second 0, 1/2, 1/2, variance 1/12 over 3.
        let some = auroc(&[1.0, 4.0], &[0.0, 2.0, 3.0]);
        assert!((some.se.powi(2) - (1.0 / 9.0 + 1.0 / 36.0)).abs() < 1e-12);
    }
}
