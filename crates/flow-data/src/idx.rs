//! IDX, the file format of MNIST, read as if the file had been made to do harm.
//!
//! A file is a big-endian header and then plain values: two zero bytes, the element type (8 for `u8`, the only one taken
//! here), the number of dimensions, each dimension as a `u32`, and the product of the dimensions in bytes. Gzip is
//! recognised by its own first bytes, not by the file's name. Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST
//! database of handwritten digits", at the end of the page.
//!
//! No more is ever decompressed or allocated than the header promises and one byte, and no header may promise more than
//! [`MAX_BYTES`]. The images of `idx:FILE` are mapped where they are not gzipped: their file may be of any size, if only it
//! has it.

use std::{
    cmp::Ordering,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;
use ndarray::ArrayD;
use sha2::{Digest, Sha256};

use crate::{Error, mapped::FileBytes};

/// The most values a file may hold: 1 GiB, twenty times MNIST.
pub const MAX_BYTES: u64 = 1 << 30;
/// The most dimensions an array may have.
pub const MAX_DIMS: u8 = 4;

/// The element type `u8`.
const U8: u8 = 8;
/// How every gzip file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What can be wrong with an IDX file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdxProblem {
    /// The file does not begin with two zero bytes.
    #[error("not an IDX file: begins with {found:02x?}, expected [00, 00]")]
    Magic {
        /// The first two bytes.
        found: [u8; 2],
    },
    /// The elements are not `u8`.
    #[error("element type 0x{found:02x}, only 0x08 (u8) is read")]
    ElementType {
        /// The type's code.
        found: u8,
    },
    /// No dimension, or too many.
    #[error("{found} dimensions, expected 1 to {MAX_DIMS}")]
    Dimensions {
        /// How many the header names.
        found: u8,
    },
    /// The dimensions multiply to more than [`MAX_BYTES`].
    #[error("dimensions {dims:?} are more than the {MAX_BYTES} values a file may hold")]
    TooLarge {
        /// The header's dimensions.
        dims: Vec<u32>,
    },
    /// The file ends within its header.
    #[error("the file ends within its header")]
    ShortHeader,
    /// The file ends before the last value.
    #[error("the file ends here, {expected} bytes were promised by its header")]
    Short {
        /// The length of the whole decompressed file, by its header.
        expected: u64,
    },
    /// The file goes on after the last value.
    #[error("the file goes on after the last value")]
    Long,
    /// The file cannot be read on: broken gzip, a checksum that does not fit, or a failing disk.
    #[error("cannot be read on: {0}")]
    Unreadable(io::Error),
}

/// An array of `u8` with 1 to 4 dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    dims: Vec<u32>,
    data: Vec<u8>,
}

impl Idx {
    /// Reads a file, gzipped or not.
    ///
    /// # Errors
    /// [`Error::Read`] where the file cannot be opened, [`Error::Idx`] for everything else, with the place.
    pub fn open(path: &Path) -> Result<Idx, Error> {
        let file = File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Idx::read(BufReader::new(file), path)
    }

    /// Reads from anything, gzipped or not; `path` is only for error messages.
    ///
    /// # Errors
    /// [`Error::Idx`], with the place in the decompressed bytes.
    pub fn read(mut reader: impl BufRead, path: &Path) -> Result<Idx, Error> {
        let fail = |offset, problem| Error::Idx { path: path.to_owned(), offset, problem };
        let gzipped = reader.fill_buf().map_err(|e| fail(0, IdxProblem::Unreadable(e)))?.starts_with(&GZIP);
        let parsed = if gzipped { parse(MultiGzDecoder::new(reader)) } else { parse(reader) };
        parsed.map_err(|(offset, problem)| fail(offset, problem))
    }

    /// The length of each dimension.
    pub fn dims(&self) -> Vec<usize> {
        self.dims.iter().map(|&dim| dim as usize).collect()
    }

    /// The values, the last dimension fastest.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The values alone, the last dimension fastest.
    pub(crate) fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The values with their shape.
    pub fn into_array(self) -> ArrayD<u8> {
        ArrayD::from_shape_vec(self.dims(), self.data).expect("the product of the dimensions was read")
    }

