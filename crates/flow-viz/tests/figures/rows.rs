//! Labelled rows of images.

use flow_viz::*;
use image::RgbImage;
use ndarray::{Array3, Array4};

use crate::seen::*;

fn plain(n: usize, value: f32) -> Array3<f32> {
    Array3::from_elem((n, 10, 10), value)
}

/// Upper left and lower right corner of all pixels of a colour.
fn bounds(image: &RgbImage, color: Rgb) -> ((u32, u32), (u32, u32)) {
    let hits: Vec<_> = image.enumerate_pixels().filter(|(_, _, p)| p.0 == color.0).map(|(x, y, _)| (x, y)).collect();
    let (xs, ys) = (hits.iter().map(|h| h.0), hits.iter().map(|h| h.1));
    ((xs.clone().min().unwrap(), ys.clone().min().unwrap()), (xs.max().unwrap(), ys.max().unwrap()))
}

#[test]
fn rows_lie_below_each_other_with_their_labels_at_the_left() {
    let rows = [ImageRow::new("T = 0.7", plain(4, 0.0)), ImageRow::new("T = 1", plain(4, 0.25))];
    let config = ImageRowsConfig { scale: Some(3), ..ImageRowsConfig::default() };
    let image = png(&image_rows(&rows, &config).unwrap());
    let ((left, top), (right, bottom)) = bounds(&image, Rgb([0; 3]));
    assert_eq!(count(&image, Rgb([0; 3])), 4 * 30 * 30, "four black images of 30 x 30");
    assert_eq!((right - left + 1, bottom - top + 1), (4 * 34 - 4, 30));
    let ((left2, top2), _) = bounds(&image, Rgb([64; 3]));
    assert_eq!((left2, top2), (left, top + 34));
    // Ink left of both rows, and none right of the images.
    for y in [top, top2] {
        let ink = (0..left - 4).flat_map(|x| (y..y + 30).map(move |y| (x, y)));
        assert!(ink.filter(|&(x, y)| image.get_pixel(x, y).0[0] < 128).count() > 20);
    }
    assert!(image.width() - right < 20);
}

#[test]
fn columns_have_labels_and_a_name_above() {
    let rows = [ImageRow::new("a", plain(3, 0.0))];
    let columns = ["−1", "0", "1"].map(String::from).to_vec();
    let bare = png(&image_rows(&rows, &ImageRowsConfig::default()).unwrap());
    let named = ImageRowsConfig { columns: columns.clone(), columns_name: "strength".into(), ..Default::default() };
    let named = png(&image_rows(&rows, &named).unwrap());
    assert!(named.height() >= bare.height() + 38);
    let ((left, top), _) = bounds(&named, Rgb([0; 3]));
    for column in 0..3 {
        // A label over the middle of each image, 10 values of 12 pixels wide.
        let middle = left + column * 124 + 60;
        let ink = (top - 20..top).flat_map(|y| (middle - 12..middle + 12).map(move |x| (x, y)));
        assert!(ink.filter(|&(x, y)| named.get_pixel(x, y).0[0] < 128).count() > 5, "column {column}");
    }
    let long: Vec<_> = columns.iter().map(|c| format!("strength-of-everything {c}")).collect();
    let long = ImageRowsConfig { columns: long, ..ImageRowsConfig::default() };
    let upright = png(&image_rows(&[ImageRow::new("a", plain(3, 0.0))], &long).unwrap());
    assert!(upright.height() > bare.height() + 100, "long labels stand upright");
}

fn threefold() -> ImageRowsConfig {
    ImageRowsConfig { scale: Some(3), ..ImageRowsConfig::default() }
}

#[test]
fn frames_are_round_the_cells_they_are_asked_for() {
    let rows = [ImageRow::new("a", plain(5, 0.5)).with_framed([0, 4]), ImageRow::new("b", plain(5, 0.5))];
    let config = ImageRowsConfig { scale: Some(4), frame_color: BLUE, ..ImageRowsConfig::default() };
    let image = png(&image_rows(&rows, &config).unwrap());
    assert_eq!(count(&image, BLUE), 2 * (44 * 44 - 40 * 40), "two frames, two pixels wide");
    assert_eq!(count(&image, Rgb([128; 3])), 10 * 40 * 40, "no image is covered");
    assert_eq!(spots(&image, BLUE).len(), 2);
    let noted = ImageRowsConfig { frame_note: "real".into(), ..config };
    assert_eq!(spots(&png(&image_rows(&rows, &noted).unwrap()), BLUE).len(), 3);
}

#[test]
fn three_channels_are_colours_and_values_beyond_the_range_are_cut() {
    let mut images = Array4::zeros((1, 3, 4, 4));
    images.slice_mut(ndarray::s![0, 0, .., ..]).fill(7.0);
    images.slice_mut(ndarray::s![0, 1, .., ..]).fill(-7.0);
    let config = ImageRowsConfig { scale: Some(10), ..ImageRowsConfig::default() };
    let image = png(&image_rows(&[ImageRow::new("red", images)], &config).unwrap());
    assert_eq!(count(&image, Rgb([255, 0, 0])), 40 * 40);
}

#[test]
fn a_value_that_is_not_finite_is_pink_and_said() {
    let mut images = plain(2, 0.5);
    let whole = png(&image_rows(&[ImageRow::new("a", images.clone())], &threefold()).unwrap());
    images[[1, 2, 3]] = f32::NAN;
    let image = png(&image_rows(&[ImageRow::new("a", images)], &threefold()).unwrap());
    assert_eq!(image.pixels().filter(|p| p.0[0] > 200 && p.0[1] < 150).count(), 3 * 3);
    assert!(image.height() > whole.height());
}

#[test]
fn rows_that_cannot_be_drawn() {
    let row = |n: usize| ImageRow::new("a", plain(n, 0.0));
    let draw = |rows: &[ImageRow], config: ImageRowsConfig| image_rows(rows, &config);
    let plainly = ImageRowsConfig::default;
    assert!(matches!(draw(&[], plainly()), Err(Error::Empty { .. })));
    assert!(matches!(draw(&[row(0)], plainly()), Err(Error::Empty { .. })));
    let error = draw(&[row(3), row(2)], plainly()).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    assert!(error.to_string().contains("[2, 1, 10, 10]"), "{error}");
    let two_channels = ImageRow::new("a", Array4::zeros((1, 2, 4, 4)));
    assert!(matches!(draw(&[two_channels], plainly()), Err(Error::Shape { .. })));
    let labels = ImageRowsConfig { columns: vec!["one".into()], ..plainly() };
    assert!(matches!(draw(&[row(3)], labels), Err(Error::Shape { .. })));
    assert!(matches!(draw(&[ImageRow::new("a", plain(2, f32::NAN))], plainly()), Err(Error::NotFinite { .. })));
    assert!(matches!(draw(&[row(3).with_framed([3])], plainly()), Err(Error::Setting { .. })));
    for config in [
        ImageRowsConfig { range: (1.0, 0.0), ..plainly() },
        ImageRowsConfig { scale: Some(0), ..plainly() },
        ImageRowsConfig { scale: Some(64), ..plainly() },
    ] {
        assert!(matches!(draw(&[row(40)], config), Err(Error::Setting { .. })));
    }
}
