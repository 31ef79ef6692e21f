//! Animations.

use flow_viz::*;
use ndarray::{Array2, Array3, Array4, array};

use crate::seen::*;

fn time(film: &[(image::RgbImage, u16)]) -> u32 {
    film.iter().map(|f| f.1 as u32).sum()
}

#[test]
fn a_point_moves_softly_from_its_birth_to_its_place() {
    let at = |x: f32| Layer2d::new(format!("x = {x}"), array![[x, 0.0]]);
    let config = Animate2dConfig {
        radius: 5.0,
        extent: Some(Extent::new((-220.0, 220.0), (-220.0, 220.0))),
        ..Animate2dConfig::default()
    };
    let film = film(&animate_2d(&[at(-100.0), at(0.0), at(100.0)], &[RED], &config).unwrap());
    let path: Vec<f32> = film.iter().map(|(image, _)| spots(image, RED)[0].0).collect();
    // One pixel a unit: from 100 left of the middle to 100 right of it.
    let middle = film[0].0.width() as f32 / 2.0;
    assert!(near(path[0], middle - 100.0, 0.6) && near(path[path.len() - 1], middle + 100.0, 0.6));
    assert!(path.windows(2).all(|w| w[1] >= w[0] - 0.3), "{path:?}");
    let steps: Vec<f32> = path.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(steps[0] < 4.0 && steps[7] > 8.0, "slow at first, fast in between: {steps:?}");
    // A pause at each of three layers, longest at the last.
    let pauses: Vec<u16> = film.iter().map(|f| f.1).filter(|&d| d >= 40).collect();
    assert_eq!(pauses.len(), 3);
    assert!(pauses[2] > pauses[0] && time(&film) <= 1200);
    assert_eq!(film[0].0.dimensions(), (464, 498));
}

#[test]
fn colours_of_birth_stay() {
    let film = film(
        &animate_2d(
            &[Layer2d::new("a", array![[-1.0, 0.0], [1.0, 0.0]]), Layer2d::new("b", array![[1.0, 0.5], [-1.0, 0.5]])],
            &[RED, BLUE],
            &Animate2dConfig { radius: 6.0, ..Animate2dConfig::default() },
        )
        .unwrap(),
    );
    for (image, _) in &film {
        assert!(!spots(image, BLUE).is_empty() && count(image, Rgb([255; 3])) > 100_000);
    }
    let (first, last) = (&film[0].0, &film[film.len() - 1].0);
    assert!(spots(first, RED)[0].0 < spots(first, BLUE)[0].0);
    assert!(spots(last, RED)[0].0 > spots(last, BLUE)[0].0);
}

#[test]
fn a_long_film_of_many_points_stays_small_and_short() {
    let latent = Array2::from_shape_vec((1500, 2), normal(3000, 1)).unwrap();
    let grid = Grid::default();
    let turn = |x: &Array2<f32>, k: usize| {
        let (s, c) = (0.4 * k as f32).sin_cos();
        x.dot(&array![[c, s], [-s, c]])
    };
    let layer = |k| Layer2d::new(format!("turn {k}"), turn(&latent, k)).with_grid(turn(&grid.points(), k));
    let layers: Vec<_> = (0..8).map(layer).collect();
    let config = Animate2dConfig { title: "Turns".into(), grid: Some(grid), ..Animate2dConfig::default() };
    let bytes = animate_2d(&layers, &angle_colors(latent.view()), &config).unwrap();
    assert!(bytes.len() < 1_500_000, "{}", bytes.len());
    let film = film(&bytes);
    assert!(time(&film) <= 1200 && film.len() > 30, "{} frames in {}", film.len(), time(&film));
}

#[test]
fn a_film_that_cannot_fit_says_so() {
    let layers = [Layer2d::new("a", array![[0.0, 0.0]]), Layer2d::new("b", array![[1.0, 1.0]])];
    let config = Animate2dConfig { max_bytes: 500, ..Animate2dConfig::default() };
    let error = animate_2d(&layers, &[RED], &config).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 500, bytes } if bytes > 500), "{error}");
    assert!(animate_2d(&layers, &[RED], &Animate2dConfig { seconds: 0.0, ..Animate2dConfig::default() }).is_err());
}

fn sheets(n: usize) -> Vec<LayerImages> {
    let noise = Array3::from_shape_vec((n, 28, 28), normal(n * 784, 4)).unwrap();
    let data = Array3::from_shape_fn((n, 28, 28), |(i, y, x)| f32::from((x + y + i) % 14 < 4));
    let between = |s: f32| &noise * (1.0 - s) * 5.0 + &data * s;
    let layer = |k: usize| LayerImages::new(format!("layer {k}"), between(k as f32 / 6.0));
    (0..6).map(layer).chain([LayerImages::new("data", data.clone()).with_range(0.0, 1.0)]).collect()
}

