//! What can go wrong when data is loaded: every variant says which file, and where in it.

use std::{fmt, io, path::PathBuf};

use crate::idx::IdxProblem;

/// Everything that [`load`](crate::load) and the readers of this crate can refuse.
///
/// A message is complete by itself, but for [`Error::Read`], whose reason is its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is no data set's.
    #[error(
        "unknown data set {name:?}: expected moons, two-moons, circles, digits, mnist, cifar10, iris, winequality, \
         diabetes, csv:PATH, npy:PATH, images:DIR or idx:FILE"
    )]
    UnknownSpec {
        /// What was asked for.
        name: String,
    },

    /// A name that is no part's.
    #[error("unknown part {name:?}: expected train, validation or test")]
    UnknownPart {
        /// What was asked for.
        name: String,
    },

    /// A fixed number of training points was asked for where there is nothing to draw, or the number is 0.
    #[error(
        "{fixed} fixed training points of {spec}: only moons, two-moons and circles can be drawn, at least 1 point"
    )]
    Fixed {
        /// The data set asked for.
        spec: String,
        /// The number of points asked for.
        fixed: usize,
    },

    /// Values, labels and event shape that do not belong together.
    #[error(
        "{rows} rows of {columns} values with event shape {event_shape:?} and {labels:?} labels do not fit together"
    )]
    Shape {
        /// The number of rows of the values.
        rows: usize,
        /// The number of values of a row.
        columns: usize,
        /// The shape each row was said to have.
        event_shape: Vec<usize>,
        /// The number of labels, where there are any.
        labels: Option<usize>,
    },

    /// A file that cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },

    /// An IDX file that is not what it should be.
    #[error("{}, byte {offset} (of the decompressed file): {problem}", path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// Where in the decompressed bytes.
        offset: u64,
        /// What is wrong there.
        problem: IdxProblem,
    },

    /// The four files of MNIST are not together in any of the places looked at.
    #[error(
        "MNIST is in none of these places:{}\nfetch it with `cargo xtask fetch mnist`, or name the folder in FLOW_DATA_DIR",
        list(places)
    )]
    MnistMissing {
        /// Every folder looked at, in order, with what is missing there.
        places: Vec<MissingIn>,
    },

    /// The six files of CIFAR-10 are not together in any of the places looked at.
    #[error(
        "CIFAR-10 is in none of these places:{}\nget its binary version from https://www.cs.toronto.edu/~kriz/cifar.html, \
         unpack it in datasets, or name the folder in FLOW_DATA_DIR",
        list(places)
    )]
    CifarMissing {
        /// Every folder looked at, in order, with what is missing there.
        places: Vec<MissingIn>,
    },

    /// A file or a folder of images that cannot be used.
    #[error("{}: {problem}", path.display())]
    Images {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, where in it, and what to do.
        problem: String,
    },

    /// An option of images that the data set cannot follow.
    #[error("{spec}: {problem}")]
    ImageOption {
        /// The data set asked for.
        spec: String,
        /// Which option, and what it could be.
        problem: String,
    },

    /// A file of MNIST whose decompressed bytes are not the published ones.
    #[error("{}: not MNIST: SHA-256 of the decompressed file is {found}, expected {expected}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// The published digest, in hexadecimal.
        expected: String,
        /// The digest of what is there.
        found: String,
    },

    /// A place in a CSV file that is not a finite number, or a row of another length or with too many cells.
    #[error("{}, line {line}, column {column}: {problem}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1 (blank lines and the header count).
        line: u64,
        /// The column, counted from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },

    /// An NPY file that is not an array of numbers of two axes or more, or has too many columns.
    #[error("{}: {problem}", path.display())]
    Npy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// An entry of an NPY file that is not a finite `f32`.
    #[error("{}, row {row}, column {column}: {problem}", path.display())]
    NpyCell {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1.
        row: usize,
        /// The column, counted from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },

    /// A table with nothing in it.
    #[error("{}: no rows", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },

    /// A table or a file of images too short to be split into training, validation and test rows.
    #[error("{}: {rows} rows, at least {needed} are needed to split them 80/10/10", path.display())]
    TooFewRows {
        /// The file.
        path: PathBuf,
        /// The rows it has.
        rows: usize,
        /// The rows it needs.
        needed: usize,
    },

    /// More rows than are numbered.
    #[error("{}: {rows} rows, at most {most} are read", path.display())]
    TooManyRows {
        /// The file.
        path: PathBuf,
        /// The rows it has.
        rows: usize,
        /// The most it may have.
        most: usize,
    },

    /// A column that has one and the same value in every training row: it has no density.
    #[error("{}, column {column} ({name}): the same value in every training row has no density; drop the column", path.display())]
    ConstantColumn {
        /// The file, or the data set's name where it is embedded.
        path: PathBuf,
        /// The column, counted from 1.
        column: usize,
        /// The column's name.
        name: String,
    },
}

/// A folder in which fetched data was looked for, and the files that are not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingIn {
    /// The folder.
    pub folder: PathBuf,
    /// The files it lacks, by their names without `.gz`.
    pub files: Vec<&'static str>,
}

impl fmt::Display for MissingIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n  {} (lacks {})", self.folder.display(), self.files.join(", "))
    }
}

fn list(places: &[MissingIn]) -> String {
    places.iter().map(MissingIn::to_string).collect()
}
