//! Input that cannot be drawn is an error that says why, never a panic.

use flow_viz::*;
use ndarray::{Array2, Array3, ArrayD, array};

use crate::seen::RED;

#[test]
fn empty_input() {
    let none2d: [Layer2d; 0] = [];
    let no_rows = [Layer2d::new("a", Array2::zeros((0, 2)))];
    let no_images = [LayerImages::new("a", Array3::zeros((0, 28, 28)))];
    let errors = [
        layers_2d(&none2d, &[], &Layers2dConfig::default()),
        layers_2d(&no_rows, &[], &Layers2dConfig::default()),
        animate_2d(&none2d, &[], &Animate2dConfig::default()),
        layers_images(&[], &LayersImagesConfig::default()),
        layers_images(&no_images, &LayersImagesConfig::default()),
        animate_images(&no_images, &AnimateImagesConfig::default()),
        sheet(ArrayD::zeros(vec![0, 28, 28]).view(), &SheetConfig::default()),
        curve(&[], &[Reference::new("floor", 1.0)], &CurveConfig::default()),
        log_log(&[], &LogLogConfig::default()),
        log_log(&[panel(vec![])], &LogLogConfig::default()),
        density(Array2::zeros((0, 4)).view(), None, None, unit(), &DensityConfig::default()),
        density(array![[0.0]].view(), None, Some(Array2::zeros((0, 2)).view()), unit(), &DensityConfig::default()),
    ];
    for (i, error) in errors.into_iter().enumerate() {
        assert!(matches!(error, Err(Error::Empty { .. })), "case {i}: {error:?}");
    }
}

fn panel(points: Vec<(f64, f64)>) -> LogLogPanel {
    LogLogPanel { x_name: "x".into(), y_name: "y".into(), series: vec![Series::new("a", points)] }
}

fn unit() -> Extent {
    Extent::new((0.0, 1.0), (0.0, 1.0))
}

#[test]
fn shapes_that_do_not_match() {
    let two = Layer2d::new("two", array![[0.0, 0.0], [1.0, 1.0]]);
    let three = Layer2d::new("three", Array2::zeros((3, 2)));
    let wide = Layer2d::new("wide", Array2::zeros((2, 3)));
    let gridded = two.clone().with_grid(Array2::zeros((5, 2)));
    let grid = Layers2dConfig { grid: Some(Grid::default()), ..Layers2dConfig::default() };
    let images = [LayerImages::new("a", Array3::zeros((2, 8, 8))), LayerImages::new("b", Array3::zeros((2, 8, 7)))];
    let errors = [
        layers_2d(&[two.clone(), three], &[RED; 2], &Layers2dConfig::default()),
        layers_2d(&[wide], &[RED; 2], &Layers2dConfig::default()),
        layers_2d(std::slice::from_ref(&two), &[RED; 3], &Layers2dConfig::default()),
        layers_2d(&[gridded], &[RED; 2], &grid),
        layers_images(&images, &LayersImagesConfig::default()),
        sheet(ArrayD::zeros(vec![2, 2, 8, 8]).view(), &SheetConfig::default()),
        sheet(ArrayD::zeros(vec![8, 8]).view(), &SheetConfig::default()),
        density(array![[0.0]].view(), None, Some(Array2::zeros((4, 3)).view()), unit(), &DensityConfig::default()),
    ];
    for (i, error) in errors.into_iter().enumerate() {
        assert!(matches!(error, Err(Error::Shape { .. })), "case {i}: {error:?}");
    }
    let error = layers_2d(&[two], &[RED], &Layers2dConfig::default()).unwrap_err();
    assert_eq!(error.to_string(), "the colours has shape [1], expected [2]");
}

