//! What the C++ side says when it fails.

use std::ffi::{CStr, c_char};

/// Why libtorch did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The libtorch of this program has it not: it is without CUDA, or of another version.
    #[error("the libtorch of this program has it not")]
    Unavailable,
    /// It refused, in its own words.
    #[error("{0}")]
    Refused(String),
}

/// What `call` gives, or what it wrote.
pub(crate) fn told<T>(call: impl FnOnce(*mut c_char, usize) -> Option<T>) -> Result<T, Error> {
    let mut why = [0u8; 1024];
    let given = call(why.as_mut_ptr().cast(), why.len());
    given.ok_or_else(|| {
        let text = CStr::from_bytes_until_nul(&why).map(CStr::to_string_lossy).unwrap_or_default();
        Error::Refused(text.lines().next().unwrap_or_default().to_owned())
    })
}
