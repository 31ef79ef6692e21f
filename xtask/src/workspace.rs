//! Where things lie: the folders of the clone that a chore reads or writes.

use std::path::{Path, PathBuf};

/// The clone this program was built in, or the folder a test puts in its place.
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    pub fn at(root: Option<PathBuf>) -> Self {
        let root = root.unwrap_or_else(|| {
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
            manifest.parent().unwrap_or(manifest).to_path_buf()
        });
        Self { root }
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