    /// The SHA-256 of the decompressed file, in hexadecimal. Two files have the same array only where all their bytes
    /// are the same, so the header is written anew instead of kept.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update([0, 0, U8, self.dims.len() as u8]);
        self.dims.iter().for_each(|dim| hash.update(dim.to_be_bytes()));
        hash.update(&self.data);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A file by how it can be read.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Plain: mapped, its values from byte `start` on, as many as the dimensions say and no more.
    Plain {
        /// The whole file.
        bytes: FileBytes,
        /// The length of each dimension.
        dims: Vec<usize>,
        /// Where its values begin.
        start: usize,
    },
    /// Gzipped: unpacked in memory.
    Gzipped(Idx),
}

impl Opened {
    /// Maps a file, or unpacks it where it is gzipped. A plain file may have more than [`MAX_BYTES`] values: none is
    /// read yet.
    ///
    /// # Errors
    /// As [`Idx::open`].
    pub fn open(path: &Path) -> Result<Opened, Error> {
        let bytes = FileBytes::open(path)?;
        if bytes.as_slice().starts_with(&GZIP) {
            return Idx::read(bytes.as_slice(), path).map(Opened::Gzipped);
        }
        let dims = check_plain(bytes.as_slice());
        let dims = dims.map_err(|(offset, problem)| Error::Idx { path: path.to_owned(), offset, problem })?;
        let start = 4 + 4 * dims.len();
        Ok(Opened::Plain { bytes, dims: dims.into_iter().map(|dim| dim as usize).collect(), start })
    }

    /// The length of each dimension.
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Opened::Plain { dims, .. } => dims.clone(),
            Opened::Gzipped(idx) => idx.dims(),
        }
    }
}

type Place = (u64, IdxProblem);

/// The dimensions of a plain file that is exactly as long as they say.
fn check_plain(bytes: &[u8]) -> Result<Vec<u32>, Place> {
    let dims = parse_header(&mut &bytes[..])?;
    // Four dimensions of 32 bits and a few bytes more: it cannot overflow.
    let values: u128 = dims.iter().map(|&dim| u128::from(dim)).product();
    let (found, expected) = (bytes.len() as u64, values + 4 + 4 * dims.len() as u128);
    match u128::from(found).cmp(&expected) {
        Ordering::Less => Err((found, IdxProblem::Short { expected: expected.try_into().unwrap_or(u64::MAX) })),
        Ordering::Equal => Ok(dims),
        Ordering::Greater => Err((expected as u64, IdxProblem::Long)),
    }
}

fn parse(mut reader: impl Read) -> Result<Idx, Place> {
    let dims = parse_header(&mut reader)?;
    let start = 4 + 4 * dims.len() as u64;
    let len = checked_len(&dims).ok_or_else(|| (4, IdxProblem::TooLarge { dims: dims.clone() }))?;
    let mut data = Vec::new();
    // One byte more than promised: it tells an over-long file, and at the end of a gzip it is what checks the checksum.
    let read = reader.take(len + 1).read_to_end(&mut data);
    let end = start + data.len() as u64;
    match read {
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err((end, IdxProblem::Unreadable(e))),
        _ if (data.len() as u64) < len => Err((end, IdxProblem::Short { expected: start + len })),
        Err(e) => Err((end, IdxProblem::Unreadable(e))),
        Ok(_) if data.len() as u64 > len => Err((start + len, IdxProblem::Long)),
        Ok(_) => Ok(Idx { dims, data }),
    }
}

fn parse_header(reader: &mut impl Read) -> Result<Vec<u32>, Place> {
    match read_word(reader, 0)? {
        [0, 0, U8, count @ 1..=MAX_DIMS] => {
            (0..u64::from(count)).map(|i| read_word(reader, 4 + 4 * i).map(u32::from_be_bytes)).collect()
        }
        [0, 0, U8, found] => Err((3, IdxProblem::Dimensions { found })),
        [0, 0, found, _] => Err((2, IdxProblem::ElementType { found })),
        [a, b, ..] => Err((0, IdxProblem::Magic { found: [a, b] })),
    }
}

fn read_word(reader: &mut impl Read, offset: u64) -> Result<[u8; 4], Place> {
    let mut word = [0; 4];
    match reader.read_exact(&mut word) {
        Ok(()) => Ok(word),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err((offset, IdxProblem::ShortHeader)),
        Err(e) => Err((offset, IdxProblem::Unreadable(e))),
    }
}

/// The product of the dimensions, where it is within the limit, a 0 not allowed to hide that the others are not.
fn checked_len(dims: &[u32]) -> Option<u64> {
    let checked = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(u64::from(dim.max(1))))?;
    (checked <= MAX_BYTES).then_some(if dims.contains(&0) { 0 } else { checked })
}
