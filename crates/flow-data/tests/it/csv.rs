//! CSV files: what is read, and what is refused with line and column.

use std::path::Path;

use flow_data::{Error, LoadOptions, Preprocessing, Spec, Table, Values, load};
use ndarray::array;

use crate::file;

fn read(text: impl AsRef<[u8]>) -> Result<Table, Error> {
    let (_folder, path) = file("table.csv", text);
    Table::read_csv(&path)
}

/// Line, column and message.
fn refused(text: impl AsRef<[u8]>) -> (u64, usize, String) {
    let error = read(text).expect_err("a bad table");
    let message = error.to_string();
    assert!(message.contains("table.csv, line "), "{message}");
    match error {
        Error::Csv { line, column, problem, .. } => (line, column, problem),
        other => panic!("not about a place: {other}"),
    }
}

#[test]
fn a_header_is_told_from_numbers() {
    let expected = Values::Reals(array![[1.0, -2.5], [3e3, 0.25]]);
    let table = read("height, weight\n1,-2.5\n3e3,.25\n").unwrap();
    assert_eq!((table.columns, table.values), (vec!["height".into(), "weight".into()], expected.clone()));
    let table = read("1,-2.5\r\n\r\n 3e3 , 0.25").unwrap();
    assert_eq!((table.columns, table.values), (vec!["x1".into(), "x2".into()], expected.clone()));
    let table = read("\u{feff}a,b\n\"1\",-2.5\n3000,0.25\n").unwrap();
    assert_eq!((table.columns, table.values), (vec!["a".into(), "b".into()], expected));
}

#[test]
fn cells_that_are_not_finite_numbers_are_refused_where_they_are() {
    assert_eq!(refused("a,b\n1,2\n3,four\n"), (3, 2, "\"four\" is not a number".into()));
    assert_eq!(refused("1,2\n\n3,\n"), (3, 2, "an empty cell".into()));
    assert_eq!(refused("\u{feff}a,b\r\n\r\n1,2\r\n\r\n\r\n3,x"), (6, 2, "\"x\" is not a number".into()));
    assert_eq!(refused("1,2\nNaN,2\n"), (2, 1, "NaN is not a finite number".into()));
    assert_eq!(refused("1,2\n1,-inf\n"), (2, 2, "-inf is not a finite number".into()));
    assert_eq!(refused("1,2\n1,1e39\n"), (2, 2, "1e39 is beyond the range of f32".into()));
    assert_eq!(refused(b"1,2\n1,\xff\n"), (2, 2, "\"\u{fffd}\" is not a number".into()));
}

#[test]
fn a_first_line_with_one_number_is_no_header() {
    assert_eq!(refused("1.0,2.o\n3,4\n"), (1, 2, "\"2.o\" is not a number".into()));
}

#[test]
fn ragged_rows_are_refused_at_the_first_cell_too_few_or_too_many() {
    assert_eq!(refused("1,2\n3\n"), (2, 2, "1 cells in this row, 2 in the first".into()));
    assert_eq!(refused("a,b\n1,2\n3,4,5\n"), (3, 3, "3 cells in this row, 2 in the first".into()));
}

#[test]
fn more_columns_than_are_named_are_refused() {
    let problem = "4194305 cells in this row, at most 4194304 are read";
    assert_eq!(refused(",".repeat(1 << 22)), (1, 4_194_305, problem.into()));
}

#[test]
fn tables_without_rows_are_refused() {
    for text in ["", "\n\n", "a,b\n"] {
        assert!(matches!(read(text), Err(Error::Empty { .. })), "{text:?}");
    }
    assert!(matches!(Table::read_csv(Path::new("no/such.csv")), Err(Error::Read { .. })));
    assert!(matches!(Table::read_csv(Path::new(".")), Err(Error::Read { .. })));
}

#[test]
fn a_table_is_split_and_measured_on_its_training_rows() {
    let rows: String = (0..30).map(|i| format!("{i},{}\n", i * i)).collect();
    let (_folder, path) = file("t.csv", format!("a,b\n{rows}"));
    let data = load(&Spec::Csv(path), &LoadOptions::default()).unwrap();
    let train = data.split(flow_data::Part::Train).unwrap().to_reals();
    assert_eq!((train.dim(), data.validation.values().dim(), data.test.values().dim()), ((24, 2), (3, 2), (3, 2)));
    let Preprocessing::Table { columns, mean, std } = &data.preprocessing else { panic!("a table") };
    assert_eq!(columns, &["a", "b"]);
    for (i, column) in train.columns().into_iter().enumerate() {
        let column = column.mapv(f64::from);
        assert!((column.sum() / 24.0 - mean[i]).abs() < 1e-9);
        let variance = column.mapv(|x| (x - mean[i]).powi(2)).sum() / 24.0;
        assert!((variance.sqrt() - std[i]).abs() < 1e-9);
    }
}

#[test]
fn too_few_rows_and_columns_without_spread_are_refused() {
    let table = |rows: usize| (0..rows).map(|i| format!("{i},0.1\n")).collect::<String>();
    let (_folder, path) = file("t.csv", table(9));
    let error = load(&Spec::Csv(path), &LoadOptions::default()).unwrap_err();
    assert!(matches!(error, Error::TooFewRows { rows: 9, needed: 10, .. }), "{error}");
    let (_folder, path) = file("t.csv", table(10));
    let error = load(&Spec::Csv(path), &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("t.csv, column 2 (x2)"), "{error}");
}

/// A name may come from a model file of somebody else's.
#[cfg(unix)]
#[test]
fn what_has_no_end_is_not_read() {
    for name in ["csv:/dev/zero", "npy:/dev/zero", "idx:/dev/zero", "csv:/dev", "idx:/dev"] {
        let error = load(&name.parse().unwrap(), &LoadOptions::default()).unwrap_err();
        let Error::Read { path, source } = &error else { panic!("{error}") };
        assert!(path.starts_with("/dev") && source.to_string().contains("not a plain file"), "{name}: {source}");
    }
}

/// The readers themselves, too: `flow log-prob` hands them whatever it is told. Of `/dev/null` nothing but the kind is wrong.
#[cfg(unix)]
#[test]
fn the_readers_take_files_and_pipes_only() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("null.csv");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for path in [Path::new("/dev/null"), &link, folder.path()] {
        for read in [Table::read_csv, Table::read_npy] {
            let Err(Error::Read { path: named, source }) = read(path) else { panic!("{}", path.display()) };
            assert_eq!((&*named, source.to_string()), (path, "not a plain file".to_owned()));
        }
    }
}
