//! NPY: NumPy's own file of one array, seen through a view, so that no header can make us allocate.

use std::path::Path;

use ndarray::{Array2, ArrayViewD};
use ndarray_npy::{ViewElement, ViewNpyError, ViewNpyExt};

use super::{Table, finite, numbered};
use crate::{Error, Values};

/// NumPy's headers of arrays of a few dimensions are 128 bytes or less.
const MAX_HEADER: usize = 1024;
/// A dictionary and a tuple are all the nesting a header needs; the parser behind `view_npy` recurses.
const MAX_BRACKETS: usize = 8;
/// The strictest alignment of the element types read here.
const ALIGN: usize = 8;

pub(super) fn read(path: &Path) -> Result<Table, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let refuse = |problem| Error::Npy { path: path.to_owned(), problem };
    let start = data_start(&bytes).map_err(refuse)?;
    let aligned = Aligned::new(&bytes, start);
    let values = values(aligned.bytes(), path)?;
    match values.dim() {
        (0, _) | (_, 0) => Err(Error::Empty { path: path.to_owned() }),
        (_, columns) => Ok(Table { columns: numbered(columns), values, path: path.to_owned() }),
    }
}

/// Tries one element type after the other: only the file knows which it has.
fn values(bytes: &[u8], path: &Path) -> Result<Values, Error> {
    if let Some(data) = view::<u8>(bytes, path)? {
        return Ok(Values::Levels { data, levels: 256 });
    }
    macro_rules! reals {
        ($($element:ty),*) => {
            $(if let Some(data) = view::<$element>(bytes, path)? {
                return reals(data.mapv(|value| value as f64), path);
            })*
        };
    }
    reals!(f32, f64, i64, i32, i16, i8, u16, u32, u64);
    let problem = "the elements are not numbers that are read: f32, f64 or integers, of this machine's byte order";
    Err(Error::Npy { path: path.to_owned(), problem: problem.into() })
}

/// The array as rows `[n, D]`, or `None` where its elements are of another type.
fn view<A: ViewElement + Copy>(bytes: &[u8], path: &Path) -> Result<Option<Array2<A>>, Error> {
    match ArrayViewD::view_npy(bytes) {
        Ok(view) => rows(&view, path).map(Some),
        Err(ViewNpyError::WrongDescriptor(_) | ViewNpyError::NonNativeEndian) => Ok(None),
        Err(e) => Err(Error::Npy { path: path.to_owned(), problem: e.to_string() }),
    }
}

/// Everything after the first axis flattened in row-major order: `[n, 28, 28]` is as good as `[n, 784]`.
fn rows<A: Copy>(view: &ArrayViewD<'_, A>, path: &Path) -> Result<Array2<A>, Error> {
    let shape = view.shape();
    let [n, event @ ..] = shape else { return Err(flat(shape, path)) };
    if event.is_empty() {
        return Err(flat(shape, path));
    }
    let numbers: Vec<A> = view.iter().copied().collect();
    Ok(Array2::from_shape_vec((*n, event.iter().product()), numbers).expect("as many as the shape says"))
}

fn flat(shape: &[usize], path: &Path) -> Error {
    let problem = format!("an array of shape {shape:?}; rows are read from two axes or more, [n, ..]");
    Error::Npy { path: path.to_owned(), problem }
}

fn reals(data: Array2<f64>, path: &Path) -> Result<Values, Error> {
    let mut out = Vec::with_capacity(data.len());
    for ((row, column), &value) in data.indexed_iter() {
        out.push(finite(value).map_err(|problem| {
            let path = path.to_owned();
            Error::NpyCell { path, row: row + 1, column: column + 1, problem }
        })?);
    }
    Ok(Values::Reals(Array2::from_shape_vec(data.dim(), out).expect("as many as there were")))
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
        0..=MAX_BRACKETS => Ok(length),
        brackets => Err(format!("a header with {brackets} brackets")),
    }
}

/// A copy of the file whose data lie where a view of numbers may be laid over them.
struct Aligned {
    buffer: Vec<u8>,
    shift: usize,
}

impl Aligned {
    fn new(bytes: &[u8], start: usize) -> Aligned {
        let mut buffer = vec![0; bytes.len() + ALIGN];
        let shift = (ALIGN - (buffer.as_ptr().addr() + start) % ALIGN) % ALIGN;
        buffer[shift..shift + bytes.len()].copy_from_slice(bytes);
        Aligned { buffer, shift }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.shift..self.buffer.len() - ALIGN + self.shift]
    }
}
