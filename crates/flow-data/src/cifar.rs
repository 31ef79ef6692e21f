//! CIFAR-10: 60,000 colour images of 32 x 32 pixels in ten classes, from the six files of its binary version.
//!
//! A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, <https://www.cs.toronto.edu/~kriz/cifar.html>.
//! A file is 10,000 records of a label and 3,072 bytes: the red plane, the green, the blue, each row by row. That is the
//! order of a row here, so nothing is moved.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ndarray::Array2;

use crate::{
    DataSet, Error, ImageOptions, LoadOptions, Source, Spec, Split,
    places::{first_with_all, places},
};

/// The side of an image.
pub(crate) const SIDE: usize = 32;
const CHANNELS: usize = 3;
const PIXELS: usize = CHANNELS * SIDE * SIDE;
/// A label and its image.
const RECORD: usize = 1 + PIXELS;
/// The images of a file.
const RECORDS: usize = 10_000;
const CLASSES: u8 = 10;
/// The last images of the training files that are for validation.
const VALIDATION: usize = 5_000;

const TRAINING: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: &str = "test_batch.bin";

/// Reads the six files out of the first folder that has them all.
pub(crate) fn load(options: &LoadOptions) -> Result<DataSet, Error> {
    let folder = find(&places(options.data_dir.as_deref(), &["cifar-10-batches-bin", "cifar10"]))?;
    let files: Vec<_> = TRAINING.iter().chain([&TEST]).map(|name| folder.join(name)).collect();
    let (test, training) = files.split_last().expect("six files");
    // All sizes before any reading: the file that is cut off may be the last.
    files.iter().try_for_each(|path| check_size(path))?;
    let mut train = Records::default();
    training.iter().try_for_each(|path| train.read(path))?;
    let validation = train.split_off(train.labels.len() - VALIDATION);
    let mut last = Records::default();
    last.read(test)?;
    Ok(DataSet {
        spec: Spec::Cifar10,
        event_shape: vec![CHANNELS, SIDE, SIDE],
        preprocessing: options.image.preprocessing(CHANNELS, SIDE),
        train: Source::Fixed(train.into_split(options.image)?),
        validation: validation.into_split(options.image)?,
        test: last.into_split(options.image)?,
        notes: Vec::new(),
    })
}

fn find(places: &[PathBuf]) -> Result<PathBuf, Error> {
    let names = [TRAINING.as_slice(), &[TEST]].concat();
    first_with_all(places, &names, |folder, name| folder.join(name).is_file())
        .map_err(|places| Error::CifarMissing { places })
}

fn check_size(path: &Path) -> Result<(), Error> {
    let found = fs::metadata(path).map_err(|source| Error::Read { path: path.to_owned(), source })?.len();
    let expected = RECORD * RECORDS;
    match found == expected as u64 {
        true => Ok(()),
        false => Err(wrong(
            path,
            format!("{found} bytes, a file of CIFAR-10's binary version has {expected}; unpack it anew"),
        )),
    }
}

/// Images and their labels, in the order of the files.
#[derive(Default)]
struct Records {
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Records {
    fn read(&mut self, path: &Path) -> Result<(), Error> {
        let bytes = fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let records = bytes.chunks_exact(RECORD);
        for (i, record) in records.enumerate() {
            if record[0] >= CLASSES {
                let (record, byte, label, last) = (i + 1, i * RECORD, record[0], CLASSES - 1);
                let problem = format!("record {record}, byte {byte}: label {label}, CIFAR-10's are 0 to {last}");
                return Err(wrong(path, problem + "; is it the binary version of CIFAR-10?"));
            }
            self.labels.push(record[0]);
            self.pixels.extend_from_slice(&record[1..]);
        }
        Ok(())
    }

    fn split_off(&mut self, at: usize) -> Records {
        Records { pixels: self.pixels.split_off(at * PIXELS), labels: self.labels.split_off(at) }
    }

    fn into_split(self, image: ImageOptions) -> Result<Split, Error> {
        let pixels = Array2::from_shape_vec((self.labels.len(), PIXELS), self.pixels).expect("whole records");
        Split::new(image.values(pixels), vec![CHANNELS, SIDE, SIDE], Some(self.labels.into()))
    }
}

fn wrong(path: &Path, problem: String) -> Error {
    Error::Images { path: path.to_owned(), problem }
}
