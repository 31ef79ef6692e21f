//! Reading a file, gzipped or not, while checking that its decompressed contents are the expected ones.

use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read, Write};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::mnist::File;

/// How the bytes that were read are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Plain,
}

impl Packing {
    pub fn file_name(self, file: &File) -> String {
        match self {
            Self::Gzip => format!("{}.gz", file.name),
            Self::Plain => file.name.clone(),
        }
    }
}

/// Why the bytes are not the expected file.
#[derive(Debug)]
pub enum Fault {
    /// A web page: most likely a mirror's or a proxy's error message.
    Page,
    Truncated {
        got: u64,
        expected: u64,
    },
    TooLong {
        expected: u64,
    },
    Digest {
        found: String,
        expected: String,
    },
    Gzip(io::Error),
    Source(io::Error),
    /// Our own disk: no other source would help.
    Sink(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page => write!(f, "a web page came instead of the file"),
            Self::Truncated { got, expected } => {
                write!(f, "it ends after {got} of {expected} bytes (decompressed)")
            }
            Self::TooLong { expected } => {
                write!(f, "it goes on after the {expected} bytes (decompressed) it should have")
            }
            Self::Digest { found, expected } => {
                write!(f, "its contents are wrong: SHA-256 {found} instead of {expected}")
            }
            Self::Gzip(error) => write!(f, "it is not readable as gzip: {error}"),
            Self::Source(error) => write!(f, "it cannot be read to its end: {error}"),
            Self::Sink(error) => write!(f, "it cannot be written: {error}"),
        }
    }
}

/// Copies `source` to `sink` as it is, decompressing on the side to check that it holds `file` and nothing more.
///
/// At most `file.size` bytes and a little are read and decompressed, however much a hostile source would send.
pub fn copy(source: impl Read, sink: impl Write, file: &File) -> Result<Packing, Fault> {
    // Even gzip's worst case (stored blocks and a header) adds far less than this.
    let limit = file.size + file.size / 100 + 65_536;
    let mut tee = Tee { source, sink, left: limit, stopped: None };

    let mut head = Vec::new();
    let read = (&mut tee).take(64).read_to_end(&mut head);
    if let Err(error) = read {
        return Err(tee.stopped.take().unwrap_or(Fault::Source(error)));
    }
    if head.trim_ascii_start().starts_with(b"<") {
        return Err(Fault::Page);
    }
    let packing = if head.starts_with(&[0x1f, 0x8b]) { Packing::Gzip } else { Packing::Plain };
    let whole = head.as_slice().chain(BufReader::with_capacity(65_536, &mut tee));
    let checked = match packing {
        Packing::Gzip => check(MultiGzDecoder::new(whole), file),
        Packing::Plain => check(whole, file),
    };
    match checked {
        Ok(()) => Ok(packing),
        // The decoder passes on what went wrong below it in its own words; what happened first is the truth.
        Err(fault) => Err(match (tee.stopped, fault) {
            (Some(Fault::TooLong { .. }), _) => Fault::TooLong { expected: file.size },
            (Some(below), _) => below,
            (None, fault) => fault,
        }),
    }
}

/// Whether `source` holds `file`.
pub fn read(source: impl Read, file: &File) -> Result<Packing, Fault> {
    copy(source, io::sink(), file)
}

fn check(mut contents: impl Read, file: &File) -> Result<(), Fault> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 65_536];
    let mut got = 0;
    loop {
        let n = match contents.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // All bytes there, yet the checksum behind them missing, or rubbish: the gzip itself is broken.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && got < file.size => {
                return Err(Fault::Truncated { got, expected: file.size });
            }
            Err(error) => return Err(Fault::Gzip(error)),
        };
        got += n as u64;
        if got > file.size {
            return Err(Fault::TooLong { expected: file.size });
        }
        hasher.update(&buffer[..n]);
    }
    if got < file.size {
        return Err(Fault::Truncated { got, expected: file.size });
    }
    let found = hexadecimal(&hasher.finalize());
    if found == file.sha256 { Ok(()) } else { Err(Fault::Digest { found, expected: file.sha256.clone() }) }
}

