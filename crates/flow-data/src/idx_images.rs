//! `idx:FILE`: grey images of one's own in an IDX file as MNIST's, with the labels of the file beside it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ndarray::{Array1, Array2};

use crate::{
    DataSet, Error, LoadOptions, Spec, Split,
    idx::{Idx, Opened},
    mapped::{Columns, Layout, MappedRows},
    partition::{Deal, Sizes, check_rows, deal},
};

/// Maps the images, or unpacks them where they are gzipped, reads the labels where they are found, and deals both out.
pub(crate) fn load(path: &Path, spec: &Spec, options: &LoadOptions) -> Result<DataSet, Error> {
    let images = Opened::open(path)?;
    let (rows, side) = shape(&images.dims(), path)?;
    options.image.check_side(spec, side)?;
    check_rows(rows, path)?;
    let (labels, notes) = match labels(path, rows) {
        Ok(labels) => (labels, Vec::new()),
        Err(note) => (None, vec![note]),
    };
    let (event_shape, sizes) = (vec![1, side, side], Sizes::tenths(rows));
    let parts = match images {
        Opened::Plain { bytes, start, .. } => {
            let (element, pitch) = (options.image.element(), side * side);
            let layout = Layout { element, rows, start, pitch, columns: Columns::Together(pitch) };
            let rows_in_file = Arc::new(MappedRows::new(bytes, layout));
            Deal::new(rows, sizes, options.seed).in_file(&rows_in_file, &event_shape, labels.as_ref())
        }
        Opened::Gzipped(images) => {
            let pixels = Array2::from_shape_vec((rows, side * side), images.into_data());
            let pixels = pixels.expect("as many as the header says");
            deal(&Split::new(options.image.values(pixels), event_shape, labels)?, sizes, options.seed)
        }
    };
    Ok(DataSet { notes, ..parts.into_data_set(spec.clone(), options.image.preprocessing(1, side)) })
}

/// The number of images and their side.
fn shape(dims: &[usize], path: &Path) -> Result<(usize, usize), Error> {
    match dims {
        [rows, height, width] if height == width && *height > 0 => Ok((*rows, *height)),
        dims => {
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
