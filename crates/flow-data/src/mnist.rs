//! MNIST: 70,000 handwritten digits of 28 x 28 pixels, from its four IDX files.
//!
//! Y. LeCun, C. Cortes, C. Burges, Creative Commons BY-SA 3.0. The files are checked by the SHA-256 of their
//! *decompressed* bytes, so that any mirror's gzip will do.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use ndarray::{Array1, Array2, s};

use crate::{
    DataSet, Error, ImageOptions, LoadOptions, Source, Spec, Split,
    idx::Idx,
    places::{first_with_all, places},
};

/// The training file's rows that are trained on; the other 10,000 are for validation.
const TRAIN_ROWS: usize = 50_000;
/// The side of an image.
pub(crate) const SIDE: usize = 28;

/// Images `[n, side²]` and their labels `[n]`.
type Images = (Array2<u8>, Array1<u8>);

/// A file of MNIST.
struct File {
    name: &'static str,
    sha256: &'static str,
}

const TRAIN_IMAGES: File = File {
    name: "train-images-idx3-ubyte",
    sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
};
const TRAIN_LABELS: File = File {
    name: "train-labels-idx1-ubyte",
    sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
};
const TEST_IMAGES: File =
    File { name: "t10k-images-idx3-ubyte", sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7" };
const TEST_LABELS: File =
    File { name: "t10k-labels-idx1-ubyte", sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2" };
const FILES: [&File; 4] = [&TRAIN_IMAGES, &TRAIN_LABELS, &TEST_IMAGES, &TEST_LABELS];

/// Reads the four files out of the first folder that has them all.
pub(crate) fn load(options: &LoadOptions) -> Result<DataSet, Error> {
    let folder = find(&places(options.data_dir.as_deref(), &["mnist"]))?;
    let image = options.image;
    let training = read_split(&folder, &TRAIN_IMAGES, &TRAIN_LABELS)?;
    let (train, validation) = divide(&training, SIDE, image)?;
    let test = read_split(&folder, &TEST_IMAGES, &TEST_LABELS)?;
    Ok(DataSet {
        spec: Spec::Mnist,
        event_shape: vec![1, SIDE, SIDE],
        preprocessing: image.preprocessing(1, SIDE),
        train: Source::Fixed(train),
        validation,
        test: rows_of(&test, 0..test.0.nrows(), SIDE, image)?,
        notes: Vec::new(),
    })
}

fn find(places: &[PathBuf]) -> Result<PathBuf, Error> {
    first_with_all(places, &FILES.map(|file| file.name), |folder, name| path(folder, name).is_some())
        .map_err(|places| Error::MnistMissing { places })
}

/// The file, plain or gzipped.
fn path(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

fn read_split(folder: &Path, images: &File, labels: &File) -> Result<Images, Error> {
    let images = read(folder, images)?;
    let labels = read(folder, labels)?;
    let rows = images.dims()[0];
    let pixels = Array2::from_shape_vec((rows, SIDE * SIDE), images.into_data());
    Ok((pixels.expect("the digest fixes the shape"), labels.into_data().into()))
}

fn read(folder: &Path, file: &File) -> Result<Idx, Error> {
    let path = path(folder, file.name).unwrap_or_else(|| folder.join(file.name));
    let idx = Idx::open(&path)?;
    let found = idx.sha256();
    if found != file.sha256 {
        return Err(Error::Digest { path, expected: file.sha256.into(), found });
    }
    Ok(idx)
}

/// The rows of the training file that are trained on, and those for validation.
fn divide(training: &Images, side: usize, image: ImageOptions) -> Result<(Split, Split), Error> {
    let rows = training.0.nrows();
    Ok((rows_of(training, 0..TRAIN_ROWS, side, image)?, rows_of(training, TRAIN_ROWS..rows, side, image)?))
}

fn rows_of((pixels, labels): &Images, rows: Range<usize>, side: usize, image: ImageOptions) -> Result<Split, Error> {
    let values = image.values(pixels.slice(s![rows.clone(), ..]).to_owned());
    Split::new(values, vec![1, side, side], Some(labels.slice(s![rows]).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rows;

    #[test]
    fn the_first_folder_that_has_all_four_is_taken_gzipped_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let (part, whole) = (folder.path().join("part"), folder.path().join("whole"));
        for (i, file) in FILES.iter().enumerate() {
            std::fs::create_dir_all(&whole).unwrap();
            std::fs::write(whole.join(format!("{}{}", file.name, [".gz", ""][i % 2])), []).unwrap();
        }
        std::fs::create_dir(&part).unwrap();
        std::fs::write(part.join(TEST_LABELS.name), []).unwrap();
        assert_eq!(find(&[part.clone(), whole.clone()]).unwrap(), whole);
        let Err(Error::MnistMissing { places }) = find(&[part]) else { panic!("three files are missing") };
        assert_eq!(places[0].files, [TRAIN_IMAGES.name, TRAIN_LABELS.name, TEST_IMAGES.name]);
    }

    #[test]
    fn rows_are_cut_with_their_labels() {
        let pixels = Array2::from_shape_fn((5, SIDE * SIDE), |(row, _)| row as u8);
        let rows = (pixels, Array1::from_iter(10..15));
        let cut = rows_of(&rows, 3..5, SIDE, ImageOptions::default()).unwrap();
        assert_eq!((cut.len(), cut.event_shape()), (2, &[1, SIDE, SIDE][..]));
        assert_eq!(cut.labels, Some(Array1::from_iter(13..15)));
        assert_eq!(cut.to_reals()[[0, 0]], 3.0);
    }

    #[test]
    fn the_first_50_000_rows_are_trained_on_and_the_last_10_000_are_for_validation() {
        let thousand = |row: usize| (row / 1_000) as u8;
        let pixels = Array2::from_shape_fn((60_000, 1), |(row, _)| thousand(row));
        let rows = (pixels, Array1::from_shape_fn(60_000, thousand));
        let (train, validation) = divide(&rows, 1, ImageOptions::default()).unwrap();
        for (split, expected) in [(train, 0..50_000), (validation, 50_000..60_000)] {
            let expected: Vec<u8> = expected.map(thousand).collect();
            assert!(split.to_reals().iter().map(|value| *value as u8).eq(expected.iter().copied()));
            assert_eq!(split.labels.unwrap().to_vec(), expected);
        }
    }
}
