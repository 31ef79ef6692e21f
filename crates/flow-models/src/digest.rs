//! The digest by which a file knows itself: one turned bit, in a number or in the text, and it is refused.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The metadata key of the digest.
pub(crate) const KEY: &str = "sha256";
/// What stands in the place of the digits while they are computed.
const BLANK: [u8; 64] = [b'0'; 64];
/// How the header of a file with metadata begins, as the safetensors crate writes it.
const START: &[u8] = br#"{"__metadata__":{"#;
/// Bytes before the header: its length.
pub(crate) const LENGTH: usize = 8;

/// `file`, a safetensors file with metadata, with one more metadata key: the SHA-256 of all that is returned, its own
/// digits counting as zeros.
///
/// The key is put into the text of the header, for the safetensors crate writes several keys in a random order.
pub(crate) fn seal(file: &[u8]) -> Vec<u8> {
    let (header, numbers) = parts(file);
    let header = header.trim_ascii_end();
    assert!(header.starts_with(START), "the safetensors crate begins a header with the metadata");
    let rest = &header[START.len()..];
    let key = format!("\"{KEY}\":\"");
    let mut header = [START, key.as_bytes(), &BLANK, b"\",", rest].concat();
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    let at = LENGTH + START.len() + key.len();
    let mut file = [&(header.len() as u64).to_le_bytes()[..], &header, numbers].concat();
    let digest = hex(&Sha256::digest(&file));
    file[at..at + BLANK.len()].copy_from_slice(digest.as_bytes());
    file
}

/// Whether `file` is as it was when it was given `digest`.
pub(crate) fn is_whole(file: &[u8], digest: &str) -> bool {
    let (header, _) = parts(file);
    let found = header.windows(BLANK.len()).position(|part| part == digest.as_bytes());
    let Some(at) = found.map(|at| LENGTH + at) else { return false };
    let mut sha = Sha256::new();
    sha.update(&file[..at]);
    sha.update(BLANK);
    sha.update(&file[at + BLANK.len()..]);
    hex(&sha.finalize()) == digest
}

/// Header and numbers of a file whose header has been read.
fn parts(file: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = file.split_at(LENGTH);
    rest.split_at(u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}
