//! Panels and sheets of images.

use flow_viz::*;
use ndarray::{Array3, Array4};

use crate::seen::*;

/// `n` images that rise from 0 at the upper left to 1 at the lower right.
fn ramp(n: usize) -> Array3<f32> {
    Array3::from_shape_fn((n, 28, 28), |(_, y, x)| (28 * y + x) as f32 / 783.0)
}

#[test]
fn greys_are_those_of_the_range_and_pixels_are_square() {
    let config = SheetConfig { scale: Some(3), columns: Some(2), range: (0.0, 2.0), ..SheetConfig::default() };
    let images = ramp(4);
    let image = png(&sheet(images.view().into_dyn(), &config).unwrap());
    assert_eq!(image.dimensions(), (2 * 84 + 2 + 32, 2 * 84 + 2 + 32));
    for (y, x) in [(0, 0), (13, 5), (27, 27)] {
        let want = (images[[0, y, x]] / 2.0 * 255.0).round() as u8;
        for (dy, dx) in [(0, 0), (2, 2)] {
            // The fourth image: one cell to the right, one down.
            let at = |v: usize, d: usize| (16 + 86 + 3 * v + d) as u32;
            assert_eq!(image.get_pixel(at(x, dx), at(y, dy)).0, [want; 3]);
        }
    }
}

#[test]
fn two_hundred_and_twenty_five_images_make_fifteen_rows() {
    let config = SheetConfig { caption: "temperature 0.75".into(), ..SheetConfig::default() };
    let image = png(&sheet(Array3::from_elem((225, 28, 28), 0.0).view().into_dyn(), &config).unwrap());
    assert_eq!(image.width(), 15 * 58 - 2 + 32);
    let column = (16 + 28) as u32;
    let black = (0..image.height()).filter(|&y| image.get_pixel(column, y).0 == [0; 3]).count();
    assert_eq!(black, 15 * 56);
    let letters = image.enumerate_pixels().filter(|(_, y, p)| *y < 40 && p.0[0] < 128).count();
    assert!(letters > 150, "the caption is there: {letters}");
}

#[test]
fn three_channels_are_colours() {
    let mut images = Array4::zeros((2, 3, 4, 4));
    images.slice_mut(ndarray::s![0, 0, .., ..]).fill(1.0);
    images.slice_mut(ndarray::s![1, 2, .., ..]).fill(1.0);
    let image = png(&sheet(images.view().into_dyn(), &SheetConfig::default()).unwrap());
    assert_eq!(count(&image, Rgb([255, 0, 0])), 48 * 48);
    assert_eq!(count(&image, Rgb([0, 0, 255])), 48 * 48);
}

#[test]
fn values_that_are_not_finite_are_pink_and_counted() {
    let mut images = ramp(1);
    let whole = png(&sheet(images.view().into_dyn(), &SheetConfig::default()).unwrap());
    images[[0, 3, 3]] = f32::NAN;
    let image = png(&sheet(images.view().into_dyn(), &SheetConfig::default()).unwrap());
    let pink = image.pixels().filter(|p| p.0[0] > 200 && p.0[1] < 150).count();
    assert_eq!(pink, 12 * 12);
    assert!(image.height() > whole.height());
}

#[test]
fn each_column_has_its_own_scale_unless_fixed() {
    let layers = [
        LayerImages::new("latent", ramp(2) * 40.0 - 20.0),
        LayerImages::new("half", ramp(2) * 0.5).with_range(0.0, 1.0),
        LayerImages::new("data", ramp(2)).with_range(0.0, 1.0),
    ];
    let config = LayersImagesConfig { scale: Some(2), ..LayersImagesConfig::default() };
    let image = png(&layers_images(&layers, &config).unwrap());
    // The rows of the last image: its lower right corner is white in the data column, and grey in the one before.
    let (left, top) = corner(&image);
    let pixel = |column: u32, y: u32, x: u32| image.get_pixel(left + 62 * column + 2 * x, top + 2 * y).0;
    assert_eq!((pixel(0, 0, 0), pixel(1, 0, 0), pixel(2, 0, 0)), ([0; 3], [0; 3], [0; 3]));
    assert_eq!((pixel(0, 27, 27), pixel(1, 27, 27), pixel(2, 27, 27)), ([255; 3], [128; 3], [255; 3]));
    assert!(pixel(2, 14, 0)[0].abs_diff(128) < 2);
    // The second row of images lies one cell lower.
    assert_eq!(image.get_pixel(left, top + 62).0, [0; 3]);
    assert_eq!(image.get_pixel(left, top + 61).0, image.get_pixel(left + 62, top + 61).0);
}

/// The first black pixel of the first image: four black in a row and four below.
fn corner(image: &image::RgbImage) -> (u32, u32) {
    let black =
        |x: u32, y: u32| (0..4).all(|d| image.get_pixel(x + d, y).0[0] < 3 && image.get_pixel(x, y + d / 2).0[0] < 3);
    (0..image.height() - 4)
        .flat_map(|y| (0..image.width() - 4).map(move |x| (x, y)))
        .find(|&(x, y)| black(x, y))
        .unwrap()
}

