//! NPY arrays, through `npy:PATH`.
#![no_main]

use flow_data::{LoadOptions, Table};
use flow_fuzz::{file, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = file("array.npy", bytes);
    if let Ok(table) = Table::read_npy(&path) {
        let (rows, columns) = table.values.dim();
        assert_eq!(table.columns.len(), columns);
        assert!(rows * columns <= bytes.len(), "{rows} x {columns} numbers of {} bytes", bytes.len());
    }
    let _ = load(&format!("npy:{}", path.display()), &LoadOptions::default());
});