/// Hands on what it reads and writes a copy of it, up to a limit; remembers why it stopped.
struct Tee<R, W> {
    source: R,
    sink: W,
    left: u64,
    stopped: Option<Fault>,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match self.source.read(buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(self.stop(Fault::Source(error))),
        };
        if n as u64 > self.left {
            return Err(self.stop(Fault::TooLong { expected: 0 }));
        }
        self.left -= n as u64;
        match self.sink.write_all(&buffer[..n]) {
            Ok(()) => Ok(n),
            Err(error) => Err(self.stop(Fault::Sink(error))),
        }
    }
}

impl<R, W> Tee<R, W> {
    fn stop(&mut self, fault: Fault) -> io::Error {
        self.stopped = Some(fault);
        io::Error::other("stopped")
    }
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn file(contents: &[u8]) -> File {
        let sha256 = hexadecimal(&Sha256::digest(contents));
        File { name: "numbers".into(), size: contents.len() as u64, sha256 }
    }

    fn gzip(contents: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(contents).unwrap();
        encoder.finish().unwrap()
    }

    /// Gives one byte at a time, as a slow host may.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = 1.min(buffer.len());
            self.0.read(&mut buffer[..n])
        }
    }

    #[test]
    fn both_packings_pass_and_are_copied_as_they_are() {
        let contents = b"0123456789".repeat(1_000);
        let packed = gzip(&contents);
        for (bytes, packing) in [(&contents, Packing::Plain), (&packed, Packing::Gzip)] {
            let mut copied = Vec::new();
            assert_eq!(copy(Drip(bytes), &mut copied, &file(&contents)).unwrap(), packing);
            assert_eq!(&copied, bytes);
        }
        let two_members = [gzip(&contents[..17]), gzip(&contents[17..])].concat();
        assert_eq!(read(&two_members[..], &file(&contents)).unwrap(), Packing::Gzip);
    }

    #[test]
    fn every_other_content_is_named_for_what_it_is() {
        let contents = b"0123456789".repeat(1_000);
        let expected = file(&contents);
        let fault = |bytes: &[u8]| read(bytes, &expected).unwrap_err();

        assert!(matches!(fault(b"\n <!DOCTYPE html><title>Sorry</title>"), Fault::Page));
        assert!(matches!(fault(b""), Fault::Truncated { got: 0, expected: 10_000 }));
        assert!(matches!(fault(&contents[..9_999]), Fault::Truncated { got: 9_999, .. }));
        assert!(matches!(fault(&gzip(&contents)[..30]), Fault::Truncated { .. }));
        let packed = gzip(&contents);
        assert!(matches!(fault(&packed[..packed.len() - 1]), Fault::Gzip(_)));
        assert!(matches!(fault(&[&contents[..], b"!"].concat()), Fault::TooLong { .. }));
        assert!(matches!(fault(&gzip(&b"9".repeat(10_000))), Fault::Digest { .. }));
        let mut garbled = gzip(&contents);
        garbled[12] ^= 0x55;
        assert!(matches!(fault(&garbled), Fault::Gzip(_) | Fault::Truncated { .. } | Fault::Digest { .. }));
        assert!(matches!(fault(&[gzip(&contents), b"and more".to_vec()].concat()), Fault::Gzip(_)));
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let contents = b"0123456789".repeat(1_000);
        let bomb = gzip(&vec![0; 50_000_000]);
        assert!(bomb.len() < 60_000);
        assert!(matches!(read(&bomb[..], &file(&contents)).unwrap_err(), Fault::TooLong { expected: 10_000 }));
        // A source without an end is cut off too, whether it decompresses to anything or not.
        assert!(matches!(read(io::repeat(b'x'), &file(&contents)).unwrap_err(), Fault::TooLong { .. }));
        let endless_name = [0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3].chain(io::repeat(b'x'));
        assert!(matches!(read(endless_name, &file(&contents)).unwrap_err(), Fault::Gzip(_)));
        let nothing_but_members = gzip(b"").repeat(10_000);
        assert!(matches!(read(&nothing_but_members[..], &file(&contents)).unwrap_err(), Fault::TooLong { .. }));
    }

    #[test]
    fn a_full_disk_is_told_from_a_bad_source() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("no space left"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let contents = b"0123456789".repeat(1_000);
        let fault = copy(&gzip(&contents)[..], Full, &file(&contents)).unwrap_err();
        assert_eq!(fault.to_string(), "it cannot be written: no space left");
    }
}