#[test]
fn long_names_stand_upright_and_constant_images_are_grey() {
    let layer = |name: &str| LayerImages::new(name, Array3::from_elem((1, 28, 28), 3.0));
    let short = png(&layers_images(&[layer("a"), layer("b")], &LayersImagesConfig::default()).unwrap());
    let long =
        png(&layers_images(&[layer("a"), layer("batch-normalization")], &LayersImagesConfig::default()).unwrap());
    assert!(long.height() > short.height() + 80);
    assert!(count(&short, Rgb([128; 3])) >= 2 * 56 * 56);
}

#[test]
fn layers_of_three_channels_are_colours_on_one_scale() {
    // Red rises from −2 to 2 while green and blue rest in the middle of the range.
    let mut images = Array4::zeros((1, 3, 28, 28));
    images.slice_mut(ndarray::s![0, 0, .., ..]).assign(&(ramp(1).remove_axis(ndarray::Axis(0)) * 4.0 - 2.0));
    let layer = |name: &str| LayerImages::rgb(name, images.clone()).with_range(-2.0, 2.0);
    let config = LayersImagesConfig { scale: Some(2), ..LayersImagesConfig::default() };
    let image = png(&layers_images(&[layer("hidden"), layer("data")], &config).unwrap());
    assert!(count(&image, Rgb([0, 128, 128])) >= 2 * 4, "the darkest red");
    assert!(count(&image, Rgb([255, 128, 128])) >= 2 * 4, "the lightest");
    let free = LayersImagesConfig { scale: Some(2), ..LayersImagesConfig::default() };
    let shared = png(&layers_images(&[LayerImages::rgb("hidden", images.clone())], &free).unwrap());
    assert!(count(&shared, Rgb([255, 128, 128])) > 0, "channels share the range chosen from all of them");
    images[[0, 2, 5, 5]] = f32::NAN;
    let broken = png(&layers_images(&[LayerImages::rgb("hidden", images)], &free).unwrap());
    assert_eq!(broken.pixels().filter(|p| p.0 == [226, 106, 170]).count(), 4);
}

#[test]
fn one_channel_is_grey_whichever_way_it_comes() {
    let grey = LayerImages::new("a", ramp(2));
    let same = LayerImages::rgb("a", ramp(2).insert_axis(ndarray::Axis(1)));
    assert_eq!(grey, same);
    let mixed = [grey, LayerImages::rgb("b", Array4::zeros((2, 3, 28, 28)))];
    assert!(matches!(layers_images(&mixed, &LayersImagesConfig::default()), Err(Error::Shape { .. })));
    let two = [LayerImages::rgb("b", Array4::zeros((2, 2, 28, 28)))];
    assert!(matches!(animate_images(&two, &AnimateImagesConfig::default()), Err(Error::Shape { .. })));
}

/// Layers of a multi-scale model, each image black but for the last layer's.
fn path_layers(layers: usize, n: usize) -> Vec<LayerImages> {
    let value = |k: usize| if k + 1 == layers { 0.25 } else { 0.0 };
    let name = |k: usize| format!("level_{}.step_{}.coupling", 1 + k / 8, 1 + k % 8);
    (0..layers)
        .map(|k| LayerImages::new(name(k), Array3::from_elem((n, 28, 28), value(k))).with_range(0.0, 1.0))
        .collect()
}

/// The upper left corner of the first image of the last of these layers, the only one that is this grey.
fn last_layer(image: &image::RgbImage) -> (u32, u32) {
    let grey = |x: u32, y: u32| image.get_pixel_checked(x, y).is_some_and(|p| p.0 == [64; 3]);
    let block = |x: u32, y: u32| (0..56).all(|d| grey(x + d, y) && grey(x, y + d));
    let mut places = (0..image.height()).flat_map(|y| (0..image.width()).map(move |x| (x, y)));
    places.find(|&(x, y)| block(x, y)).unwrap()
}

#[test]
fn many_layers_are_broken_into_bands_and_their_names_do_not_touch() {
    let image = png(&layers_images(&path_layers(24, 8), &LayersImagesConfig::default()).unwrap());
    assert!(image.width() < 1100, "{:?} fits a page", image.dimensions());
    // Two bands of 12: the last layer lies below the first band, right under its last column.
    let last = last_layer(&image);
    let (left, top) = corner(&image);
    assert_eq!(last.0, left + 11 * 62);
    assert!(last.1 > top + 8 * 62);
    // Between the names of neighbouring columns there is paper, in both bands.
    for base in [top, last.1] {
        for column in 0..11 {
            let between = left + column * 62 + 59;
            let free = |x: u32| (base - 60..base - 4).all(|y| image.get_pixel(x, y).0[0] > 200);
            assert!((between - 3..=between + 3).any(free), "column {column} touches the next");
        }
    }
    let six = LayersImagesConfig { columns: Some(6), ..LayersImagesConfig::default() };
    assert!(png(&layers_images(&path_layers(24, 8), &six).unwrap()).width() < 560);
    let none = LayersImagesConfig { columns: Some(0), ..LayersImagesConfig::default() };
    assert!(matches!(layers_images(&path_layers(2, 1), &none), Err(Error::Setting { .. })));
}

#[test]
fn layers_that_fit_a_page_are_one_band() {
    let image = png(&layers_images(&path_layers(16, 2), &LayersImagesConfig::default()).unwrap());
    let (left, top) = corner(&image);
    assert_eq!(last_layer(&image), (left + 15 * 62, top));
}
