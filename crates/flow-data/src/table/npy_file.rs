//! NPY: NumPy's own file of one array, seen through a view, so that no header can make us allocate.

use std::path::Path;

use ndarray::{ArrayViewD, Axis};
use ndarray_npy::{ViewElement, ViewNpyError, ViewNpyExt};

use super::{MAX_COLUMNS, Table, finite, numbered};
use crate::{
    Error, Values,
    mapped::{Columns, Element, FileBytes, Layout, MappedRows, Number},
};

/// NumPy's headers of arrays of a few dimensions are 128 bytes or less.
const MAX_HEADER: usize = 1024;
/// A dictionary and a tuple are all the nesting a header needs; the parser behind `view_npy` recurses.
const MAX_BRACKETS: usize = 8;

/// All rows in memory.
pub(super) fn read(path: &Path) -> Result<Table, Error> {
    let rows = open(path)?;
    if !rows.always_finite() {
        rows.pass().try_for_each(|(part, values)| check(&rows, part.start, &values, path))?;
    }
    let columns = numbered(rows.columns());
    Ok(Table { columns, values: rows.gather(0..rows.len()), path: path.to_owned() })
}

/// The rows, left in the file; its length is what the header says.
pub(super) fn open(path: &Path) -> Result<MappedRows, Error> {
    let bytes = FileBytes::open(path)?;
    let start = data_start(bytes.as_slice()).map_err(|problem| Error::Npy { path: path.to_owned(), problem })?;
    let bytes = bytes.aligned(start);
    let layout = layout(bytes.as_slice(), path)?;
    Ok(MappedRows::new(bytes, layout))
}

/// Refuses a value that is not a finite `f32` among some rows, of which the first is row `start` of the file.
pub(super) fn check(rows: &MappedRows, start: usize, values: &Values, path: &Path) -> Result<(), Error> {
    let Values::Reals(values) = values else { return Ok(()) };
    let Some(((row, column), _)) = values.indexed_iter().find(|(_, value)| !value.is_finite()) else { return Ok(()) };
    let row = start + row;
    let problem = finite(rows.exact(row, column)).expect_err("it is not finite as f32");
    Err(Error::NpyCell { path: path.to_owned(), row: row + 1, column: column + 1, problem })
}

/// Tries one element type after the other: only the file knows which it has.
fn layout(bytes: &[u8], path: &Path) -> Result<Layout, Error> {
    macro_rules! first_of {
        ($($number:ident: $type:ty),*) => {
            $(if let Some(view) = view::<$type>(bytes, path)? {
                return places(&view, bytes, Element::Real(Number::$number), path);
            })*
        };
    }
    if let Some(view) = view::<u8>(bytes, path)? {
        return places(&view, bytes, Element::Levels { levels: 256, shift: 0 }, path);
    }
    first_of!(F32: f32, F64: f64, I64: i64, I32: i32, I16: i16, I8: i8, U16: u16, U32: u32, U64: u64);
    let problem = "the elements are not numbers that are read: f32, f64 or integers, of this machine's byte order";
    Err(Error::Npy { path: path.to_owned(), problem: problem.into() })
}

/// The array, or `None` where its elements are of another type.
fn view<'a, A: ViewElement>(bytes: &'a [u8], path: &Path) -> Result<Option<ArrayViewD<'a, A>>, Error> {
    match ArrayViewD::view_npy(bytes) {
        Ok(view) => Ok(Some(view)),
        Err(ViewNpyError::WrongDescriptor(_) | ViewNpyError::NonNativeEndian) => Ok(None),
        Err(e) => Err(Error::Npy { path: path.to_owned(), problem: e.to_string() }),
    }
}

/// Where the view finds its values: everything after the first axis flattened in row-major order, so that
/// `[n, 28, 28]` is as good as `[n, 784]`. No value is looked at.
fn places<A>(view: &ArrayViewD<'_, A>, bytes: &[u8], element: Element, path: &Path) -> Result<Layout, Error> {
    if view.ndim() < 2 {
        return Err(flat(view.shape(), path));
    }
    if view.is_empty() {
        return Err(Error::Empty { path: path.to_owned() });
    }
    let place = |value: &A| std::ptr::from_ref(value).addr();
    let first = view.index_axis(Axis(0), 0);
    if first.len() > MAX_COLUMNS {
        let problem = format!("{} columns, at most {MAX_COLUMNS} are read", first.len());
        return Err(Error::Npy { path: path.to_owned(), problem });
    }
    let start = place(first.iter().next().expect("not empty"));
    let columns = match first.is_standard_layout() {
        true => Columns::Together(first.len()),
        false => Columns::Apart(first.iter().map(|value| place(value) - start).collect()),
    };
    let pitch = view.strides()[0].unsigned_abs() * size_of::<A>();
    Ok(Layout { element, rows: view.len_of(Axis(0)), start: start - bytes.as_ptr().addr(), pitch, columns })
}

fn flat(shape: &[usize], path: &Path) -> Error {
    let problem = format!("an array of shape {shape:?}; rows are read from two axes or more, [n, ..]");
    Error::Npy { path: path.to_owned(), problem }
}

/// Where the header ends, once it is known to be short and flat.
fn data_start(bytes: &[u8]) -> Result<usize, String> {
    let length = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => 10 + usize::from(u16::from_le_bytes([*a, *b])),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            12usize.saturating_add(u32::from_le_bytes([*a, *b, *c, *d]) as usize)
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => return Err("an NPY version that is not known".into()),
        _ => return Err("not an NPY file".into()),
    };
    if length > MAX_HEADER {
        return Err(format!("a header of {length} bytes, at most {MAX_HEADER} are read"));
    }
    let header = bytes.get(..length).ok_or("the file ends within its header")?;
    match header.iter().filter(|byte| b"([{".contains(byte)).count() {
        0..=MAX_BRACKETS => {}
        brackets => return Err(format!("a header with {brackets} brackets")),
    }
    // The first group is what comes before any parenthesis.
    let groups = header.split(|&byte| byte == b'(').skip(1);
    groups.map(|group| group.split(|&byte| byte == b')').next().unwrap_or_default()).try_for_each(require_shape)?;
    Ok(length)
}

/// Refuses axes, but for those of no entry, of more entries than there are addresses: of such an array with one axis of no
/// entry the parser behind `view_npy` takes for granted that there can be none. A shape is all that a header has in
/// parentheses.
fn require_shape(axes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(axes);
    let entries = text.split(',').map(str::trim).filter(|axis| !axis.is_empty()).try_fold(1usize, |entries, axis| {
        let plain = axis.bytes().all(|byte| byte.is_ascii_digit());
        let axis: usize = axis.parse().ok().filter(|_| plain)?;
        entries.checked_mul(axis.max(1))
    });
    match entries.map(isize::try_from) {
        Some(Ok(_)) => Ok(()),
        _ => Err(format!("a shape ({text}) that no array can have")),
    }
}
