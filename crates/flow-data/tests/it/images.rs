//! Folders of images: which pixel goes where, and every way a file can be wrong.

use std::{fs, io::Cursor, path::Path};

use flate2::Crc;
use flow_data::{DataSet, Error, ImageOptions, LoadOptions, Preprocessing, Spec, load};
use image::{DynamicImage, ImageEncoder, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba, codecs::jpeg::JpegEncoder};
use tempfile::TempDir;

use crate::{level_rows, splits};

fn options(size: usize) -> LoadOptions {
    LoadOptions { image: ImageOptions { size: Some(size), bits: None }, ..LoadOptions::default() }
}

fn read(folder: &Path, size: usize) -> Result<DataSet, Error> {
    load(&Spec::Images(folder.to_owned()), &options(size))
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    encode(image, ImageFormat::Png)
}

/// A grey picture of one value.
fn plain(level: u8) -> Vec<u8> {
    png(image::GrayImage::from_pixel(4, 4, Luma([level])))
}

/// A folder of ten copies of a file, the fewest that can be split.
fn ten(bytes: &[u8], ending: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    (0..10).for_each(|i| write(folder.path(), &format!("{i}.{ending}"), bytes));
    folder
}

/// The one row that ten copies give, and its channels.
fn row(bytes: &[u8], ending: &str, size: usize) -> (Vec<u8>, usize) {
    let data = read(ten(bytes, ending).path(), size).unwrap();
    assert_eq!(data.notes, [""; 0]);
    let (rows, levels) = level_rows(&data);
    assert!(levels == 256 && rows.len() == 10 && rows.iter().all(|row| *row == rows[0]));
    let [channels, height, width] = data.event_shape[..] else { panic!("an image") };
    assert_eq!((height, width, rows[0].0.len()), (size, size, channels * size * size));
    assert_eq!(data.preprocessing, Preprocessing::Levels { levels: 256, height, width, channels });
    (rows[0].0.clone(), channels)
}

/// The value of a row `[channels, side, side]` at a place.
fn at(row: &[u8], side: usize, channel: usize, y: usize, x: usize) -> u8 {
    row[(channel * side + y) * side + x]
}

/// Red, green / blue, a mixture: any two axes or channels that are exchanged show.
fn quadrants(side: u32) -> RgbImage {
    RgbImage::from_fn(side, side, |x, y| match (y < side / 2, x < side / 2) {
        (true, true) => Rgb([250, 0, 0]),
        (true, false) => Rgb([0, 240, 0]),
        (false, true) => Rgb([0, 0, 230]),
        (false, false) => Rgb([90, 60, 30]),
    })
}

/// At the middle of each quadrant.
fn assert_quadrants(row: &[u8], side: usize, tolerance: u8) {
    let (near, far) = (side / 4, side - 1 - side / 4);
    for (y, x, color) in
        [(near, near, [250, 0, 0]), (near, far, [0, 240, 0]), (far, near, [0, 0, 230]), (far, far, [90, 60, 30])]
    {
        for (channel, expected) in color.into_iter().enumerate() {
            let found = at(row, side, channel, y, x);
            assert!(found.abs_diff(expected) <= tolerance, "{y}, {x}, channel {channel}: {found}, not {expected}");
        }
    }
}

#[test]
fn pixels_come_a_channel_after_the_other_row_by_row() {
    let image = RgbImage::from_fn(5, 5, |x, y| Rgb([10 * x as u8, 20 * y as u8, 7]));
    let (row, channels) = row(&png(image), "png", 5);
    assert_eq!(channels, 3);
    for (y, x) in (0..5).flat_map(|y| (0..5).map(move |x| (y, x))) {
        let pixel = [0, 1, 2].map(|channel| at(&row, 5, channel, y, x));
        assert_eq!(pixel, [10 * x as u8, 20 * y as u8, 7]);
    }
}

