//! The two colour maps: a cyclic one for angles, a sequential one for densities.

use std::f32::consts::TAU;

use ndarray::ArrayView2;

use crate::color::{MISSING, Rgb};

/// A colour for each row of `latent` (`[n, 2]`, or more columns, of which the first two count): the angle of the
/// point as seen from the origin, on a circle of hues that look equally far from each other.
///
/// A row that is not finite gets the colour of missing values. Where `latent` has fewer than two columns, the first
/// column alone decides.
///
/// ```
/// use flow_viz::{angle_color, angle_colors};
/// use ndarray::array;
///
/// let latent = array![[1.0, 0.0], [0.0, 2.0], [5.0, 0.0]];
/// let colors = angle_colors(latent.view());
/// assert_eq!(colors[0], colors[2]); // the same angle, whatever the radius
/// assert_eq!(colors[1], angle_color(std::f32::consts::FRAC_PI_2));
/// ```
pub fn angle_colors(latent: ArrayView2<f32>) -> Vec<Rgb> {
    let column = |row: usize, j: usize| latent.get((row, j)).copied().unwrap_or(0.0);
    let color = |row: usize| match (column(row, 0), column(row, 1)) {
        // Infinities have angles too, but no place in the plane.
        (x, y) if x.is_finite() && y.is_finite() => angle_color(y.atan2(x)),
        _ => MISSING,
    };
    (0..latent.nrows()).map(color).collect()
}

/// The colour of an angle in radians.
pub fn angle_color(angle: f32) -> Rgb {
    if !angle.is_finite() {
        return MISSING;
    }
    // 1 in 96 of a turn is finer than the eye can tell, and few colours keep an animation small.
    let turn = (angle.rem_euclid(TAU) / TAU * 96.0).round() / 96.0;
    let hue = TAU * turn + 0.5;
    // Yellow is light and blue dark by nature: going along with it leaves more chroma than one lightness for all.
    let lightness = 0.66 + 0.08 * (hue - 1.8).cos();
    Rgb::from_oklch(lightness, 0.15, hue)
}

/// The colour of `share` in 0..=1 on the density scale: dark violet over teal to pale yellow, lightness rising in
/// equal steps.
pub fn density_color(share: f32) -> Rgb {
    if !share.is_finite() {
        return MISSING;
    }
    let share = share.clamp(0.0, 1.0);
    let hue = (305.0 - 200.0 * share).to_radians();
    let chroma = 0.10 + 0.045 * share * share;
    Rgb::from_oklch(0.22 + 0.72 * share, chroma, hue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luma(Rgb([r, g, b]): Rgb) -> f32 {
        0.2126 * r as f32 + 0.7152 * g as f32 + 0.0722 * b as f32
    }

    #[test]
    fn the_density_map_only_gets_lighter() {
        let lumas: Vec<f32> = (0..=64).map(|i| luma(density_color(i as f32 / 64.0))).collect();
        assert!(lumas.windows(2).all(|w| w[1] > w[0]), "{lumas:?}");
        assert!(lumas[0] < 40.0 && lumas[64] > 220.0);
    }

    #[test]
    fn the_angle_map_closes_without_a_seam() {
        let distance = |a: Rgb, b: Rgb| -> i32 { (0..3).map(|i| (a.0[i] as i32 - b.0[i] as i32).abs()).sum() };
        let steps: Vec<i32> = (0..96)
            .map(|i| {
                let at = |k: i32| angle_color(TAU * k as f32 / 96.0);
                distance(at(i), at(i + 1))
            })
            .collect();
        // Where red reaches 0, a step in sRGB is larger than it looks.
        assert!(steps.iter().all(|&s| s < 50), "{steps:?}");
        assert_eq!(angle_color(0.0), angle_color(TAU));
        assert!(distance(angle_color(0.0), angle_color(TAU / 2.0)) > 150);
    }

    #[test]
    fn values_that_are_not_finite_show() {
        let rows = ndarray::array![[f32::INFINITY, 0.0], [0.0, f32::NEG_INFINITY], [f32::NAN, 1.0], [1.0, 0.0]];
        assert_eq!(angle_colors(rows.view()), [MISSING, MISSING, MISSING, angle_color(0.0)]);
        assert_eq!(angle_color(f32::NAN), MISSING);
        assert_eq!(density_color(f32::INFINITY), MISSING);
    }
}
