//! Histograms of scores.

use flow_viz::*;
use image::RgbImage;

use crate::seen::*;

const FIRST: Rgb = Rgb([38, 108, 190]);
const SECOND: Rgb = Rgb([222, 106, 26]);

fn sample(name: &str, mean: f64, n: usize, seed: u64) -> Histogram {
    Histogram::new(name, normal(n, seed).into_iter().map(|z| mean + z as f64).collect())
}

/// The mean place of a colour, across and down, below the legend.
fn center(image: &RgbImage, color: Rgb) -> (f64, f64) {
    let hits: Vec<_> = image.enumerate_pixels().filter(|(_, y, p)| *y > 60 && p.0 == color.0).collect();
    let mean = |axis: fn(&(u32, u32, &image::Rgb<u8>)) -> u32| {
        hits.iter().map(|h| axis(h) as f64).sum::<f64>() / hits.len() as f64
    };
    (mean(|h| h.0), mean(|h| h.1))
}

#[test]
fn samples_stand_where_their_values_are() {
    let samples = [sample("low", -5.0, 2000, 1), sample("high", 5.0, 2000, 2)];
    let image = png(&histograms(&samples, &[], &HistogramsConfig::default()).unwrap());
    assert_eq!(image.dimensions(), (880, 500));
    let (low, high) = (center(&image, FIRST), center(&image, SECOND));
    assert!(low.0 + 250.0 < high.0, "{low:?} {high:?}");
    let tint = |p: &image::Rgb<u8>| p.0[0] > 190 && p.0[0] < 225 && p.0[2] > 230;
    let tinted = image.pixels().filter(|p| tint(p)).count();
    assert!(tinted > 8_000, "the bins are filled: {tinted}");
}

#[test]
fn a_bin_is_as_high_as_its_share_whatever_the_size_of_the_sample() {
    let even = |name: &str, n: usize| Histogram::new(name, (0..n).map(|i| (i as f64 + 0.5) / n as f64).collect());
    let config = HistogramsConfig { limits: Some((0.0, 1.0)), bins: Some(10), ..HistogramsConfig::default() };
    let top = |n: usize| {
        let image = png(&histograms(&[even("a", n)], &[], &config).unwrap());
        // Away from the dotted line of the mean.
        (60..440).find(|&y| image.get_pixel(300, y).0 == FIRST.0).unwrap()
    };
    assert_eq!(top(100), top(10_000));
}

#[test]
fn far_values_do_not_squash_the_rest_and_are_said() {
    let mut wild = sample("a", 0.0, 2000, 3);
    let calm = png(&histograms(&[wild.clone()], &[], &HistogramsConfig::default()).unwrap());
    wild.values[7] = -1e9;
    wild.values[8] = f64::NAN;
    wild.values[9] = f64::NEG_INFINITY;
    let image = png(&histograms(&[wild], &[], &HistogramsConfig::default()).unwrap());
    let width = |image: &RgbImage| {
        let xs = image.enumerate_pixels().filter(|(x, y, p)| *x > 90 && *y > 60 && *y < 380 && p.0 == FIRST.0);
        let xs: Vec<_> = xs.map(|(x, _, _)| x).collect();
        xs.iter().max().unwrap() - xs.iter().min().unwrap()
    };
    assert!(width(&image).abs_diff(width(&calm)) < 40 && width(&image) > 400);
    let foot = image.enumerate_pixels().filter(|(_, y, p)| *y > 465 && p.0[0] < 160).count();
    assert!(foot > 150, "a note at the foot: {foot}");
}

#[test]
fn a_reference_is_an_upright_line() {
    let red = Rgb([176, 32, 56]);
    let config = HistogramsConfig { limits: Some((-4.0, 4.0)), ..HistogramsConfig::default() };
    let draw = |at: f64| {
        let image = png(&histograms(&[sample("a", 0.0, 500, 1)], &[Reference::new("limit", at)], &config).unwrap());
        let hits = image.enumerate_pixels().filter(|(_, y, p)| *y > 60 && p.0 == red.0);
        hits.map(|(x, _, _)| x).collect::<Vec<_>>()
    };
    let line = draw(-3.0);
    assert!(line.len() > 150 && line.iter().max().unwrap() - line.iter().min().unwrap() <= 2);
    assert!(draw(9.0).is_empty(), "beyond the axis there is no line");
}

#[test]
fn one_value_alone_and_bytes_that_repeat() {
    let draw = || {
        let samples = [Histogram::new("one", vec![-1234.5]), Histogram::new("none", vec![])];
        histograms(&samples, &[], &HistogramsConfig::default()).unwrap()
    };
    assert_eq!(draw(), draw());
}

#[test]
fn samples_that_cannot_be_drawn() {
    let draw = |samples: &[Histogram], config: HistogramsConfig| histograms(samples, &[], &config);
    let plainly = HistogramsConfig::default;
    assert!(matches!(draw(&[], plainly()), Err(Error::Empty { .. })));
    assert!(matches!(draw(&[Histogram::new("a", vec![])], plainly()), Err(Error::Empty { .. })));
    let broken = Histogram::new("a", vec![f64::NAN, f64::NEG_INFINITY]);
    assert!(matches!(draw(&[broken], plainly()), Err(Error::NotFinite { .. })));
    for config in [
        HistogramsConfig { size: (10, 10), ..plainly() },
        HistogramsConfig { limits: Some((1.0, 1.0)), ..plainly() },
        HistogramsConfig { limits: Some((f64::NAN, 1.0)), ..plainly() },
        HistogramsConfig { bins: Some(0), ..plainly() },
    ] {
        assert!(matches!(draw(&[sample("a", 0.0, 10, 1)], config), Err(Error::Setting { .. })));
    }
}