#[test]
fn png_and_jpeg_have_the_same_colours_at_the_same_places() {
    assert_quadrants(&row(&png(quadrants(32)), "png", 32).0, 32, 0);
    assert_quadrants(&row(&encode(quadrants(32), ImageFormat::Jpeg), "jpg", 32).0, 32, 8);
    // What a file is is said by its bytes, not by its name.
    assert_quadrants(&row(&encode(quadrants(32), ImageFormat::Jpeg), "png", 32).0, 32, 8);
}

#[test]
fn the_middle_square_is_taken() {
    let green = |i: u32| Rgb([0, 10 * i as u8, 0]);
    let middle = |i: u32, along: u32| match i {
        0..4 => Rgb([255, 0, 0]),
        4..12 => green(along),
        _ => Rgb([0, 0, 255]),
    };
    let (wide, _) = row(&png(RgbImage::from_fn(16, 8, |x, y| middle(x, x - x.min(4) + y))), "png", 8);
    let (high, _) = row(&png(RgbImage::from_fn(8, 17, |x, y| middle(y, y - y.min(4) + x))), "png", 8);
    for (y, x) in (0..8).flat_map(|y| (0..8).map(move |x| (y, x))) {
        for row in [&wide, &high] {
            assert_eq!([0, 1, 2].map(|channel| at(row, 8, channel, y, x)), [0, 10 * (x + y) as u8, 0]);
        }
    }
}

#[test]
fn resizing_averages_and_keeps_the_places() {
    for (from, to) in [(128, 16), (100, 12), (8, 64)] {
        assert_quadrants(&row(&png(quadrants(from)), "png", to).0, to, 1);
    }
    let fine = image::GrayImage::from_fn(64, 64, |x, y| Luma([if (x + y) % 2 == 0 { 255 } else { 0 }]));
    let (row, channels) = row(&png(fine), "png", 8);
    assert!(channels == 1 && row.iter().all(|level| (127..=128).contains(level)), "{row:?}");
}

#[test]
fn a_strip_costs_no_more_than_its_square() {
    let strip = image::GrayImage::from_pixel(1, 30_000, Luma([9]));
    assert_eq!(row(&png(strip), "png", 64).0, [9; 64 * 64]);
}

#[test]
fn a_set_is_grey_where_all_of_it_is_however_it_is_stored() {
    let folder = ten(&plain(10), "png");
    write(folder.path(), "in_colour.png", &png(RgbImage::from_pixel(4, 4, Rgb([20; 3]))));
    write(folder.path(), "grey.jpg", &encode(image::GrayImage::from_pixel(4, 4, Luma([30])), ImageFormat::Jpeg));
    let data = read(folder.path(), 4).unwrap();
    assert_eq!(data.event_shape, [1, 4, 4]);
    assert_eq!(level_rows(&data).0.last().unwrap().0, [30; 16]);

    write(folder.path(), "red.png", &png(RgbImage::from_pixel(4, 4, Rgb([40, 0, 0]))));
    let data = read(folder.path(), 4).unwrap();
    assert_eq!(data.event_shape, [3, 4, 4]);
    let (rows, _) = level_rows(&data);
    assert_eq!(rows[0].0, [10; 48]);
    assert_eq!(rows[12].0, [[40; 16], [0; 16], [0; 16]].concat());
}

#[test]
fn sixteen_bits_become_eight() {
    let image = image::ImageBuffer::from_fn(3, 3, |x, _| Luma([[0u16, 257 * 100, 65_535][x as usize]]));
    assert_eq!(row(&png(image), "png", 3), ([0, 100, 255].repeat(3), 1));
}

