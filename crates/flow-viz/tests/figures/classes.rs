//! Confusion matrices.

use flow_viz::*;
use image::RgbImage;
use ndarray::{Array2, array};

use crate::seen::*;

const FULL: Rgb = Rgb([12, 62, 128]);

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| i.to_string()).collect()
}

fn draw(counts: &Array2<u64>) -> RgbImage {
    png(&confusion(counts.view(), &names(counts.nrows()), &ConfusionConfig::default()).unwrap())
}

/// Where the table is: the first pixel of its full cell, which must be that of class 0.
fn table(image: &RgbImage) -> (u32, u32) {
    let full = |x: u32, y: u32| (0..8).all(|d| image.get_pixel(x + d, y).0 == FULL.0);
    let mut places = (0..image.height()).flat_map(|y| (0..image.width() - 8).map(move |x| (x, y)));
    places.find(|&(x, y)| full(x, y)).unwrap()
}

#[test]
fn a_cell_is_as_dark_as_its_share_of_the_row() {
    // Rows of very different sizes, the same shares in the last two.
    let image = draw(&array![[7, 0, 0], [0, 2, 2], [500, 0, 500]]);
    let (x, y) = table(&image);
    // A corner of each cell, away from its count; cells are 40 pixels apart.
    let cell = |row: u32, column: u32| image.get_pixel(x + 40 * column + 3, y + 40 * row + 3).0;
    assert_eq!((cell(0, 0), cell(0, 1), cell(0, 2)), (FULL.0, [255; 3], [255; 3]));
    assert_eq!(cell(1, 1), cell(1, 2));
    assert_eq!(cell(1, 1), cell(2, 0));
    assert!(cell(1, 1)[0] > FULL.0[0] + 40 && cell(1, 1)[0] < 200, "{:?}", cell(1, 1));
}

#[test]
fn counts_are_read_on_any_shade() {
    let image = draw(&array![[100, 0], [3, 97]]);
    let (x, y) = table(&image);
    let has = |row: u32, column: u32, seen: &dyn Fn(u8) -> bool| {
        let corner = (x + 40 * column, y + 40 * row);
        let pixels = (2..37).flat_map(|dy| (2..37).map(move |dx| (dx, dy)));
        pixels.filter(|(dx, dy)| seen(image.get_pixel(corner.0 + dx, corner.1 + dy).0[0])).count()
    };
    assert!(has(0, 0, &|v| v > 220) > 15, "paper on the dark diagonal");
    assert!(has(1, 0, &|v| v < 80) > 8, "ink on the light cells");
}

#[test]
fn the_table_grows_with_its_counts_and_its_classes() {
    let small = draw(&array![[1, 0], [0, 1]]);
    let large = draw(&array![[1_000_000, 0], [0, 1]]);
    assert!(large.height() > small.height() + 40);
    let many = draw(&Array2::from_diag_elem(30, 5));
    assert!(many.width() > 30 * 40 && many.height() > 30 * 40);
    let bare = ConfusionConfig { rows_name: String::new(), columns_name: String::new(), ..Default::default() };
    let bare = png(&confusion(array![[1, 0], [0, 1]].view(), &names(2), &bare).unwrap());
    assert!(bare.height() < small.height());
    let again = || confusion(array![[1, 0], [0, 1]].view(), &names(2), &ConfusionConfig::default()).unwrap();
    assert_eq!(again(), again());
}

#[test]
fn tables_that_cannot_be_drawn() {
    let try_on = |counts: Array2<u64>, n: usize| confusion(counts.view(), &names(n), &ConfusionConfig::default());
    assert!(matches!(try_on(Array2::zeros((0, 0)), 0), Err(Error::Empty { .. })));
    assert!(matches!(try_on(Array2::zeros((3, 3)), 3), Err(Error::Empty { .. })));
    assert!(matches!(try_on(Array2::ones((3, 2)), 3), Err(Error::Shape { .. })));
    assert!(matches!(try_on(Array2::ones((3, 3)), 2), Err(Error::Shape { .. })));
    assert!(matches!(try_on(Array2::ones((201, 201)), 201), Err(Error::Setting { .. })));
    assert!(try_on(Array2::from_elem((2, 2), u64::MAX), 2).is_ok(), "no sum overflows");
}
