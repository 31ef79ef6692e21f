//! Compiled kernels on disk, so that the next process need not compile them.

use std::fs;
use std::path::PathBuf;

/// The place of one kernel's code in the user's cache: in `flow-kernels` below `$XDG_CACHE_HOME`, or `~/.cache`. Where there is none,
/// or it cannot be written to, nothing is kept.
pub(super) struct Kept(Option<PathBuf>);

impl Kept {
    /// Of this source and these options, by this version of the compiler.
    pub fn new(source: &str, options: &[String], version: i32) -> Self {
        Kept(folder().map(|folder| {
            folder.join(format!("{:016x}.cubin", digest([source, &options.join(" "), &version.to_string()].concat())))
        }))
    }

    /// The code, if it is there and whole.
    pub fn read(&self) -> Option<Vec<u8>> {
        let mut bytes = fs::read(self.0.as_ref()?).ok()?;
        let (start, code) = bytes.split_first_chunk::<8>()?;
        let whole = !code.is_empty() && u64::from_le_bytes(*start) == digest(code);
        whole.then(|| bytes.split_off(8))
    }

    /// Keeps it; a kernel that cannot be kept is compiled again.
    pub fn write(&self, code: &[u8]) {
        let Some(path) = &self.0 else { return };
        let beside = path.with_extension(std::process::id().to_string());
        let write = || {
            fs::create_dir_all(path.parent()?).ok()?;
            fs::write(&beside, [&digest(code).to_le_bytes(), code].concat()).ok()?;
            fs::rename(&beside, path).ok()
        };
        if write().is_none() {
            let _ = fs::remove_file(&beside);
        }
    }
}

fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("flow-kernels"))
}

/// FNV-1a, of 64 bits: the same in every process.
fn digest(bytes: impl AsRef<[u8]>) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.as_ref().iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_again_if_it_is_whole() {
        let folder = std::env::temp_dir().join(format!("flow-kernels-{}", std::process::id()));
        let kept = Kept(Some(folder.join("a.cubin")));
        assert_eq!(kept.read(), None);
        kept.write(b"code");
        assert_eq!(kept.read().as_deref(), Some(&b"code"[..]));
        kept.write(b"other code");
        assert_eq!(kept.read().as_deref(), Some(&b"other code"[..]));
        let nothing = digest(b"").to_le_bytes();
        for broken in [&b"short"[..], b"", b"12345678other code", &nothing] {
            fs::write(folder.join("a.cubin"), broken).unwrap();
            assert_eq!(kept.read(), None);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
        Kept(None).write(b"code");
        assert_eq!(Kept(None).read(), None);
    }
}
