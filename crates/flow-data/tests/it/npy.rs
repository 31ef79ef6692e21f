//! NPY files: every type that is read, and headers that lie.

use std::path::Path;

use flow_data::{Error, LoadOptions, Source, Spec, Table, Values, load};
use ndarray::{Array1, Array2, Array3, array};
use ndarray_npy::{WritableElement, WriteNpyExt};

use crate::file;

fn read(bytes: impl AsRef<[u8]>) -> Result<Table, Error> {
    let (_folder, path) = file("table.npy", bytes);
    Table::read_npy(&path)
}

fn npy<A: WritableElement>(array: &Array2<A>) -> Vec<u8> {
    let mut bytes = Vec::new();
    array.write_npy(&mut bytes).unwrap();
    bytes
}

/// A file with a header of one's own, version 1.
fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u16 + 1).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), b"\n", data].concat()
}

fn refused(bytes: impl AsRef<[u8]>) -> String {
    match read(bytes).expect_err("a bad file") {
        error @ Error::Npy { .. } => error.to_string(),
        other => panic!("not about the file as a whole: {other}"),
    }
}

#[test]
fn floats_and_integers_become_reals() {
    let expected = Values::Reals(array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let whole = array![[1i32, 2, 3], [4, 5, 6]];
    assert_eq!(read(npy(&whole.mapv(|v| v as f32))).unwrap().values, expected);
    assert_eq!(read(npy(&whole.mapv(|v| v as f64))).unwrap().values, expected);
    assert_eq!(read(npy(&whole.mapv(|v| v as i64))).unwrap().values, expected);
    assert_eq!(read(npy(&whole)).unwrap().values, expected);
    assert_eq!(read(npy(&whole.mapv(|v| v as u16))).unwrap().values, expected);
    assert_eq!(read(npy(&whole)).unwrap().columns, ["x1", "x2", "x3"]);
}

#[test]
fn bytes_are_levels_and_a_column_major_file_is_read_right() {
    let bytes = array![[1u8, 2], [3, 255]];
    assert_eq!(read(npy(&bytes)).unwrap().values, Values::Levels { data: bytes, levels: 256 });
    let transposed = array![[1.0f64, 2.0], [3.0, 4.0], [5.0, 6.0]].reversed_axes();
    let file = npy(&transposed);
    assert!(String::from_utf8_lossy(&file).contains("'fortran_order': True"));
    assert_eq!(read(file).unwrap().values, Values::Reals(transposed.mapv(|v| v as f32)));
}

#[test]
fn headers_of_any_length_leave_the_data_aligned() {
    for padding in 0..8 {
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2)}".to_owned() + &" ".repeat(padding);
        let data = [1f64.to_le_bytes(), 2f64.to_le_bytes()].concat();
        assert_eq!(read(with_header(&header, &data)).unwrap().values, Values::Reals(array![[1.0, 2.0]]));
    }
}

#[test]
fn entries_that_are_not_finite_are_refused_where_they_are() {
    for (value, problem) in [(f64::NAN, "not a finite"), (f64::INFINITY, "not a finite"), (1e300, "beyond the range")] {
        let error = read(npy(&array![[1.0, 2.0], [3.0, value]])).unwrap_err();
        assert!(matches!(error, Error::NpyCell { row: 2, column: 2, .. }), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn images_are_flattened_row_by_row_in_either_memory_order() {
    let cube = Array3::from_shape_fn((2, 3, 4), |(n, i, j)| (100 * n + 10 * i + j) as f32);
    let mut fortran = Vec::new();
    cube.clone().reversed_axes().as_standard_layout().into_owned().reversed_axes().write_npy(&mut fortran).unwrap();
    let mut row_major = Vec::new();
    cube.write_npy(&mut row_major).unwrap();
    assert_ne!(fortran, row_major);
    for bytes in [row_major, fortran] {
        let Values::Reals(rows) = read(bytes).unwrap().values else { panic!("floats are reals") };
        assert_eq!(rows.dim(), (2, 12));
        assert_eq!((rows[[0, 5]], rows[[1, 11]]), (11.0, 123.0));
    }
}

#[test]
fn other_shapes_and_types_are_refused() {
    let mut bytes = Vec::new();
    Array1::<f32>::zeros(3).write_npy(&mut bytes).unwrap();
    assert!(refused(bytes).contains("table.npy"));
    assert!(refused(npy(&array![[true, false]])).contains("f32, f64 or integers"));
    let big_endian = "{'descr': '>f4', 'fortran_order': False, 'shape': (1, 1)}";
    assert!(refused(with_header(big_endian, &[0; 4])).contains("byte order"));
    assert!(matches!(read(npy(&Array2::<f32>::zeros((0, 3)))), Err(Error::Empty { .. })));
    assert!(matches!(read(npy(&Array2::<f32>::zeros((3, 0)))), Err(Error::Empty { .. })));
    assert!(matches!(Table::read_npy(Path::new("no/such.npy")), Err(Error::Read { .. })));
}

#[test]
fn shapes_that_promise_more_or_less_than_the_file_are_refused() {
    for shape in
        ["(1, 3)", "(1, 1)", "(1000000000, 1000000000)", "(9223372036854775807, 2)", "(99999999999999999999, 1)"]
    {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}");
        refused(with_header(&header, &[0; 8]));
    }
}

#[test]
fn more_columns_than_are_named_are_refused() {
    let columns = (1 << 22) + 1;
    for fortran in ["False", "True"] {
        let header = format!("{{'descr': '|u1', 'fortran_order': {fortran}, 'shape': (2, {columns})}}");
        let problem = refused(with_header(&header, &vec![0; 2 * columns]));
        assert!(problem.ends_with("4194305 columns, at most 4194304 are read"), "{problem}");
    }
}

#[test]
fn headers_made_to_do_harm_are_refused() {
    assert!(refused(b"").contains("not an NPY file"));
    assert!(refused(b"PK\x03\x04 a zip").contains("not an NPY file"));
    assert!(refused(b"\x93NUMPY\x09\x00\x00\x00\x00\x00").contains("version"));
    assert!(refused(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("header of"));
    assert!(refused(b"\x93NUMPY\x01\x00\x40\x00{'descr'").contains("ends within its header"));
    assert!(refused(with_header(&"(".repeat(1000), &[])).contains("brackets"));
    for header in
        ["", "{}", "[]", "{'descr': '<f4'}", "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 1)}"]
    {
        refused(with_header(header, &[0; 4]));
    }
    // The product of the other axes overflows, and there is nothing along the first one.
    for shape in ["0, 10737418240000, 1073741824", "0, 18446744073709551616", "0, 0x7fffffffffffffff, 4", "-1, 2"] {
        let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}");
        assert!(refused(with_header(&header, &[])).contains("that no array can have"), "{shape}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = npy(&array![[1.0f32, 2.0], [3.0, 4.0]]);
    for len in 0..whole.len() {
        refused(&whole[..len]);
    }
    refused([whole, vec![0]].concat());
}

#[test]
fn an_array_of_bytes_is_a_table_too() {
    let (_folder, path) = file("t.npy", npy(&Array2::from_shape_fn((20, 2), |(i, j)| (i * (j + 1)) as u8)));
    let data = load(&Spec::Npy(path), &LoadOptions::default()).unwrap();
    let Source::Fixed(train) = data.train else { panic!("a table has rows") };
    assert!(matches!(&*train.values(), Values::Reals(rows) if rows.dim() == (16, 2)));
}
