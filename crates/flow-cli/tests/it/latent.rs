//! What is done to latents: sheets, ways between images, attributes, levels. Pictures are read back.

use std::fs;

use crate::common::{Place, SMALL, png_size};
use flow_data::{LoadOptions, Spec, Split, Values, load};
use image::{Rgb, RgbImage};

/// The frame of a test image in a figure, and the room that images leave each other for frames.
const FRAME: Rgb<u8> = Rgb([226, 92, 18]);
const GAP: u32 = 4;

fn digits() -> Split {
    load(&Spec::Digits, &LoadOptions::default()).unwrap().test
}

/// What is shown as digit `index`: levels at the middle of their cells, in grey.
fn greys(test: &Split, index: usize) -> Vec<f32> {
    let values = test.values();
    let Values::Levels { data, .. } = &*values else { panic!("digits are levels") };
    data.row(index).iter().map(|&k| (f32::from(k) + 0.5) / 17.0 * 255.0).collect()
}

fn open(place: &Place, name: &str) -> RgbImage {
    image::open(place.path(name)).unwrap().into_rgb8()
}

/// Corner and side of the framed images, in reading order; the sample of a frame in the legend is smaller.
fn framed(picture: &RgbImage) -> Vec<(u32, u32, u32)> {
    let is = |x: u32, y: u32| x < picture.width() && y < picture.height() && *picture.get_pixel(x, y) == FRAME;
    let corner = |x: u32, y: u32| {
        // The outer corner of a frame two pixels wide: frames of neighbours touch, so both sides are looked at inside.
        is(x, y) && is(x + 1, y + 1) && !is(x + 2, y + 2) && is(x + 2, y + 1) && is(x + 1, y + 2)
    };
    let mut found = Vec::new();
    for y in 0..picture.height() {
        for x in 0..picture.width() {
            if corner(x, y) {
                let side = (2..).take_while(|d| !is(x + d, y + 2) && x + d < picture.width()).count() as u32;
                if side >= 32 && side.is_multiple_of(8) && is(x + 2 + side, y + 2) {
                    found.push((x + 2, y + 2, side));
                }
            }
        }
    }
    found
}

/// The 8 x 8 values of the image whose corner is at `(x, y)`.
fn values((x, y, side): (u32, u32, u32), picture: &RgbImage) -> Vec<f32> {
    let (scale, at) = (side / 8, |i: u32| i * (side / 8) + side / 16);
    assert!(scale > 1);
    (0..64).map(|i| f32::from(picture.get_pixel(x + at(i % 8), y + at(i / 8)).0[0])).collect()
}

fn assert_close(a: &[f32], b: &[f32], what: &str) {
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 2.0, "{what}: off by {off} of 255");
}

#[test]
fn an_interpolation_begins_and_ends_with_the_images() {
    let (place, test) = (Place::with_glow(), digits());
    place.flow("interpolate run --from 3 --to 18 --from 200 --to 5 --steps 6 --out way.png --threads 1");
    let picture = open(&place, "way.png");
    let ends = framed(&picture);
    assert_eq!(ends.len(), 4);
    for (end, index) in ends.iter().zip([3, 18, 200, 5]) {
        assert_close(&values(*end, &picture), &greys(&test, index), &format!("image {index}"));
    }
    // Six images from end to end.
    let pitch = ends[0].2 + GAP;
    assert_eq!(ends[1].0 - ends[0].0, 5 * pitch);
    let (x, y, side) = ends[0];
    let middle = values((x + 2 * pitch, y, side), &picture);
    assert!(middle.iter().zip(greys(&test, 3)).any(|(a, b)| (a - b).abs() > 20.0), "the way leads somewhere");
}

#[test]
fn pairs_are_drawn_by_the_seed() {
    let place = Place::with_glow();
    let pairs = |flags: &str, name: &str| {
        place.flow(&format!("interpolate run --pairs 3 --steps 4 {flags} --out {name} --threads 1"));
        fs::read(place.path(name)).unwrap()
    };
    let first = pairs("", "a.png");
    assert_eq!(framed(&open(&place, "a.png")).len(), 6);
    assert_eq!(first, pairs("", "b.png"));
    assert_ne!(first, pairs("--seed 1", "c.png"));
    assert!(pairs("", "film.gif").starts_with(b"GIF89a"));
}

