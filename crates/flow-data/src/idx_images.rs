//! `idx:FILE`: grey images of one's own in an IDX file as MNIST's, with the labels of the file beside it.

use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2};

use crate::{
    DataSet, Error, LoadOptions, Spec, Split,
    idx::Idx,
    partition::{MIN_ROWS, Sizes, deal},
};

/// Reads the images and, where they are found, the labels, and deals them out.
pub(crate) fn load(path: &Path, spec: &Spec, options: &LoadOptions) -> Result<DataSet, Error> {
    let images = Idx::open(path)?;
    let (rows, side) = shape(&images, path)?;
    options.image.check_side(spec, side)?;
    if rows < MIN_ROWS {
        return Err(Error::TooFewRows { path: path.to_owned(), rows, needed: MIN_ROWS });
    }
    let pixels = Array2::from_shape_vec((rows, side * side), images.into_data()).expect("as many as the header says");
    let (labels, notes) = match labels(path, rows) {
        Ok(labels) => (labels, Vec::new()),
        Err(note) => (None, vec![note]),
    };
    let all = Split::new(options.image.values(pixels), vec![1, side, side], labels)?;
    let parts = deal(&all, Sizes::tenths(rows), options.seed);
    Ok(DataSet { notes, ..parts.into_data_set(spec.clone(), options.image.preprocessing(1, side)) })
}

/// The number of images and their side.
fn shape(images: &Idx, path: &Path) -> Result<(usize, usize), Error> {
    match images.dims()[..] {
        [rows, height, width] if height == width && height > 0 => Ok((rows, height)),
        ref dims => {
            let problem =
                format!("dimensions {dims:?}; square images have three: their number, their side, their side");
            Err(Error::Images { path: path.to_owned(), problem })
        }
    }
}

/// The labels beside the images, none where there is no such file, or why those that are there were left out: a model
/// of images can do without.
fn labels(images: &Path, rows: usize) -> Result<Option<Array1<u8>>, String> {
    let Some(path) = labels_file(images) else { return Ok(None) };
    let left_out = |why: String| format!("{}: left out as labels: {why}", path.display());
    let labels = Idx::open(&path).map_err(|e| format!("left out as labels: {e}"))?;
    match labels.dims()[..] {
        [found] if found == rows => Ok(Some(labels.into_data().into())),
        [found] => Err(left_out(format!("{found} labels for {rows} images"))),
        ref dims => Err(left_out(format!("dimensions {dims:?}, labels have one"))),
    }
}

/// The file beside `images` whose name says `labels` and `idx1` where its own says `images` and `idx3`, gzipped or not.
fn labels_file(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    if !plain.contains("images") || !plain.contains("idx3") {
        return None;
    }
    let labels = plain.replace("images", "labels").replace("idx3", "idx1");
    let beside = |name: String| images.with_file_name(name);
    [beside(labels.clone()), beside(labels + ".gz")].into_iter().find(|path| path.is_file())
}
