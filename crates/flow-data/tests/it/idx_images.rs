//! `idx:FILE`: images of one's own, and the labels beside them.

use std::{fs, path::Path};

use flow_data::{DataSet, Error, ImageOptions, LoadOptions, Preprocessing, Spec, load};
use tempfile::TempDir;

use crate::{Row, gzip, idx::header, level_rows, splits};

const IMAGES: &str = "my-images-idx3-ubyte";

/// `n` images of 2 x 2 pixels, all of the image's number.
fn images(n: u8) -> Vec<u8> {
    [header(8, &[n.into(), 2, 2]), (0..n).flat_map(|i| [i; 4]).collect()].concat()
}

/// Labels 0, 1, 2, 0, ...
fn labels(n: u8) -> Vec<u8> {
    [header(8, &[n.into()]), (0..n).map(|i| i % 3).collect()].concat()
}

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

fn read(folder: &TempDir, name: &str, size: Option<usize>, bits: Option<u8>) -> Result<DataSet, Error> {
    let options = LoadOptions { image: ImageOptions { size, bits }, ..LoadOptions::default() };
    load(&Spec::Idx(folder.path().join(name)), &options)
}

fn expected(n: u8, labelled: bool) -> Vec<Row> {
    (0..n).map(|i| (vec![i; 4], labelled.then_some(i % 3))).collect()
}

#[test]
fn images_are_dealt_out_with_their_labels_gzipped_or_not() {
    for (images_name, labels_name) in [
        (IMAGES, "my-labels-idx1-ubyte"),
        ("my-images-idx3-ubyte.gz", "my-labels-idx1-ubyte"),
        (IMAGES, "my-labels-idx1-ubyte.gz"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
    ] {
        let pack = |name: &str, bytes: Vec<u8>| if name.ends_with(".gz") { gzip(&bytes) } else { bytes };
        let folder =
            folder(&[(images_name, pack(images_name, images(30))), (labels_name, pack(labels_name, labels(30)))]);
        let data = read(&folder, images_name, None, None).unwrap();
        assert_eq!(data.event_shape, [1, 2, 2]);
        assert_eq!(data.preprocessing, Preprocessing::Levels { levels: 256, height: 2, width: 2, channels: 1 });
        assert_eq!(splits(&data).map(|split| split.values().len()), [24, 3, 3]);
        assert_eq!((level_rows(&data), data.notes), ((expected(30, true), 256), vec![]));
        assert_eq!(data.test, read(&folder, images_name, Some(2), Some(8)).unwrap().test);
    }
}

#[test]
fn without_a_file_of_labels_there_are_none() {
    for name in [IMAGES, "faces.idx"] {
        let data = read(&folder(&[(name, images(10))]), name, None, None).unwrap();
        assert_eq!((level_rows(&data), data.notes), ((expected(10, false), 256), vec![]));
    }
}

#[test]
fn labels_that_do_not_fit_are_left_out_and_named() {
    let matrix = [header(8, &[10, 1]), vec![0; 10]].concat();
    for (bad, why) in [(labels(9), "9 labels for 10 images"), (matrix, "[10, 1]"), (b"<html>".to_vec(), "not an IDX")] {
        let folder = folder(&[(IMAGES, images(10)), ("my-labels-idx1-ubyte", bad)]);
        let data = read(&folder, IMAGES, None, None).unwrap();
        assert_eq!(level_rows(&data).0, expected(10, false));
        let [note] = &data.notes[..] else { panic!("{:?}", data.notes) };
        assert!(note.contains("my-labels-idx1-ubyte") && note.contains(why), "{note}");
    }
}

#[test]
fn what_is_not_a_file_of_square_images_is_refused() {
    for dims in [&[40][..], &[10, 4], &[10, 1, 4], &[10, 0, 0], &[10, 1, 2, 2]] {
        let len = dims.iter().product::<u32>() as usize;
        let folder = folder(&[(IMAGES, [header(8, dims), vec![0; len]].concat())]);
        let message = read(&folder, IMAGES, None, None).unwrap_err().to_string();
        assert!(message.contains(IMAGES) && message.contains("square images have three"), "{message}");
    }
    let folder = folder(&[("few", images(9)), ("cut", images(10)[..30].to_vec())]);
    assert!(matches!(read(&folder, "few", None, None), Err(Error::TooFewRows { rows: 9, needed: 10, .. })));
    assert!(matches!(read(&folder, "cut", None, None), Err(Error::Idx { offset: 30, .. })));
    let error = load(&Spec::Idx(Path::new("no/such").into()), &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("no/such"), "{error}");
}

#[test]
fn the_side_is_the_files_and_bits_are_as_asked_for() {
    let folder = folder(&[(IMAGES, images(40))]);
    let message = read(&folder, IMAGES, Some(4), None).unwrap_err().to_string();
    assert!(message.contains("size 4") && message.contains("2 x 2"), "{message}");
    let (rows, levels) = level_rows(&read(&folder, IMAGES, None, Some(3)).unwrap());
    assert_eq!(levels, 8);
    assert!(rows.iter().map(|row| row.0[0]).eq((0..40).map(|i| i / 32)));
}