#[test]
fn a_sheet_has_a_row_a_temperature_or_a_class() {
    let place = Place::with_glow();
    let height = |flags: &str| {
        place.flow(&format!("sheet run {flags} -n 4 --out sheet.png --threads 1"));
        png_size(&place.path("sheet.png")).1
    };
    let (two, four) = (height("temperature --temperatures 0,1"), height("temperature --temperatures 0,0.5,0.8,1"));
    let pitch = (four - two) / 2;
    assert!(pitch > 32 && (four - two) % 2 == 0);
    let (default, one) = (height("temperature"), height("temperature --temperatures 0 --class 3"));
    assert_eq!(default - four, 4 * pitch);
    // Ten classes; no columns are named, as in a sheet of one class.
    assert_eq!(height("classes --temperature 0.7") - one, 9 * pitch);
}

#[test]
fn an_attribute_leaves_the_image_in_the_middle() {
    let (place, test) = (Place::with_glow(), digits());
    place.flow("attribute run --from-class 4 --to-class 9 -n 3 --steps 5 --out a.png --threads 1");
    let fours = test.labels.iter().flatten().enumerate().filter(|(_, label)| **label == 4).map(|(i, _)| i);
    let picture = open(&place, "a.png");
    let middles = framed(&picture);
    assert_eq!(middles.len(), 3);
    for (middle, index) in middles.iter().zip(fours) {
        assert_close(&values(*middle, &picture), &greys(&test, index), &format!("image {index}"));
    }
    // A model without classes has labels to look at all the same.
    place.train("realnvp", "digits", "plain");
    place.flow("attribute plain --from-class 0 --to-class 1 --strength 2 --out b.png");
    assert_eq!(framed(&open(&place, "b.png")).len(), 6);
}

#[test]
fn all_levels_kept_are_the_image_and_none_kept_is_not() {
    let (place, test) = (Place::with_glow(), digits());
    let picture = |flags: &str| {
        place.flow(&format!("resample run -n 3 {flags} --out r.png --threads 1"));
        open(&place, "r.png")
    };
    let kept = picture("--keep-levels 2 --draws 2");
    let images = framed(&kept);
    assert_eq!(images.len(), 3);
    for (index, &(x, y, side)) in images.iter().enumerate() {
        let grey = greys(&test, index);
        assert_close(&values((x, y, side), &kept), &grey, "the image");
        assert_close(&values((x, y + 2 * (side + GAP), side), &kept), &grey, "its second copy");
    }
    // The image, one of two levels kept, none kept.
    let each = picture("");
    let &(x, y, side) = &framed(&each)[0];
    assert_eq!(each.height() - y, 3 * (side + GAP) - GAP + (kept.height() - y) - (3 * (side + GAP) - GAP));
    let (one, none) = (values((x, y + side + GAP, side), &each), values((x, y + 2 * (side + GAP), side), &each));
    assert_ne!(one, none);
}

#[test]
fn what_cannot_be_done_is_said() {
    let place = Place::with_glow();
    let fails = |line: &str, code: i32| place.fails(&format!("{line} --out x.png"), code);
    assert!(fails("interpolate run --from 250 --to 1", 1).contains("0 to 249"));
    assert!(fails("interpolate run --from -1 --to 2", 2).contains("--from"));
    assert!(fails("interpolate run --from 1", 2).contains("--to"));
    assert!(fails("interpolate run --from 1 --from 2 --to 3", 2).contains("--to"));
    assert!(fails("interpolate run --from 1 --to 2 --pairs 3", 2).contains("--pairs"));
    assert!(fails("interpolate run --steps 1", 2).contains("--steps"));
    assert!(fails("attribute run --from-class 3 --to-class 3", 2).contains("both 3"));
    assert!(fails("attribute run --from-class 3 --to-class 12", 1).contains("--to-class 12"));
    assert!(fails("attribute run --from-class 3 --to-class 4 --steps 4", 2).contains("odd"));
    assert!(fails("resample run --keep-levels 3", 1).contains("2 levels"));
    assert!(fails("sheet run", 2).contains("<KIND>"));
    assert!(fails("sheet run temperature --temperatures 0,-1", 2).contains("temperature"));
    assert!(fails("sheet run temperature -n 1000 --temperatures 0,1,2,3,4,5,6,7,8,9,10", 1).contains("10000"));
    assert!(place.fails("interpolate run --out x.jpg", 1).contains(".png or .gif"));

    place.flow(&format!("train nice --data digits --out flat {SMALL}"));
    assert!(fails("resample flat", 1).contains("one level"));
    place.flow(&format!("train nice --data moons --out plane {SMALL}"));
    for line in ["interpolate plane", "resample plane", "sheet plane temperature", "score plane"] {
        assert!(fails(line, 1).contains("models of images"), "{line}");
    }
    assert!(!place.path("x.png").exists());
}
