//! Checks: errors by layer, and the latent beside its base.

use flow_viz::*;
use image::RgbImage;

use crate::seen::*;

const SINGLE: Rgb = Rgb([222, 106, 26]);
const DOUBLE: Rgb = Rgb([38, 108, 190]);
const LOG_DET: Rgb = Rgb([34, 140, 98]);
const BASE: Rgb = Rgb([176, 32, 56]);

fn layer(name: &str, single: f64, double: f64, log_det: Option<f64>, verdict: &str) -> LayerErrors {
    LayerErrors { name: name.into(), single: Some(single), double: Some(double), log_det, verdict: verdict.into() }
}

fn marginal(values: Vec<f64>) -> Marginal {
    let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let base = (-50..=50).map(|i| (f64::from(i) / 10.0, density(f64::from(i) / 10.0))).collect();
    Marginal { name: "coordinate 1".into(), values, base }
}

fn draw(layers: &[LayerErrors], marginals: &[Marginal]) -> RgbImage {
    png(&check(layers, marginals, &CheckConfig::default()).unwrap())
}

/// Where the discs of a colour are, below the legend, in the order of the rows.
fn discs(image: &RgbImage, color: Rgb) -> Vec<(f32, f32)> {
    let mut discs: Vec<_> = spots(image, color).into_iter().filter(|at| at.1 > 60.0).collect();
    discs.sort_by(|a, b| a.1.total_cmp(&b.1));
    discs
}

#[test]
fn errors_stand_on_a_logarithmic_axis() {
    let layers = [layer("a", 1e-7, 1e-16, Some(1e-13), "ok"), layer("b", 1e-4, 1e-13, None, "ok")];
    let image = draw(&layers, &[]);
    let (single, double, log_det) = (discs(&image, SINGLE), discs(&image, DOUBLE), discs(&image, LOG_DET));
    assert_eq!((single.len(), double.len()), (2, 2));
    assert!(single[0].1 < double[0].1 && double[0].1 + 15.0 < single[1].1, "a row a layer: {single:?} {double:?}");
    // Three powers of ten from row to row in both kinds, and from one kind to another.
    let step = single[1].0 - single[0].0;
    assert!(step > 40.0 && near(double[1].0 - double[0].0, step, 1.0), "{single:?} {double:?}");
    assert!(near(single[0].0 - double[0].0, 3.0 * step, 1.5));
    assert!(
        log_det.iter().any(|at| near(at.0, double[1].0, 1.0) && near(at.1 - double[0].1, 4.0, 1.0)),
        "{log_det:?} {double:?}"
    );
}

#[test]
fn nothing_and_everything_have_places_at_the_ends() {
    let layers = [layer("a", 0.0, 1e-16, None, "ok"), layer("b", f64::INFINITY, f64::NAN, None, "FAIL")];
    let image = draw(&layers, &[]);
    let single = discs(&image, SINGLE);
    let wide = single.last().unwrap().0 - single[0].0;
    assert!(wide > 400.0, "{single:?}");
    let unreached = LayerErrors { single: None, double: None, ..layer("c", 1.0, 1.0, None, "warn") };
    assert_eq!(discs(&draw(&[unreached], &[]), DOUBLE).len(), 0);
}

#[test]
fn many_layers_make_a_taller_figure_and_few_a_roomier_one() {
    let layers = |n: usize| (0..n).map(|i| layer(&format!("l{i}"), 1e-7, 1e-16, None, "ok")).collect::<Vec<_>>();
    let marginals = [marginal(vec![0.0, 1.0]), marginal(vec![0.5])];
    let (few, many) = (draw(&layers(3), &marginals), draw(&layers(60), &marginals));
    assert!(many.height() > few.height() + 500 && many.width().abs_diff(few.width()) < 20);
    let rows = discs(&few, DOUBLE).into_iter().filter(|at| at.0 < 500.0).map(|at| at.1).collect::<Vec<_>>();
    assert!(rows.len() == 3 && near(rows[1] - rows[0], 40.0, 0.6), "{rows:?}");
}

#[test]
fn a_latent_like_its_base_fills_the_base_and_one_that_is_wider_does_not() {
    let normal: Vec<f64> = normal(20_000, 5).into_iter().map(f64::from).collect();
    let filled = |scale: f64| {
        let image =
            draw(&[layer("a", 1e-7, 1e-16, None, "ok")], &[marginal(normal.iter().map(|z| z * scale).collect())]);
        assert!(count(&image, BASE) > 100);
        // The column of the plane in its middle: how high the bins are, against how high the base is.
        let top = |color: Rgb| {
            let near = |p: &image::Rgb<u8>| (0..3).all(|i| p.0[i].abs_diff(color.0[i]) < 40);
            let pixels = image.enumerate_pixels().filter(|(x, y, p)| *x > 700 && *y > 40 && near(p));
            pixels.map(|(_, y, _)| y).min().unwrap()
        };
        f64::from(top(DOUBLE)) - f64::from(top(BASE))
    };
    assert!(filled(1.0).abs() < 12.0 && filled(2.0) > 30.0, "{} {}", filled(1.0), filled(2.0));
}

#[test]
fn checks_that_cannot_be_drawn() {
    let one = [layer("a", 1e-7, 1e-16, None, "ok")];
    let plainly = CheckConfig::default;
    assert!(matches!(check(&[], &[], &plainly()), Err(Error::Empty { .. })));
    let many = vec![one[0].clone(); 401];
    assert!(matches!(check(&many, &[], &plainly()), Err(Error::Setting { .. })));
    assert!(matches!(check(&one, &[marginal(vec![f64::NAN])], &plainly()), Err(Error::NotFinite { .. })));
    let bare = Marginal { base: vec![], ..marginal(vec![1.0]) };
    assert!(matches!(check(&one, &[bare], &plainly()), Err(Error::Empty { .. })));
    let nan = f64::NAN;
    for base in [
        vec![(0.0, 1.0)],
        vec![(1.0, 0.5), (0.0, 0.5)],
        vec![(0.0, 0.5), (2.0, 0.5), (1.0, 0.5)],
        vec![(nan, 0.5), (1.0, 0.5)],
        vec![(0.0, 0.5), (nan, 0.5), (1.0, 0.5)],
        vec![(0.0, 0.5), (f64::INFINITY, 0.5)],
    ] {
        let marginal = Marginal { base, ..marginal(vec![0.5]) };
        assert!(matches!(check(&one, &[marginal], &plainly()), Err(Error::Setting { setting: "base", .. })));
    }
    let bounds = vec![("none".to_owned(), 0.0)];
    assert!(matches!(check(&one, &[], &CheckConfig { bounds, ..plainly() }), Err(Error::Setting { .. })));
    let draw = || check(&one, &[marginal(vec![1.0])], &plainly()).unwrap();
    assert_eq!(draw(), draw());
}