#[test]
fn nothing_finite() {
    let nan = f32::NAN;
    let layers = [LayerImages::new("a", Array3::from_elem((1, 8, 8), nan))];
    let errors = [
        layers_2d(&[Layer2d::new("a", array![[nan, 0.0]])], &[RED], &Layers2dConfig::default()),
        animate_2d(&[Layer2d::new("a", array![[nan, 0.0]])], &[RED], &Animate2dConfig::default()),
        layers_images(&layers, &LayersImagesConfig::default()),
        animate_images(&layers, &AnimateImagesConfig::default()),
        sheet(ArrayD::from_elem(vec![1, 8, 8], nan).view(), &SheetConfig::default()),
        curve(&[Series::new("a", vec![(0.0, f64::NAN)])], &[], &CurveConfig::default()),
        log_log(&[panel(vec![(1.0, f64::NAN), (0.0, 1.0), (1.0, -1.0)])], &LogLogConfig::default()),
        density(array![[nan, nan]].view(), None, None, unit(), &DensityConfig::default()),
        density(array![[0.0]].view(), Some(array![[nan]].view()), None, unit(), &DensityConfig::default()),
    ];
    for (i, error) in errors.into_iter().enumerate() {
        assert!(matches!(error, Err(Error::NotFinite { .. })), "case {i}: {error:?}");
    }
}

#[test]
fn a_size_out_of_range_is_answered_with_the_range() {
    let series = Series::new("a", vec![(0.0, 1.0), (1.0, 2.0)]);
    let error = curve(&[series], &[], &CurveConfig { size: (20_000, 500), ..Default::default() }).unwrap_err();
    assert!(error.to_string().ends_with("300 x 200 to 10,000 x 10,000 pixels"), "{error}");
    let config = LogLogConfig { panel: (5_000, 300), ..Default::default() };
    let error = log_log(&[panel(vec![(1.0, 1.0)])], &config).unwrap_err();
    assert!(error.to_string().ends_with("240 x 200 to 4,000 x 4,000 pixels"), "{error}");
}

/// Before there is a canvas: one of these would be of gigabytes.
#[test]
fn a_figure_that_nobody_could_open_is_refused() {
    let (images, tall) =
        (ArrayD::zeros(vec![400, 1, 1]), SheetConfig { columns: Some(1), scale: Some(64), ..Default::default() });
    let layers = |n| [LayerImages::new("a", Array3::zeros((n, 28, 28))).with_range(0.0, 1.0)];
    let most = most_images([1, 28, 28]);
    let errors = [sheet(images.view(), &tall), layers_images(&layers(most + 1), &LayersImagesConfig::default())];
    for error in errors {
        assert!(error.unwrap_err().to_string().contains("larger than 20000 pixels"));
    }
    // Each is 56 pixels high and 6 from the next.
    assert_eq!(most, 322);
}

#[test]
fn settings_without_sense() {
    let layers = [Layer2d::new("a", array![[0.0, 0.0]])];
    let images = [LayerImages::new("a", Array3::zeros((1, 8, 8))).with_range(1.0, 0.0)];
    let series = [Series::new("a", vec![(0.0, 1.0)])];
    let reversed = Some(Extent::new((1.0, 0.0), (0.0, 1.0)));
    let errors = [
        layers_2d(&layers, &[RED], &Layers2dConfig { columns: Some(0), ..Default::default() }),
        layers_2d(&layers, &[RED], &Layers2dConfig { panel: 0, ..Default::default() }),
        layers_2d(&layers, &[RED], &Layers2dConfig { extent: reversed, ..Default::default() }),
        animate_2d(&layers, &[RED], &Animate2dConfig { side: 0, ..Default::default() }),
        layers_images(&images, &LayersImagesConfig::default()),
        sheet(ArrayD::zeros(vec![1, 8, 8]).view(), &SheetConfig { range: (1.0, 1.0), ..Default::default() }),
        sheet(ArrayD::zeros(vec![1, 8, 8]).view(), &SheetConfig { columns: Some(0), ..Default::default() }),
        curve(&series, &[], &CurveConfig { size: (0, 0), ..Default::default() }),
        log_log(&[panel(vec![(1.0, 1.0)])], &LogLogConfig { columns: 0, ..Default::default() }),
        log_log(&[panel(vec![(1.0, 1.0)])], &LogLogConfig { panel: (0, 0), ..Default::default() }),
        curve(&series, &[], &CurveConfig { limits: Some((2.0, 1.0)), ..Default::default() }),
        density(array![[0.0]].view(), None, None, unit(), &DensityConfig { panel: Some(1), ..Default::default() }),
    ];
    for (i, error) in errors.into_iter().enumerate() {
        assert!(matches!(error, Err(Error::Setting { .. })), "case {i}: {error:?}");
    }
}
