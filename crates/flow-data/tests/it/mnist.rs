//! MNIST without MNIST: missing files, and files that are not it.

use flate2::{Compression, write::GzEncoder};
use flow_data::{Error, LoadOptions, Spec, load};
use std::{io::Write, path::Path};

fn load_from(folder: &Path) -> Error {
    let options = LoadOptions { data_dir: Some(folder.to_owned()), ..LoadOptions::default() };
    load(&Spec::Mnist, &options).expect_err("no test has the real files")
}

fn write_images(folder: &Path, images: &[u8]) {
    std::fs::create_dir_all(folder).unwrap();
    for name in
        ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    {
        let mut file =
            GzEncoder::new(std::fs::File::create(folder.join(name).with_extension("gz")).unwrap(), Compression::fast());
        file.write_all(images).unwrap();
        file.finish().unwrap();
    }
}

#[test]
fn missing_files_are_answered_with_every_place_and_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let error = load_from(folder.path());
    assert!(matches!(&error, Error::MnistMissing { places } if places.len() == 2));
    let message = error.to_string();
    for part in
        [&folder.path().display().to_string(), "/mnist (lacks train-images", "cargo xtask fetch mnist", "FLOW_DATA_DIR"]
    {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn other_files_of_the_same_names_are_refused_by_their_digest() {
    let folder = tempfile::tempdir().unwrap();
    for place in [folder.path().to_owned(), folder.path().join("mnist")] {
        write_images(&place, &[0, 0, 8, 1, 0, 0, 0, 1, 7]);
        let error = load_from(folder.path());
        assert!(matches!(&error, Error::Digest { path, .. } if path.parent() == Some(&place)), "{error}");
    }
}

#[test]
fn an_error_page_in_place_of_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_images(folder.path(), b"<html>not found</html>");
    assert!(matches!(load_from(folder.path()), Error::Idx { offset: 0, .. }));
}
