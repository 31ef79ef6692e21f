//! IDX, plain and gzipped: the array itself, and images through `idx:FILE`.
#![no_main]

use std::path::Path;

use flow_data::LoadOptions;
use flow_data::idx::Idx;
use flow_fuzz::{PACKED, file, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(idx) = Idx::read(bytes, Path::new("fuzzed")) {
        assert_eq!(idx.dims().iter().product::<usize>(), idx.data().len());
        assert!(idx.data().len() <= PACKED * (bytes.len() + 1), "{} bytes of {}", idx.data().len(), bytes.len());
        assert_eq!(idx.sha256().len(), 64);
    }
    let path = file("images-idx3-ubyte", bytes);
    file("labels-idx1-ubyte", bytes);
    let _ = load(&format!("idx:{}", path.display()), &LoadOptions::default());
});