#[test]
fn what_is_transparent_lies_on_black() {
    let image = image::RgbaImage::from_fn(3, 3, |x, _| Rgba([200, 100, 50, [255, 128, 0][x as usize]]));
    let planes = [[200, 100, 0], [100, 50, 0], [50, 25, 0]].map(|plane| plane.repeat(3)).concat();
    assert_eq!(row(&png(image), "png", 3), (planes, 3));
    let grey = image::GrayAlphaImage::from_fn(2, 2, |x, _| LumaA([200, [255, 128][x as usize]]));
    assert_eq!(row(&png(grey), "png", 2), ([200, 100].repeat(2), 1));
}

#[test]
fn images_are_turned_as_their_exif_says() {
    // One entry: orientation (0x112), a short, 6: turn a quarter clockwise to see it upright.
    let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0".as_slice(), &[0; 4]].concat();
    let upright = quadrants(32);
    let lying = image::imageops::rotate270(&upright);
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder.set_exif_metadata(exif).unwrap();
    encoder.encode_image(&lying).unwrap();
    assert_quadrants(&row(&bytes, "jpg", 32).0, 32, 8);
}

/// A PNG that says it has `side` x `side` pixels and has none.
fn boasting(side: u32) -> Vec<u8> {
    let size = side.to_be_bytes();
    let header = [b"IHDR".as_slice(), &size, &size, &[8, 2, 0, 0, 0]].concat();
    let mut crc = Crc::new();
    crc.update(&header);
    [b"\x89PNG\r\n\x1a\n\0\0\0\x0d".as_slice(), &header, &crc.sum().to_be_bytes(), b"\0\0\0\0IDAT"].concat()
}

/// Every kind of file that cannot be read.
fn bad_files() -> Vec<(&'static str, Vec<u8>)> {
    // In colour and large enough that half of the file is within its pixels.
    let (png, jpeg) = (png(quadrants(256)), encode(quadrants(256), ImageFormat::Jpeg));
    let mut flipped = png.clone();
    flipped[60] ^= 0xff;
    vec![
        ("bad_a.png", Vec::new()),
        ("bad_b.jpg", b"<html>404</html>".to_vec()),
        ("bad_c.png", png[..png.len() - 20].to_vec()),
        ("bad_d.jpg", jpeg[..jpeg.len() - 400].to_vec()),
        ("bad_e.jpg", jpeg[..jpeg.len() - 2].to_vec()),
        ("bad_f.png", flipped),
        ("bad_g.png", boasting(0x7fff_ffff)),
        ("bad_h.png", boasting(30_000)),
        ("bad_i.png", b"GIF89a\x01\0\x01\0\0\0\0;".to_vec()),
        ("bad_j.png", boasting(0)),
        ("bad_k.jpg", b"\xff\xd8\xff\xe0\0\x02\xff\xd9".to_vec()),
    ]
}

#[test]
fn files_that_cannot_be_read_are_named_and_left_out() {
    for bad in bad_files() {
        let folder = ten(&plain(7), "png");
        write(folder.path(), bad.0, &bad.1);
        let data = read(folder.path(), 4).unwrap();
        assert!(level_rows(&data).0.iter().all(|row| row.0 == [7; 16]) && data.event_shape == [1, 4, 4]);
        let [first, second] = &data.notes[..] else { panic!("{}: {:?}", bad.0, data.notes) };
        assert!(first.starts_with(&format!("{}: 1 of 11 image files", folder.path().display())), "{first}");
        assert!(second.starts_with(&format!("  {}: ", bad.0)) && second.len() > bad.0.len() + 6, "{second}");
    }
}

#[test]
fn at_most_ten_are_named_and_all_are_counted() {
    let folder = ten(&plain(7), "png");
    (0..12).for_each(|i| write(folder.path(), &format!("bad_{i:02}.png"), b"bad"));
    let notes = read(folder.path(), 4).unwrap().notes;
    assert_eq!(notes.len(), 12);
    assert!(notes[0].contains("12 of 22 image files"), "{notes:?}");
    assert_eq!((notes[10].as_str(), notes[11].as_str()), ("  bad_09.png: neither PNG nor JPEG", "  and 2 more"));
}

