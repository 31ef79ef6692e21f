//! The four files of MNIST: their names, lengths and digests, and the mirrors that serve them.

/// A file to be fetched, described by what it holds once it is decompressed, so that any mirror's gzip will do.
#[derive(Debug, Clone)]
pub struct File {
    /// Without `.gz`.
    pub name: String,
    /// Bytes, decompressed.
    pub size: u64,
    /// SHA-256 of the decompressed contents, in lower-case hexadecimal.
    pub sha256: String,
}

/// Tried in this order.
pub const MIRRORS: [&str; 2] =
    ["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"];

pub fn files() -> Vec<File> {
    let file = |name: &str, size, sha256: &str| File { name: name.into(), size, sha256: sha256.into() };
    vec![
        file("train-images-idx3-ubyte", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        file("train-labels-idx1-ubyte", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        file("t10k-images-idx3-ubyte", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        file("t10k-labels-idx1-ubyte", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ]
}
