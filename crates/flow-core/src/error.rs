//! What can be wrong with the arguments of a constructor.

/// An argument that no bijection, mask or flow can be built from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A coupling needs one coordinate to keep and one to change.
    #[error("a mask needs at least 2 coordinates, {dim} given: a coupling keeps one part and changes the other")]
    MaskTooSmall {
        /// Number of coordinates that were given.
        dim: usize,
    },
    /// A mask that keeps everything, or nothing.
    #[error("a mask over {dim} coordinates must keep some and change some; this one changes {changed}")]
    MaskOneSided {
        /// Number of coordinates.
        dim: usize,
        /// How many of them the mask changes.
        changed: usize,
    },
    /// An index list that is not a permutation.
    #[error("not a permutation of 0..{dim}: {why}")]
    NotAPermutation {
        /// Length of the list.
        dim: usize,
        /// The first thing that is wrong with it.
        why: String,
    },
    /// Two steps of one chain with the same name.
    #[error("two steps of the chain are called {name:?}; a trace and a parameter file need names that differ")]
    DuplicateName {
        /// The name that occurs twice.
        name: String,
    },
    /// Levels that an image cannot have.
    #[error("{levels} levels for images {event:?}: {why}")]
    Levels {
        /// How many were asked for.
        levels: usize,
        /// Channels, height, width.
        event: Vec<usize>,
        /// The first thing that is wrong.
        why: String,
    },
    /// A number outside its range.
    #[error("{name} must be {expected}, not {value}")]
    OutOfRange {
        /// Which argument.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it was.
        value: f64,
    },
    /// Two arguments whose lengths must agree.
    #[error("{what}: {left} and {right} differ")]
    LengthMismatch {
        /// Which two lengths.
        what: &'static str,
        /// The first length.
        left: usize,
        /// The second length.
        right: usize,
    },
}

/// Shorthand for results of this crate's constructors.
pub type Result<T> = std::result::Result<T, Error>;
