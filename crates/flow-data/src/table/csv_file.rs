//! CSV: numbers between commas, the header optional, every complaint with its line and column.

use std::path::Path;

use csv::{ByteRecord, Reader, ReaderBuilder};
use ndarray::Array2;

use super::{MAX_COLUMNS, Table, finite, numbered};
use crate::{Error, Values, endless};

pub(super) fn read(path: &Path) -> Result<Table, Error> {
    let bytes = endless::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let mut rows = Rows { path, bytes: &bytes, columns: 0, cells: Vec::new() };
    let names = rows.read()?;
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
    bytes: &'a [u8],
    columns: usize,
    cells: Vec<f32>,
}

impl Rows<'_> {
    /// Reads every line; returns the header's names where there is a header.
    fn read(&mut self) -> Result<Option<Vec<String>>, Error> {
        // Flexible and without a header as far as the reader knows: lengths and headers are judged here, with the place.
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(self.bytes);
        let mut record = ByteRecord::new();
        if !self.next(&mut reader, &mut record)? {
            return Ok(None);
        }
        self.columns = record.len();
        if self.columns > MAX_COLUMNS {
            let problem = format!("{} cells in this row, at most {MAX_COLUMNS} are read", self.columns);
            return Err(self.refuse(&record, MAX_COLUMNS + 1, problem));
        }
        let names = header(&record);
        if names.is_none() {
            self.push(&record)?;
        }
        while self.next(&mut reader, &mut record)? {
            self.push(&record)?;
        }
        Ok(names)
    }

    fn next(&self, reader: &mut Reader<&[u8]>, record: &mut ByteRecord) -> Result<bool, Error> {
        reader.read_byte_record(record).map_err(|e| Error::Read { path: self.path.to_owned(), source: e.into() })
    }

    fn push(&mut self, record: &ByteRecord) -> Result<(), Error> {
        if record.len() != self.columns {
            let problem = format!("{} cells in this row, {} in the first", record.len(), self.columns);
            return Err(self.refuse(record, record.len().min(self.columns) + 1, problem));
        }
        for (i, cell) in record.iter().enumerate() {
            let value = number(cell).and_then(finite).map_err(|problem| self.refuse(record, i + 1, problem))?;
            self.cells.push(value);
        }
        Ok(())
    }

    fn refuse(&self, record: &ByteRecord, column: usize, problem: String) -> Error {
        let line = self.line(record.position().map_or(0, |position| position.byte() as usize));
        Error::Csv { path: self.path.to_owned(), line, column, problem }
    }

    /// The line, from 1, of the first cell at or after a byte: a record's position is before the blank lines in front
    /// of it.
    fn line(&self, from: usize) -> u64 {
        let blank = self.bytes[from..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let before = &self.bytes[..from + blank];
        1 + before.iter().filter(|byte| **byte == b'\n').count() as u64
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
