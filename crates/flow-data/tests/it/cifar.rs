//! CIFAR-10 without CIFAR-10: files of its names and sizes, and files that are not it.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use flow_data::{Error, ImageOptions, LoadOptions, Part, Spec, load};
use tempfile::TempDir;

use crate::splits;

const NAMES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];
const RECORD: u64 = 3_073;

/// The six files, all zero, in a sub-folder of the first value.
fn zeros(sub_folder: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join(sub_folder);
    fs::create_dir_all(&inside).unwrap();
    for name in NAMES {
        File::create(inside.join(name)).unwrap().set_len(10_000 * RECORD).unwrap();
    }
    (folder, inside)
}

fn set(file: &Path, record: u64, byte: u64, values: &[u8]) {
    let mut file = File::options().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(record * RECORD + byte)).unwrap();
    file.write_all(values).unwrap();
}

fn options(folder: &Path, bits: Option<u8>) -> LoadOptions {
    let image = ImageOptions { size: None, bits };
    LoadOptions { data_dir: Some(folder.to_owned()), image, ..LoadOptions::default() }
}

fn refused(folder: &Path) -> Error {
    load(&Spec::Cifar10, &options(folder, None)).expect_err("a bad file")
}

#[test]
fn records_keep_their_order_their_planes_and_their_labels() {
    let (folder, files) = zeros("cifar-10-batches-bin");
    // Label 1, red 8 at row 0 column 1, green 16 at row 1 column 0, blue 255 at the end.
    set(&files.join(NAMES[0]), 0, 0, &[1, 0, 8]);
    set(&files.join(NAMES[0]), 0, 1 + 1_024 + 32, &[16]);
    set(&files.join(NAMES[0]), 0, 3_072, &[255]);
    set(&files.join(NAMES[4]), 4_999, 0, &[2]);
    set(&files.join(NAMES[4]), 5_000, 0, &[3]);
    set(&files.join(NAMES[4]), 9_999, 0, &[4]);
    set(&files.join(NAMES[5]), 9_999, 0, &[9]);
    for (bits, shift) in [(None, 0), (Some(5), 3)] {
        let data = load(&Spec::Cifar10, &options(folder.path(), bits)).unwrap();
        assert_eq!(data.event_shape, [3, 32, 32]);
        assert_eq!(data.preprocessing.levels(), Some(256 >> shift));
        let [train, validation, test] = splits(&data);
        assert_eq!([train, validation, test].map(|split| split.values().len()), [45_000, 5_000, 10_000]);
        let labels = |part, row: usize| data.split(part).unwrap().labels.as_ref().unwrap()[row];
        assert_eq!((labels(Part::Train, 0), labels(Part::Train, 44_999)), (1, 2));
        assert_eq!((labels(Part::Validation, 0), labels(Part::Validation, 4_999)), (3, 4));
        assert_eq!(labels(Part::Test, 9_999), 9);
        let first = train.values().gather(&[0]).to_reals();
        let found: Vec<_> = first.iter().enumerate().filter(|(_, value)| **value > 0.0).collect();
        let level = |k: u8| f32::from(k >> shift);
        assert_eq!(found, [(1, &level(8)), (1_024 + 32, &level(16)), (3_071, &level(255))]);
    }
}

#[test]
fn missing_files_are_answered_with_every_place_and_the_cure() {
    let (folder, files) = zeros("cifar10");
    fs::remove_file(files.join(NAMES[2])).unwrap();
    let error = refused(folder.path());
    let Error::CifarMissing { places } = &error else { panic!("{error}") };
    assert_eq!((places.len(), &places[1].folder, &places[1].files[..]), (3, &files, &[NAMES[2]][..]));
    let message = error.to_string();
    for part in ["cifar-10-batches-bin (lacks", "cifar10 (lacks data_batch_3.bin)", "kriz/cifar.html", "FLOW_DATA_DIR"]
    {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_file_of_another_size_is_named() {
    for size in [0, 10_000 * RECORD - 1, 10_000 * RECORD + 1] {
        let (folder, files) = zeros(".");
        File::create(files.join(NAMES[5])).unwrap().set_len(size).unwrap();
        let message = refused(folder.path()).to_string();
        let expected = format!("test_batch.bin: {size} bytes, a file of CIFAR-10's binary version has 30730000");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn a_label_that_is_none_is_named_with_its_place() {
    let (folder, files) = zeros("cifar10");
    set(&files.join(NAMES[1]), 16, 0, &[10]);
    let message = refused(folder.path()).to_string();
    assert!(message.contains("data_batch_2.bin: record 17, byte 49168: label 10"), "{message}");
}

#[test]
fn its_images_are_not_resized() {
    let options = LoadOptions { image: ImageOptions { size: Some(64), bits: None }, ..LoadOptions::default() };
    let message = load(&Spec::Cifar10, &options).unwrap_err().to_string();
    assert!(message.contains("cifar10: size 64") && message.contains("32 x 32"), "{message}");
}
