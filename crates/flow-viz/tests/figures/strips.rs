//! Films of images that change from frame to frame.

use flow_viz::*;
use ndarray::{Array3, Array4, ArrayD};

use crate::seen::*;

/// `n` frames of `k` images that rise from black to white.
fn rising(n: usize, k: usize) -> Vec<ArrayD<f32>> {
    let last = (n - 1).max(1) as f32;
    (0..n).map(|i| Array3::from_elem((k, 28, 28), i as f32 / last).into_dyn()).collect()
}

#[test]
fn the_film_runs_forth_and_back_and_rests_at_both_ends() {
    let film = film(&animate_strip(&rising(9, 3), &AnimateStripConfig::default()).unwrap());
    assert_eq!(film.len(), 16);
    // The middle of the second image: 3 images of 28 values, 8 pixels each, 4 pixels apart.
    let (width, height) = film[0].0.dimensions();
    assert_eq!((width, height), (3 * 224 + 8 + 24, 224 + 46 + 12));
    let grey: Vec<u8> = film.iter().map(|(image, _)| image.get_pixel(width / 2, 46 + 112).0[0]).collect();
    assert!(grey[..9].windows(2).all(|w| w[0] < w[1]), "{grey:?}");
    assert!(grey[8..].windows(2).all(|w| w[0] > w[1]), "{grey:?}");
    assert!(grey[0] < 8 && grey[8] > 247, "black and white are those of the range: {grey:?}");
    let rests: Vec<usize> = (0..16).filter(|&i| film[i].1 > 40).collect();
    assert_eq!(rests, [0, 8]);
    // The bar over the images is as full as the film is far.
    let full = |image: &image::RgbImage| (12..width - 12).filter(|&x| image.get_pixel(x, 39).0[0] < 150).count();
    assert!(full(&film[0].0) == 0 && full(&film[4].0).abs_diff(340) < 4 && full(&film[8].0) == 680);
}

#[test]
fn a_film_may_start_again_at_once_and_name_its_frames() {
    let config = AnimateStripConfig {
        back: false,
        names: ["one", "two", "three"].map(String::from).to_vec(),
        ..AnimateStripConfig::default()
    };
    let film = film(&animate_strip(&rising(3, 2), &config).unwrap());
    assert_eq!(film.len(), 3);
    let ink = |i: usize| film[i].0.enumerate_pixels().filter(|(_, y, p)| *y < 36 && p.0[0] < 128).count();
    assert!(ink(0) > 20 && ink(2) > ink(0), "the names are written: {} {}", ink(0), ink(2));
}

#[test]
fn eight_digits_in_thirty_frames_are_a_small_film() {
    // The worst there is: every value of every frame is new.
    let noise = |i: usize| normal(8 * 784, 30 + i as u64).into_iter().map(|z| 0.5 + 0.2 * z).collect();
    let frames: Vec<_> = (0..30).map(|i| Array3::from_shape_vec((8, 28, 28), noise(i)).unwrap().into_dyn()).collect();
    let bytes = animate_strip(&frames, &AnimateStripConfig::default()).unwrap();
    assert!(bytes.len() < 1_500_000, "{}", bytes.len());
    let time: u32 = film(&bytes).iter().map(|f| f.1 as u32).sum();
    assert!((400..=1200).contains(&time), "{time}");
}

#[test]
fn more_columns_than_images_make_no_image_smaller() {
    let draw = |columns| {
        animate_strip(&rising(2, 3), &AnimateStripConfig { columns: Some(columns), ..AnimateStripConfig::default() })
    };
    assert_eq!(draw(100).unwrap(), draw(3).unwrap());
}

#[test]
fn colours_stay_colours() {
    let red = |share: f32| {
        let mut images = Array4::zeros((2, 3, 8, 8));
        images.slice_mut(ndarray::s![.., 0, .., ..]).fill(share);
        images.slice_mut(ndarray::s![1, 2, 0, 0]).fill(f32::NAN);
        images.into_dyn()
    };
    let film = film(&animate_strip(&[red(0.0), red(0.5), red(1.0)], &AnimateStripConfig::default()).unwrap());
    let last = &film[2].0;
    // A narrow sheet stands in the middle of the line.
    let pixel = last.get_pixel(last.width() / 2 - 50, 46 + 50).0;
    assert!(pixel[0] > 240 && pixel[1] < 12 && pixel[2] < 12, "{pixel:?}");
    let pink = last.pixels().filter(|p| p.0[0] > 200 && (80..150).contains(&p.0[1])).count();
    assert!(pink >= 12 * 12, "the missing value is pink: {pink}");
}

#[test]
fn strips_that_cannot_be_drawn() {
    let plainly = AnimateStripConfig::default;
    let draw = |frames: &[ArrayD<f32>], config: AnimateStripConfig| animate_strip(frames, &config);
    assert!(matches!(draw(&[], plainly()), Err(Error::Empty { .. })));
    assert!(matches!(draw(&rising(2, 0), plainly()), Err(Error::Empty { .. })));
    let ragged: Vec<_> = rising(2, 2).into_iter().chain(rising(1, 3)).collect();
    let error = draw(&ragged, plainly()).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }) && error.to_string().starts_with("frame 2"), "{error}");
    assert!(matches!(
        draw(&[Array3::from_elem((1, 4, 4), f32::NAN).into_dyn()], plainly()),
        Err(Error::NotFinite { .. })
    ));
    let names = AnimateStripConfig { names: vec!["one".into()], ..plainly() };
    assert!(matches!(draw(&rising(2, 2), names), Err(Error::Shape { .. })));
    for config in [
        AnimateStripConfig { columns: Some(0), ..plainly() },
        AnimateStripConfig { scale: Some(0), ..plainly() },
        AnimateStripConfig { range: (1.0, 0.0), ..plainly() },
        AnimateStripConfig { seconds: f32::NAN, ..plainly() },
        AnimateStripConfig { seconds: 0.01, ..plainly() },
    ] {
        assert!(matches!(draw(&rising(3, 2), config), Err(Error::Setting { .. })));
    }
    let tiny = AnimateStripConfig { max_bytes: 100, ..plainly() };
    assert!(matches!(draw(&rising(3, 2), tiny), Err(Error::TooLarge { limit: 100, .. })));
}
