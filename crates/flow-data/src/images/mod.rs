//! `images:DIR`: the PNG and JPEG files of a folder, each cut to its middle square and resized.

mod jpeg;
mod listing;
mod picture;

use std::{num::NonZero, panic::resume_unwind, path::Path, thread};

use ndarray::Array2;

use self::{
    listing::{Listing, list},
    picture::Picture,
};
use crate::{
    DataSet, Error, LoadOptions, Spec, Split,
    partition::{MIN_ROWS, Sizes, deal},
};

/// The most bytes that the images of a folder may take: an error is better than a machine out of memory.
const MAX_BYTES: usize = 16 << 30;
/// So many of the files that cannot be read are named, the others are counted.
const NAMED: usize = 10;

/// Reads what can be read and deals it out.
pub(crate) fn load(folder: &Path, spec: &Spec, options: &LoadOptions) -> Result<DataSet, Error> {
    let Listing { files, labels } = list(folder)?;
    let side = options.image.side();
    check_memory(folder, files.len(), side)?;
    let mut left_out = Vec::new();
    let mut pictures = Vec::new();
    let mut kept_labels = labels.as_ref().map(|_| Vec::new());
    for (i, picture) in read_all(folder, &files, side).into_iter().enumerate() {
        match picture {
            Err(why) => left_out.push(format!("{}: {why}", files[i].display())),
            Ok(picture) => {
                pictures.push(picture);
                kept_labels.iter_mut().zip(&labels).for_each(|(kept, labels)| kept.push(labels[i]));
            }
        }
    }
    let notes = notes(folder, files.len(), &left_out);
    if pictures.len() < MIN_ROWS {
        return Err(too_few(folder, pictures.len(), &notes));
    }
    let (pixels, channels) = rows(pictures, side);
    let n = pixels.nrows();
    let labels = kept_labels.map(Into::into);
    let all = Split::new(options.image.values(pixels), vec![channels, side, side], labels)?;
    let parts = deal(&all, Sizes::tenths(n), options.seed);
    Ok(DataSet { notes, ..parts.into_data_set(spec.clone(), options.image.preprocessing(channels, side)) })
}

fn check_memory(folder: &Path, images: usize, side: usize) -> Result<(), Error> {
    match images.checked_mul(3 * side * side) {
        Some(bytes) if bytes <= MAX_BYTES => Ok(()),
        _ => {
            let most = MAX_BYTES >> 30;
            let problem =
                format!("{images} images of {side} x {side} pixels are more than {most} GiB; ask for a smaller size");
            Err(Error::Images { path: folder.to_owned(), problem })
        }
    }
}

/// Every file in its order, whatever the number of threads.
fn read_all(folder: &Path, files: &[impl AsRef<Path> + Sync], side: usize) -> Vec<Result<Picture, String>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = files.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let read = |file: &_| Picture::read(&folder.join(AsRef::<Path>::as_ref(file)), side);
        let work = |share| scope.spawn(move || <[_]>::iter(share).map(read).collect::<Vec<_>>());
        let threads: Vec<_> = files.chunks(share).map(work).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// The pictures as rows `[n, channels * side * side]`, and their channels: one where all are grey.
fn rows(pictures: Vec<Picture>, side: usize) -> (Array2<u8>, usize) {
    let channels = if pictures.iter().all(Picture::is_grey) { 1 } else { 3 };
    let shape = (pictures.len(), channels * side * side);
    let mut pixels = Vec::with_capacity(shape.0 * shape.1);
    pictures.into_iter().for_each(|picture| picture.append_to(&mut pixels, channels));
    (Array2::from_shape_vec(shape, pixels).expect("as many channels a picture"), channels)
}

/// What is said of files that were left out.
fn notes(folder: &Path, files: usize, left_out: &[String]) -> Vec<String> {
    let count = left_out.len();
    if count == 0 {
        return Vec::new();
    }
    let first = format!("{}: {count} of {files} image files cannot be read and are left out:", folder.display());
    let named = left_out.iter().take(NAMED).map(|file| format!("  {file}"));
    let more = (count > NAMED).then(|| format!("  and {} more", count - NAMED));
    [first].into_iter().chain(named).chain(more).collect()
}

fn too_few(folder: &Path, readable: usize, notes: &[String]) -> Error {
    let mut problem = match readable {
        0 => "no image in it can be read".to_owned(),
        n => format!("{n} images, at least {MIN_ROWS} are needed to split them 80/10/10"),
    };
    for note in notes {
        problem += &format!("\n{note}");
    }
    Error::Images { path: folder.to_owned(), problem }
}