#[test]
fn labels_stay_with_their_images_where_others_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    for (class, name) in ["ant", "bee", "cow"].into_iter().enumerate() {
        (0..5).for_each(|i| write(folder.path(), &format!("{name}/{i}.png"), &plain(10 * class as u8)));
        write(folder.path(), &format!("{name}/2_bad.png"), b"bad");
    }
    let data = read(folder.path(), 2).unwrap();
    assert_eq!(splits(&data).map(|split| split.values().len()), [13, 1, 1]);
    let expected: Vec<_> = (0..15).map(|i| (vec![10 * (i / 5); 4], Some(i / 5))).collect();
    assert_eq!(level_rows(&data).0, expected);
    let second = format!("  {}: neither PNG nor JPEG", Path::new("bee").join("2_bad.png").display());
    assert_eq!(data.notes[2], second);
}

#[test]
fn folders_from_which_nothing_can_be_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    bad_files().into_iter().for_each(|(name, bytes)| write(folder.path(), name, &bytes));
    let error = read(folder.path(), 4).unwrap_err();
    assert!(matches!(&error, Error::Images { path, .. } if path == folder.path()));
    let message = error.to_string();
    for part in [&folder.path().display().to_string(), "no image in it can be read", "11 of 11", "bad_b.jpg", "1 more"]
    {
        assert!(message.contains(part), "{message}");
    }

    let folder = ten(&plain(7), "png");
    write(folder.path(), "0.png", b"bad");
    let message = read(folder.path(), 4).unwrap_err().to_string();
    assert!(message.contains("9 images, at least 10") && message.contains("0.png: neither"), "{message}");

    let message = read(&folder.path().join("none"), 4).unwrap_err().to_string();
    assert!(message.contains("none: no such folder; images:DIR takes"), "{message}");
}

#[test]
fn a_seed_and_the_names_decide_the_splits() {
    let folder = |order: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        order.iter().for_each(|&i| write(folder.path(), &format!("{i:03}.png"), &plain(i)));
        folder
    };
    let forth: Vec<u8> = (0..40).collect();
    let back: Vec<u8> = (0..40).rev().collect();
    let (forth, back) = (folder(&forth), folder(&back));
    let tests = |folder: &TempDir, seed| {
        let options = LoadOptions { seed, ..options(2) };
        let data = load(&Spec::Images(folder.path().to_owned()), &options).unwrap();
        assert_eq!(splits(&data).map(|split| split.values().len()), [32, 4, 4]);
        assert!(level_rows(&data).0.iter().enumerate().all(|(i, row)| *row == (vec![i as u8; 4], None)));
        data.test
    };
    assert_eq!(tests(&forth, 3), tests(&back, 3));
    assert_ne!(tests(&forth, 3), tests(&forth, 4));
}

#[test]
fn fewer_bits_make_fewer_levels() {
    let image = image::GrayImage::from_fn(16, 16, |x, y| Luma([(16 * y + x) as u8]));
    let folder = ten(&png(image), "png");
    let with = |bits| {
        let image = ImageOptions { size: Some(16), bits };
        level_rows(&load(&Spec::Images(folder.path().to_owned()), &LoadOptions { image, ..options(16) }).unwrap())
    };
    let (rows, levels) = with(Some(5));
    assert_eq!(levels, 32);
    assert_eq!(rows[0].0, (0..=255).map(|level: u8| level / 8).collect::<Vec<_>>());
    assert_eq!(with(Some(8)), with(None));
}

#[test]
fn the_side_is_32_where_none_is_asked_for() {
    let folder = ten(&plain(7), "png");
    let spec = Spec::Images(folder.path().to_owned());
    assert_eq!(load(&spec, &LoadOptions::default()).unwrap().event_shape, [1, 32, 32]);
    assert!(matches!(load(&spec, &options(1_025)), Err(Error::ImageOption { .. })));
}
