//! PNG and JPEG, through `images:DIR`: ten times the same file, so that there is a data set of it.
#![no_main]

use std::fs;

use flow_data::{ImageOptions, LoadOptions};
use flow_fuzz::{folder, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // One file is too few for a data set, and what is wrong with it is told first.
    if !refusal("one", bytes, 1).contains("at least 10 are needed") {
        return;
    }
    // Links, which a folder of images may hold: one file is written and ten are read.
    let error = refusal("ten", bytes, 10);
    assert!(error.is_empty(), "{error}");
});

/// What is said of a folder of `n` times the same file.
fn refusal(name: &str, bytes: &[u8], n: usize) -> String {
    let images = folder().join(name);
    let _ = fs::create_dir(&images);
    fs::write(images.join("0.png"), bytes).expect("a file in the temporary folder");
    for i in 1..n {
        let _ = std::os::unix::fs::symlink("0.png", images.join(format!("{i}.png")));
    }
    let image = ImageOptions { size: Some(8), bits: Some(5) };
    let options = LoadOptions { image, ..LoadOptions::default() };
    load(&format!("images:{}", images.display()), &options).map_or_else(|error| error.to_string(), |_| String::new())
}
