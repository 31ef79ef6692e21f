//! Densities, curves and power laws.

use flow_viz::*;
use ndarray::{Array2, array};

use crate::seen::*;

const TOP: Rgb = Rgb([38, 108, 190]);

#[test]
fn the_brightest_cell_is_where_the_density_is_highest() {
    let extent = Extent::new((0.0, 4.0), (0.0, 2.0));
    let mut log = Array2::from_elem((20, 40), f32::NEG_INFINITY);
    log.slice_mut(ndarray::s![1..4, 34..37]).fill(0.0); // low on the right
    let config = DensityConfig { panel: Some(400), ..DensityConfig::default() };
    let image = png(&density(log.view(), None, None, extent, &config).unwrap());
    let bright: Vec<_> = image
        .enumerate_pixels()
        .filter(|(x, _, p)| *x < 450 && p.0 == density_color(1.0).0)
        .map(|(x, y, _)| (x, y))
        .collect();
    let dark = count(&image, density_color(0.0));
    assert!(dark > 70_000, "a panel of 400 x 200, at equal aspect: {dark}");
    // Cell 35 of 40 over 400 pixels is centred at 355 from the left edge, cell 2 of 20 at 25 from the lower edge.
    let left =
        image.enumerate_pixels().filter(|(_, _, p)| p.0 == density_color(0.0).0).map(|(x, _, _)| x).min().unwrap();
    let panel = image.enumerate_pixels().filter(|(x, _, p)| *x == left && p.0 == density_color(0.0).0);
    let bottom = panel.map(|(_, y, _)| y).max().unwrap() + 1;
    assert!(!bright.is_empty());
    for (x, y) in bright {
        assert!((x - left).abs_diff(355) <= 11 && (bottom - y).abs_diff(25) <= 11, "{x} {y} in {left} {bottom}");
    }
}

#[test]
fn truth_and_samples_stand_beside_on_the_same_scale() {
    let extent = Extent::new((-1.0, 1.0), (-1.0, 1.0));
    let (model, truth) = (Array2::from_elem((8, 8), 0.5f32.ln()), Array2::from_elem((8, 8), 0.0));
    let samples = array![[0.0, 0.0], [f32::NAN, 0.0], [9.0, 0.0]];
    let config = DensityConfig { sample_color: RED, radius: 4.0, ..DensityConfig::default() };
    let image = png(&density(model.view(), Some(truth.view()), Some(samples.view()), extent, &config).unwrap());
    let area = 232 * 232;
    assert!(count(&image, density_color(0.5)) >= area, "the model at half");
    assert!(count(&image, density_color(1.0)) >= area, "the truth at the top");
    assert_eq!(spots(&image, RED).len(), 1);
    assert!(image.width() < 960);
}

#[test]
fn cells_that_are_not_finite_are_pink() {
    let extent = Extent::new((-1.0, 1.0), (-1.0, 1.0));
    let mut log = Array2::zeros((10, 10));
    log[[0, 0]] = f32::NAN;
    log[[0, 1]] = f32::INFINITY;
    let config = DensityConfig { panel: Some(200), ..DensityConfig::default() };
    let image = png(&density(log.view(), None, None, extent, &config).unwrap());
    let pink = image.pixels().filter(|p| p.0[0] > 200 && p.0[1] < 150 && p.0[2] > 120).count();
    assert_eq!(pink, 2 * 20 * 20);
}

fn line(name: &str, value: impl Fn(f64) -> f64) -> Series {
    Series::new(name, (0..=100).map(|i| (10.0 * i as f64, value(i as f64 / 100.0))).collect())
}

/// The highest and lowest pixel of a colour, right of the legend's samples.
fn reach(image: &image::RgbImage, color: Rgb) -> (u32, u32) {
    let ys: Vec<u32> =
        image.enumerate_pixels().filter(|(x, y, p)| *x > 110 && *y > 60 && p.0 == color.0).map(|(_, y, _)| y).collect();
    (*ys.iter().min().unwrap(), *ys.iter().max().unwrap())
}

#[test]
fn a_rising_curve_rises() {
    let image = png(&curve(&[line("up", |t| t)], &[], &CurveConfig::default()).unwrap());
    assert_eq!(image.dimensions(), (880, 500));
    let at = |x: u32| (60..440).find(|&y| image.get_pixel(x, y).0 == TOP.0).unwrap();
    assert!(at(200) > at(400) + 50 && at(400) > at(800) + 50);
}

#[test]
fn huge_first_values_do_not_squash_the_rest() {
    let tame = |t: f64| 1.0 + 0.5 * (-5.0 * t).exp();
    let wild = move |t: f64| if t < 0.03 { 1e6 } else { tame(t) };
    let (top, bottom) = reach(&png(&curve(&[line("x", wild)], &[], &CurveConfig::default()).unwrap()), TOP);
    assert!(bottom - top > 250, "the curve takes {top} to {bottom} of 500");
}

#[test]
fn a_reference_is_a_level_line_and_stays_in_the_figure() {
    let references = [Reference::new("floor", -3.0)];
    let image = png(&curve(&[line("x", |t| t)], &references, &CurveConfig::default()).unwrap());
    let red = Rgb([176, 32, 56]);
    let (top, bottom) = reach(&image, red);
    assert!(bottom - top <= 2 && top > 380, "{top} {bottom}: below the curve");
    let dashes = (0..880).filter(|&x| image.get_pixel(x, top).0 == red.0).count();
    assert!((350..620).contains(&dashes), "{dashes}");
}

