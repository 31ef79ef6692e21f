//! Which files of a folder are images, in which order, and of which class.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Error;

/// The endings of files that are read.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];
/// A label is a byte.
const MAX_CLASSES: usize = 256;

/// The image files of a folder.
#[derive(Debug, PartialEq)]
pub(super) struct Listing {
    /// Their paths from the folder on, sorted.
    pub files: Vec<PathBuf>,
    /// For each the index of its sub-folder, where all are in sub-folders.
    pub labels: Option<Vec<u8>>,
}

/// Lists what lies in the folder and in its sub-folders. Only names are looked at, so that a file that cannot be read
/// does not change another one's class.
pub(super) fn list(folder: &Path) -> Result<Listing, Error> {
    if !folder.is_dir() {
        let what = if folder.exists() { "not a folder" } else { "no such folder" };
        return Err(wrong(
            folder,
            format!("{what}; images:DIR takes a folder of PNG and JPEG files, or of one sub-folder a class"),
        ));
    }
    let (folders, mut files) = names(folder, Path::new(""))?;
    for sub_folder in folders {
        files.extend(names(folder, &sub_folder)?.1);
    }
    files.sort();
    if files.is_empty() {
        return Err(wrong(folder, "no file in it or in its sub-folders ends in .png, .jpg or .jpeg".into()));
    }
    Ok(Listing { labels: labels(&files), files })
}

/// The folders and the image files in `folder/inside`, by their paths from `folder` on.
fn names(folder: &Path, inside: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    let whole = folder.join(inside);
    let fail = |source| Error::Read { path: whole.clone(), source };
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(&whole).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        // What systems and viewers leave behind: `.thumbnails`, `._name.jpg`.
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = inside.join(name);
        if folder.join(&path).is_dir() {
            folders.push(path);
        } else if is_image(&path) {
            files.push(path);
        }
    }
    Ok((folders, files))
}

fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// The index of each file's sub-folder among those that hold files.
fn labels(files: &[PathBuf]) -> Option<Vec<u8>> {
    let class = |path: &PathBuf| path.parent().filter(|parent| *parent != Path::new("")).map(Path::to_owned);
    let of_each: Vec<PathBuf> = files.iter().map(class).collect::<Option<_>>()?;
    let mut classes = of_each.clone();
    classes.sort();
    classes.dedup();
    if classes.len() > MAX_CLASSES {
        return None;
    }
    Some(of_each.iter().map(|class| classes.binary_search(class).expect("one of them") as u8).collect())
}

fn wrong(folder: &Path, problem: String) -> Error {
    Error::Images { path: folder.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The listing of a folder with these empty files.
    fn listing(files: &[impl AsRef<Path>]) -> Result<Listing, Error> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, []).unwrap();
        }
        list(folder.path())
    }

    fn paths(files: &[&str]) -> Vec<PathBuf> {
        files.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn files_are_sorted_and_others_passed_over() {
        let found = listing(&["b.PNG", "a.jpeg", "c.JPG", "a.gif", "README", ".d.png", "._a.jpeg"]).unwrap();
        assert_eq!(found, Listing { files: paths(&["a.jpeg", "b.PNG", "c.JPG"]), labels: None });
    }

    #[test]
    fn sub_folders_that_hold_images_are_classes() {
        let names = [
            "zebra/1.png",
            "ant/2.png",
            "ant/1.png",
            "empty/notes.txt",
            ".cache/1.png",
            "bee/deeper/1.png",
            "cow/1.jpg",
        ];
        let found = listing(&names).unwrap();
        let files = paths(&["ant/1.png", "ant/2.png", "cow/1.jpg", "zebra/1.png"]);
        assert_eq!(found, Listing { files, labels: Some(vec![0, 0, 1, 2]) });
    }

    #[test]
    fn one_image_outside_of_them_and_there_are_no_labels() {
        let found = listing(&["ant/1.png", "1.png", "bee/1.png"]).unwrap();
        assert_eq!(found, Listing { files: paths(&["1.png", "ant/1.png", "bee/1.png"]), labels: None });
    }

    #[test]
    fn more_classes_than_a_byte_counts_are_none() {
        let names = |n| (0..n).map(|i| format!("{i:03}/a.png")).collect::<Vec<_>>();
        let labels = listing(&names(256)).unwrap().labels.unwrap();
        assert!(labels.into_iter().eq(0..=255));
        assert_eq!(listing(&names(257)).unwrap().labels, None);
    }

    #[test]
    fn folders_without_images_are_named() {
        for files in [&["notes.txt"][..], &["a/b/c.png"], &["a/b.bmp"]] {
            let error = listing(files).unwrap_err().to_string();
            assert!(error.contains(".png, .jpg or .jpeg"), "{error}");
        }
        let error = list(Path::new("no/such")).unwrap_err().to_string();
        assert!(error.contains("no/such: no such folder") && error.contains("images:DIR"), "{error}");
        let error = list(Path::new("Cargo.toml")).unwrap_err().to_string();
        assert!(error.contains("Cargo.toml: not a folder"), "{error}");
    }
}
