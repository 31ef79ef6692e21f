//! Where things lie: the folders of the clone that a chore reads or writes.

use std::path::{Path, PathBuf};

/// The clone this program works in, or the folder a test puts in its place.
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    pub fn at(root: Option<PathBuf>) -> Self {
        let root = root.unwrap_or_else(this_clone);
        // Other programs are started in it, and told of paths below it.
        Self { root: std::path::absolute(&root).unwrap_or(root) }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The four MNIST files, once fetched.
    pub fn mnist(&self) -> PathBuf {
        self.root.join("datasets/mnist")
    }

    /// The committed gallery.
    pub fn results(&self) -> PathBuf {
        self.root.join("results")
    }

    /// `path` as people want to read it: relative to the clone where it lies inside.
    pub fn shown(&self, path: &Path) -> String {
        let shown = path.strip_prefix(&self.root).unwrap_or(path);
        shown.display().to_string()
    }
}

/// Where cargo runs this program from, or where it was compiled if nobody says: another place once a clone has moved.
fn this_clone() -> PathBuf {
    let from = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|folder| is_ours(folder));
    let xtask = from.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    xtask.parent().unwrap_or(&xtask).to_path_buf()
}

/// Whether this is the folder of `xtask` in a clone: cargo sets the variable for whatever it runs.
fn is_ours(manifest: &Path) -> bool {
    let is_there = |path: &str| manifest.join(path).is_file();
    manifest.ends_with("xtask") && is_there("Cargo.toml") && is_there("../crates/flow-cli/Cargo.toml")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_clone_is_told_from_another_package() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(is_ours(here));
        assert!(!is_ours(&here.with_file_name("crates").join("flow-cli")));
        let other = tempfile::tempdir().unwrap();
        let xtask = other.path().join("xtask");
        fs::create_dir(&xtask).unwrap();
        fs::write(xtask.join("Cargo.toml"), "").unwrap();
        assert!(!is_ours(&xtask), "of another workspace");
    }
}
