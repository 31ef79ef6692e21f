//! CSV: numbers between commas, the header optional, every complaint with its line and column.

use std::{fs::File, path::Path};

use csv::{ByteRecord, Reader, ReaderBuilder};
use ndarray::Array2;

use super::{Table, finite, numbered};
use crate::{Error, Values};

pub(super) fn read(path: &Path) -> Result<Table, Error> {
    let file = File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    // Flexible and without a header as far as the reader knows: lengths and headers are judged here, with the place.
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file);
    let mut rows = Rows { path, columns: 0, cells: Vec::new() };
    let names = rows.read(&mut reader)?;
    if rows.cells.is_empty() {
        return Err(Error::Empty { path: path.to_owned() });
    }
    let shape = (rows.cells.len() / rows.columns, rows.columns);
    let values = Array2::from_shape_vec(shape, rows.cells).expect("every row was checked to have this length");
    Ok(Table {
        columns: names.unwrap_or_else(|| numbered(shape.1)),
        values: Values::Reals(values),
        path: path.to_owned(),
    })
}

/// The cells read so far.
struct Rows<'a> {
    path: &'a Path,
    columns: usize,
    cells: Vec<f32>,
}

impl Rows<'_> {
    /// Reads every line; returns the header's names where there is a header.
    fn read(&mut self, reader: &mut Reader<File>) -> Result<Option<Vec<String>>, Error> {
        let mut names = None;
        let mut record = ByteRecord::new();
        let mut first = true;
        while self.next(reader, &mut record)? {
            if first {
                self.columns = record.len();
                names = header(&record);
            }
            if !first || names.is_none() {
                self.push(&record)?;
            }
            first = false;
        }
        Ok(names)
    }

    fn next(&self, reader: &mut Reader<File>, record: &mut ByteRecord) -> Result<bool, Error> {
        reader.read_byte_record(record).map_err(|e| {
            let line = e.position().map_or(0, csv::Position::line);
            match e.into_kind() {
                csv::ErrorKind::Io(source) => Error::Read { path: self.path.to_owned(), source },
                kind => self.refuse(line, 1, format!("{kind:?}")),
            }
        })
    }

    fn push(&mut self, record: &ByteRecord) -> Result<(), Error> {
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != self.columns {
            let problem = format!("{} cells in this row, {} in the first", record.len(), self.columns);
            return Err(self.refuse(line, record.len().min(self.columns) + 1, problem));
        }
        for (i, cell) in record.iter().enumerate() {
            let value = number(cell).and_then(finite).map_err(|problem| self.refuse(line, i + 1, problem))?;
            self.cells.push(value);
        }
        Ok(())
    }

    fn refuse(&self, line: u64, column: usize, problem: String) -> Error {
        Error::Csv { path: self.path.to_owned(), line, column, problem }
    }
}

/// The names of the columns, where no cell of the first line is a number: one that is makes the others mistakes.
fn header(record: &ByteRecord) -> Option<Vec<String>> {
    let name = |cell| String::from_utf8_lossy(cell).trim().to_owned();
    record.iter().all(|cell| number(cell).is_err()).then(|| record.iter().map(name).collect())
}

fn number(cell: &[u8]) -> Result<f64, String> {
    let text = String::from_utf8_lossy(cell);
    match text.trim() {
        "" => Err("an empty cell".into()),
        text => text.parse().map_err(|_| format!("{:?} is not a number", shortened(text))),
    }
}

/// Enough of a cell to find it by.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
