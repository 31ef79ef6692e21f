//! What can be wrong with a figure's input.

/// The result of drawing a figure.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a figure could not be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to draw: no layer, no row, no pixel.
    #[error("{what} is empty: there is nothing to draw")]
    Empty {
        /// The input that is empty.
        what: String,
    },
    /// An array has the wrong shape, or not the shape of the array beside it.
    #[error("{what} has shape {found:?}, expected {expected}")]
    Shape {
        /// The array.
        what: String,
        /// The shape it should have, in words.
        expected: String,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// Not one value is finite.
    #[error("{what} holds no finite value")]
    NotFinite {
        /// The input.
        what: String,
    },
    /// A setting makes no sense.
    #[error("{setting}: {reason}")]
    Setting {
        /// The name of the setting.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An animation does not fit its limit, even with the fewest frames.
    #[error("the animation takes {bytes} bytes at its smallest, more than the {limit} allowed")]
    TooLarge {
        /// The size reached.
        bytes: usize,
        /// The size allowed.
        limit: usize,
    },
    /// A PNG could not be encoded.
    #[error("encoding a PNG")]
    Png(#[from] image::ImageError),
    /// A GIF could not be encoded.
    #[error("encoding a GIF")]
    Gif(#[from] gif::EncodingError),
    /// Axes or curves could not be drawn.
    #[error("drawing axes: {0}")]
    Plot(String),
}

impl Error {
    pub(crate) fn empty(what: impl Into<String>) -> Self {
        Self::Empty { what: what.into() }
    }

    pub(crate) fn shape(what: impl Into<String>, expected: impl Into<String>, found: &[usize]) -> Self {
        Self::Shape { what: what.into(), expected: expected.into(), found: found.to_vec() }
    }

    pub(crate) fn not_finite(what: impl Into<String>) -> Self {
        Self::NotFinite { what: what.into() }
    }

    pub(crate) fn setting(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { setting, reason: reason.into() }
    }
}
