//! CSV tables, through `csv:PATH`.
#![no_main]

use flow_data::{LoadOptions, Table};
use flow_fuzz::{file, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = file("table.csv", bytes);
    if let Ok(table) = Table::read_csv(&path) {
        let (rows, columns) = table.values.dim();
        assert_eq!(table.columns.len(), columns);
        // A cell is a digit and a separator.
        assert!(rows * columns <= bytes.len().div_ceil(2), "{rows} x {columns} cells of {} bytes", bytes.len());
    }
    let _ = load(&format!("csv:{}", path.display()), &LoadOptions::default());
});
