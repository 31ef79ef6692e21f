//! The crate from outside: every data set, and every way a file can be wrong.

mod cifar;
mod csv;
mod data_sets;
mod idx;
mod idx_images;
mod images;
mod mapped;
mod mnist;
mod npy;

use std::{io::Write, path::PathBuf};

use flate2::{Compression, write::GzEncoder};
use flow_data::{DataSet, Part, Split, Values};
use tempfile::TempDir;

/// A file with these bytes, in a folder that goes with the first value.
fn file(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The three splits of a data set that is not drawn afresh.
fn splits(data: &DataSet) -> [&Split; 3] {
    [data.split(Part::Train).unwrap(), &data.validation, &data.test]
}

/// A row of levels and its label.
type Row = (Vec<u8>, Option<u8>);

/// All rows of all splits, sorted, and the number of levels.
fn level_rows(data: &DataSet) -> (Vec<Row>, u32) {
    let mut rows = Vec::new();
    let mut found = None;
    for split in splits(data) {
        let values = split.values();
        let Values::Levels { data: pixels, levels } = &*values else { panic!("not levels") };
        assert_eq!(*found.get_or_insert(*levels), *levels);
        let label = |i| split.labels.as_ref().map(|labels| labels[i]);
        rows.extend(pixels.outer_iter().enumerate().map(|(i, row)| (row.to_vec(), label(i))));
    }
    rows.sort();
    assert_eq!(data.preprocessing.levels(), found);
    (rows, found.unwrap())
}
