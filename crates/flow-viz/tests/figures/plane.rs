//! Panels of the plane.

use flow_viz::*;
use ndarray::{Array2, array};

use crate::seen::*;

/// A square of 220 units shown in panels of 220 pixels: one unit is one pixel.
fn unit_pixels() -> Layers2dConfig {
    Layers2dConfig {
        radius: 4.0,
        extent: Some(Extent::new((0.0, 220.0), (0.0, 220.0))),
        color_note: String::new(),
        ..Layers2dConfig::default()
    }
}

#[test]
fn points_are_where_they_should_be_in_their_own_colour() {
    let layers = [
        Layer2d::new("a", array![[50.0, 50.0], [150.0, 120.0]]),
        Layer2d::new("b", array![[50.0, 80.0], [170.0, 120.0]]),
    ];
    let image = png(&layers_2d(&layers, &[RED, BLUE], &unit_pixels()).unwrap());
    let (red, blue) = (spots(&image, RED), spots(&image, BLUE));
    assert_eq!((red.len(), blue.len()), (2, 2));
    // In a panel: to the right and upwards, at equal scale.
    assert!(near(blue[0].0 - red[0].0, 100.0, 0.3) && near(red[0].1 - blue[0].1, 70.0, 0.3));
    // From panel to panel: the layer's own movement, beside the distance of the panels.
    let panel = 236.0;
    assert!(near(red[1].0 - red[0].0, panel, 0.3) && near(red[0].1 - red[1].1, 30.0, 0.3));
    assert!(near(blue[1].0 - blue[0].0, panel + 20.0, 0.3) && near(blue[0].1, blue[1].1, 0.3));
    let (x, y) = red[0];
    assert_eq!(image.get_pixel(x as u32, y as u32).0, RED.0);
}

#[test]
fn the_same_data_gives_the_same_pixels_in_every_panel() {
    let points = Array2::from_shape_vec((500, 2), normal(1000, 3)).unwrap();
    let colors = angle_colors(points.view());
    let layers = ["one", "two", "one"].map(|name| Layer2d::new(name, points.clone()));
    let config = Layers2dConfig { columns: Some(1), color_note: String::new(), ..Layers2dConfig::default() };
    let image = png(&layers_2d(&layers, &colors, &config).unwrap());
    // One below the other: everything repeats after a row, but for what stands below the last one.
    let row = 264;
    for y in 20..row * 2 - 20 {
        if (40..260).contains(&(y % row)) {
            for x in 80..image.width() {
                assert_eq!(image.get_pixel(x, y), image.get_pixel(x, y + row), "{x} {y}");
            }
        }
    }
}

#[test]
fn limits_are_shared_and_robust() {
    let near_points = array![[-1.0, -1.0], [1.0, 1.0]];
    let layers = [Layer2d::new("near", near_points.clone()), Layer2d::new("far", 100.0 * &near_points)];
    let image = png(&layers_2d(&layers, &[RED, BLUE], &Layers2dConfig::default()).unwrap());
    let wide = spots(&image, BLUE);
    assert_eq!(wide.len(), 2, "{wide:?}");
    // 99 units across the panel of some 232: the near layer is small in the middle of its panel.
    assert!(near(wide[1].0 - wide[0].0, 236.0 + 99.0 * 220.0 / 232.0, 3.0), "{wide:?}");

    // One point in a thousand flies off: the picture stays.
    let mut points = Array2::from_shape_vec((1000, 2), normal(2000, 5)).unwrap();
    points[[0, 0]] = 1e30;
    points[[1, 1]] = f32::NEG_INFINITY;
    let colors = vec![RED; 1000];
    let image = png(&layers_2d(&[Layer2d::new("x", points)], &colors, &Layers2dConfig::default()).unwrap());
    assert!(count(&image, RED) > 1500, "{}", count(&image, RED));
}

#[test]
fn points_that_are_not_finite_are_left_out_and_counted() {
    let layers = [
        Layer2d::new("whole", array![[50.0, 50.0], [150.0, 120.0]]),
        Layer2d::new("broken", array![[f32::NAN, 50.0], [150.0, 120.0]]),
    ];
    let image = png(&layers_2d(&layers, &[RED, BLUE], &unit_pixels()).unwrap());
    assert_eq!((spots(&image, RED).len(), spots(&image, BLUE).len()), (1, 2));
    let whole = [layers[0].clone(), layers[0].clone()];
    let without = png(&layers_2d(&whole, &[RED, BLUE], &unit_pixels()).unwrap());
    let note = |image: &image::RgbImage| {
        let foot = image.height() - 40;
        image.enumerate_pixels().filter(|(_, y, p)| *y > foot && p.0 != [255; 3]).count()
    };
    assert!(note(&image) > note(&without) + 100, "the note says how many are missing");
}

#[test]
fn panels_wrap_into_rows_and_carry_a_bent_grid() {
    let grid = Grid { extent: 1.0, lines: 3, points_per_line: 2 };
    let points = array![[0.5, 0.5]];
    let layer = |i: usize| Layer2d::new(format!("layer {i}"), points.clone()).with_grid(grid.points());
    let layers: Vec<_> = (0..9).map(layer).collect();
    let extent = Some(Extent::new((-2.0, 2.0), (-2.0, 2.0)));
    let with = Layers2dConfig { grid: Some(grid), extent, ..Layers2dConfig::default() };
    let without = Layers2dConfig { grid: None, ..with.clone() };
    let with = png(&layers_2d(&layers, &[RED], &with).unwrap());
    let without = png(&layers_2d(&layers, &[RED], &without).unwrap());
    assert!(with.width() < 900 && with.height() > 3 * 260, "{:?}", with.dimensions());
    // Six lines of 110 pixels in each panel.
    let changed = with.pixels().zip(without.pixels()).filter(|(a, b)| a != b).count();
    assert!((9 * 500..9 * 1400).contains(&changed), "{changed}");
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let points = Array2::from_shape_vec((300, 2), normal(600, 8)).unwrap();
    let draw = || {
        let layers = [Layer2d::new("a", points.clone()), Layer2d::new("b", 0.5 * &points)];
        layers_2d(&layers, &angle_colors(points.view()), &Layers2dConfig::default()).unwrap()
    };
    assert_eq!(draw(), draw());
}