#[test]
fn a_noisy_series_has_a_calm_mean() {
    let noise = normal(1001, 2);
    let points = (0..1001).map(|i| (i as f64, noise[i] as f64)).collect();
    let image = png(&curve(&[Series::noisy("x", points)], &[], &CurveConfig::default()).unwrap());
    let (top, bottom) = reach(&image, TOP);
    assert!(bottom - top < 200, "the mean moves little: {top} {bottom}");
    let thin = image.pixels().filter(|p| p.0[2] > 225 && p.0[0] < 200).count();
    assert!(thin > 2000, "the values behind it: {thin}");
}

#[test]
fn gaps_are_no_harm_and_bytes_repeat() {
    let mut series = line("x", |t| t);
    series.points[5].1 = f64::NAN;
    series.points[6].0 = f64::INFINITY;
    let draw = || curve(&[series.clone(), Series::new("empty", vec![])], &[], &CurveConfig::default()).unwrap();
    assert_eq!(draw(), draw());
    let single = Series::new("one", vec![(5.0, 2.0)]);
    assert!(curve(&[single], &[], &CurveConfig::default()).is_ok());
}

#[test]
fn a_series_of_one_point_is_a_disc() {
    let seen = |series: Series, limits| {
        let image = png(&curve(&[series], &[], &CurveConfig { limits, ..CurveConfig::default() }).unwrap());
        // Below the legend.
        image.enumerate_pixels().filter(|(_, y, p)| *y > 60 && p.0 == TOP.0).count()
    };
    let point = || vec![(5.0, 2.0)];
    assert!(seen(Series::new("one", point()), None) > 12);
    assert!(seen(Series::noisy("one", point()), None) > 12);
    assert_eq!(seen(Series::new("one", point()), Some((3.0, 4.0))), 0);
}

fn power(name: &str, factor: f64, exponent: f64) -> Series {
    let sizes = (0..12).map(|i| 2f64.powi(i));
    Series::new(name, sizes.map(|x| (x, factor * x.powf(exponent))).collect())
}

fn panel(series: Vec<Series>) -> LogLogPanel {
    LogLogPanel { x_name: "width".into(), y_name: "ms".into(), series }
}

#[test]
fn a_power_law_is_a_straight_line_of_its_exponent() {
    const SECOND: Rgb = Rgb([222, 106, 26]);
    // Over the same sizes, y from 1 to 2^22: the first line climbs the plane, the second half of it.
    let lines = vec![power("square", 1.0, 2.0), power("linear", 1.0, 1.0)];
    let config = LogLogConfig { columns: 1, ..LogLogConfig::default() };
    let image = png(&log_log(&[panel(lines)], &config).unwrap());
    let discs = |color| -> Vec<(f32, f32)> {
        let drawn = |x: u32, y: u32| x < image.width() && y < image.height() && image.get_pixel(x, y).0 == color;
        // Rows of three pixels and more of the colour are those of discs.
        let full =
            |x: u32, y: u32| (0..5).all(|i| drawn(x + i, y)) && (0..5).all(|i| drawn(x + 2, (y + i).wrapping_sub(2)));
        let spots = (40..image.height()).flat_map(|y| (80..image.width()).map(move |x| (x, y)));
        spots.filter(|&(x, y)| full(x, y)).map(|(x, y)| (x as f32, y as f32)).collect()
    };
    let slope = |color: Rgb| {
        let spots = discs(color.0);
        let n = spots.len() as f32;
        assert!(n > 10.0, "{n} discs");
        let (x, y) = (spots.iter().map(|s| s.0).sum::<f32>() / n, spots.iter().map(|s| s.1).sum::<f32>() / n);
        let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
        for spot in &spots {
            xy += (spot.0 - x) * (spot.1 - y);
            xx += (spot.0 - x).powi(2);
            yy += (spot.1 - y).powi(2);
        }
        assert!(xy * xy / (xx * yy) > 0.999, "on a line");
        -xy / xx
    };
    let ratio = slope(TOP) / slope(SECOND);
    assert!((ratio - 2.0).abs() < 0.1, "{ratio}");
}

#[test]
fn panels_stand_in_rows_and_values_without_a_logarithm_are_counted() {
    let panels = |broken: f64| {
        let mut line = power("a", 0.5, 1.0);
        line.points[3].1 = broken;
        [panel(vec![line]), panel(vec![power("b", 3.0, 0.0)]), panel(vec![power("c", 1.0, 1.5)])]
    };
    let config = LogLogConfig { title: "Costs".into(), columns: 2, panel: (300, 250) };
    let draw = |broken| log_log(&panels(broken), &config).unwrap();
    assert_eq!(draw(1.0), draw(1.0));
    let (whole, broken) = (png(&draw(1.0)), png(&draw(0.0)));
    assert_eq!((whole.width(), broken.width()), (600, 600));
    assert!(whole.height() >= 500 && broken.height() > whole.height() + 20, "a line says so");
}
