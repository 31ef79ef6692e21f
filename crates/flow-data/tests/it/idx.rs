//! IDX files: good ones, and every kind of bad one.

use std::{io::Cursor, path::Path};

use flow_data::{
    Error,
    idx::{Idx, IdxProblem, MAX_BYTES},
};

use crate::{file, gzip};

pub fn header(element_type: u8, dims: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0, 0, element_type, dims.len() as u8];
    dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
    bytes
}

fn small() -> Vec<u8> {
    [header(8, &[2, 3]), vec![1, 2, 3, 4, 5, 6]].concat()
}

/// The place and kind of what is wrong; the message must name the file and the place.
fn refused(bytes: &[u8]) -> (u64, IdxProblem) {
    let error = Idx::read(Cursor::new(bytes), Path::new("some/file")).expect_err("a bad file");
    let message = error.to_string();
    let Error::Idx { offset, problem, .. } = error else { panic!("not about IDX: {message}") };
    assert!(message.starts_with(&format!("some/file, byte {offset} ")), "{message}");
    (offset, problem)
}

#[test]
fn plain_and_gzipped_files_give_the_same_array() {
    for bytes in [small(), gzip(&small()), [gzip(&small()[..9]), gzip(&small()[9..])].concat()] {
        let (_folder, path) = file("a", bytes);
        let idx = Idx::open(&path).unwrap();
        assert_eq!((idx.dims(), idx.data()), (vec![2, 3], &[1, 2, 3, 4, 5, 6][..]));
        assert_eq!(idx.into_array()[[1, 0]], 4);
    }
}

#[test]
fn one_to_four_dimensions_are_read() {
    for dims in [&[4][..], &[2, 2], &[1, 2, 2], &[2, 1, 1, 2], &[0, 7]] {
        let len = dims.iter().product::<u32>() as usize;
        let bytes = [header(8, dims), vec![9; len]].concat();
        let array = Idx::read(Cursor::new(bytes), Path::new("a")).unwrap().into_array();
        assert_eq!((array.ndim(), array.len()), (dims.len(), len));
    }
}

#[test]
fn the_digest_is_that_of_the_decompressed_file() {
    // sha256sum of the 18 bytes of `small`.
    let expected = "99dfdf5208bf6a61c1b88e00d5f7a184fbca64ad4cd2e6f95c3a17f36216a25e";
    for bytes in [small(), gzip(&small())] {
        assert_eq!(Idx::read(Cursor::new(bytes), Path::new("a")).unwrap().sha256(), expected);
    }
}

#[test]
fn wrong_beginnings_are_refused() {
    assert!(matches!(refused(b"<html>404</html>"), (0, IdxProblem::Magic { found: [b'<', b'h'] })));
    assert!(matches!(refused(&header(13, &[2, 2])), (2, IdxProblem::ElementType { found: 13 })));
    assert!(matches!(refused(&header(8, &[])), (3, IdxProblem::Dimensions { found: 0 })));
    assert!(matches!(refused(&header(8, &[1; 5])), (3, IdxProblem::Dimensions { found: 5 })));
}

#[test]
fn absurd_dimensions_are_refused_before_anything_is_allocated() {
    let limit = MAX_BYTES as u32;
    for dims in [&[u32::MAX; 4][..], &[limit + 1], &[65_536, 65_536], &[u32::MAX, u32::MAX, 0], &[0, limit + 1]] {
        for bytes in [header(8, dims), gzip(&header(8, dims))] {
            assert!(matches!(refused(&bytes), (4, IdxProblem::TooLarge { dims: found }) if found == dims));
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = small();
    for len in 0..whole.len() {
        let (offset, problem) = refused(&whole[..len]);
        match len {
            0..12 => assert!(matches!(problem, IdxProblem::ShortHeader), "{len}: {problem}"),
            _ => assert!(offset == len as u64 && matches!(problem, IdxProblem::Short { expected: 18 }), "{problem}"),
        }
    }
    assert!(matches!(refused(&header(8, &[1 << 30])), (8, IdxProblem::Short { .. })));
}

#[test]
fn every_truncation_of_a_gzip_is_refused() {
    let whole = gzip(&small());
    for len in 0..whole.len() {
        refused(&whole[..len]);
    }
    // With all values there and only the checksum cut off, it is still not a whole file.
    assert!(matches!(refused(&whole[..whole.len() - 1]), (18, IdxProblem::Unreadable(_))));
}

#[test]
fn what_follows_the_values_is_refused() {
    let long = [small(), vec![0]].concat();
    assert!(matches!(refused(&long), (18, IdxProblem::Long)));
    assert!(matches!(refused(&gzip(&long)), (18, IdxProblem::Long)));
    let garbage = [gzip(&small()), b"garbage after the end".to_vec()].concat();
    assert!(matches!(refused(&garbage), (18, IdxProblem::Unreadable(_))));
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut bytes = gzip(&small());
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    assert!(matches!(refused(&bytes), (18, IdxProblem::Unreadable(_))));
}

#[test]
fn a_gzip_bomb_is_not_decompressed() {
    let bomb = gzip(&[header(8, &[10]), vec![0; 64 << 20]].concat());
    let mut reader = Cursor::new(&bomb);
    let error = Idx::read(&mut reader, Path::new("bomb")).unwrap_err();
    assert!(matches!(error, Error::Idx { offset: 18, problem: IdxProblem::Long, .. }));
    assert!(bomb.len() > 50_000 && reader.position() < 1_000, "{} of {} bytes read", reader.position(), bomb.len());
}

#[test]
fn a_missing_file_is_named() {
    let error = Idx::open(Path::new("no/such/file")).unwrap_err();
    assert!(matches!(error, Error::Read { .. }) && error.to_string().contains("no/such/file"), "{error}");
}