#[test]
fn noise_turns_into_images_within_time_and_size() {
    let layers = sheets(16);
    let bytes = animate_images(&layers, &AnimateImagesConfig::default()).unwrap();
    assert!(bytes.len() < 1_500_000, "{}", bytes.len());
    let film = film(&bytes);
    assert!(time(&film) <= 1200);
    // 4 x 4 images of 28 values, 3 pixels each, 4 pixels apart.
    let (last, _) = film.last().unwrap();
    assert_eq!(last.width(), 4 * 84 + 3 * 4 + 24);
    let pixel = |x: u32, y: u32| last.get_pixel(12 + 3 * x + 1, 46 + 3 * y + 1).0;
    for (x, y) in [(0, 0), (3, 0), (4, 0), (10, 0), (0, 13), (0, 14), (27, 27)] {
        let white = layers[6].images[[0, 0, y, x]] > 0.5;
        let seen = pixel(x as u32, y as u32);
        assert_eq!(seen[0] > 200, white, "{x} {y}: {seen:?}");
        assert!(white || seen[0] < 50);
    }
}

#[test]
fn a_film_of_many_layers_stays_small_and_short() {
    // The worst there is: every value of every layer is new.
    let noise = |k: usize| Array3::from_shape_vec((16, 28, 28), normal(16 * 784, 10 + k as u64)).unwrap();
    let name = |k: usize| format!("level_{}.step_{}.coupling", 1 + k / 8, 1 + k % 8);
    let layers: Vec<_> = (0..24).map(|k| LayerImages::new(name(k), noise(k))).collect();
    let bytes = animate_images(&layers, &AnimateImagesConfig::default()).unwrap();
    assert!(bytes.len() < 1_500_000, "{}", bytes.len());
    let film = film(&bytes);
    assert!((1000..=1200).contains(&time(&film)), "{}", time(&film));
    assert!(film.len() > 24, "it moves between layers");
}

#[test]
fn noise_turns_into_colours() {
    let noise = Array4::from_shape_vec((4, 3, 32, 32), normal(4 * 3 * 1024, 5)).unwrap();
    let mut data = Array4::zeros((4, 3, 32, 32));
    data.slice_mut(ndarray::s![.., 0, .., ..16]).fill(1.0);
    data.slice_mut(ndarray::s![.., 2, .., 16..]).fill(1.0);
    let layers = [LayerImages::rgb("latent", noise), LayerImages::rgb("data", data).with_range(0.0, 1.0)];
    let film = film(&animate_images(&layers, &AnimateImagesConfig::default()).unwrap());
    let of = |i: usize, seen: &dyn Fn([u8; 3]) -> bool| film[i].0.pixels().filter(|p| seen(p.0)).count();
    let about = |wanted: [u8; 3]| move |p: [u8; 3]| (0..3).all(|c| p[c].abs_diff(wanted[c]) < 20);
    let (last, half) = (film.len() - 1, 4 * 32 * 16 * 36);
    assert_eq!((of(last, &about([255, 0, 0])), of(last, &about([0, 0, 255]))), (half, half));
    let colourful = of(0, &|p| p.iter().max().unwrap() - p.iter().min().unwrap() > 60);
    assert!(colourful > half, "noise in three channels is colourful: {colourful}");
}

#[test]
fn a_film_too_large_gets_smaller_images_unless_their_scale_is_fixed() {
    let layers = sheets(4);
    let config = AnimateImagesConfig { max_bytes: 60_000, ..AnimateImagesConfig::default() };
    let small = animate_images(&layers, &config).unwrap();
    assert!(small.len() <= 60_000);
    let width = film(&animate_images(&layers, &AnimateImagesConfig::default()).unwrap())[0].0.width();
    assert!(film(&small)[0].0.width() < width);
    let fixed = AnimateImagesConfig { scale: Some(7), ..config };
    assert!(matches!(animate_images(&layers, &fixed), Err(Error::TooLarge { limit: 60_000, .. })));
}

#[test]
fn greys_are_spread_in_every_frame() {
    let film = film(&animate_images(&sheets(4), &AnimateImagesConfig::default()).unwrap());
    for (i, (image, _)) in film.iter().enumerate() {
        let inside = |f: &dyn Fn(u8) -> bool| {
            image.enumerate_pixels().filter(|(x, y, p)| *x > 20 && *x < 300 && *y > 60 && *y < 300 && f(p.0[0])).count()
        };
        let (dark, light) = (inside(&|v| v < 90), inside(&|v| v > 165));
        assert!(dark > 2000 && light > 2000, "frame {i} is washed out: {dark} dark, {light} light");
    }
}

#[test]
fn films_are_the_same_every_time() {
    let draw = || animate_images(&sheets(4), &AnimateImagesConfig::default()).unwrap();
    assert_eq!(draw(), draw());
}
