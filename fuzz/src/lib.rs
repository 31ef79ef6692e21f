//! What the fuzz targets share: a file to be read, and what must hold of what was read.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use flow_data::{DataSet, Error, LoadOptions, Rows, Source, Split};
use tempfile::TempDir;

/// A folder of this process, in memory where the system has such a place.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a temporary folder")
});

/// The folder of this process.
pub fn folder() -> PathBuf {
    FOLDER.path().to_owned()
}

/// Writes `bytes` to a file of this name in the folder of this process.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.path().join(name);
    fs::write(&path, bytes).expect("a file in the temporary folder");
    path
}

/// Loads the data set of this name, and goes through what was loaded.
pub fn load(spec: &str, options: &LoadOptions) -> Result<DataSet, Error> {
    let data = flow_data::load(&spec.parse().expect("a name"), options)?;
    let Source::Fixed(train) = &data.train else { unreachable!("a file is no toy") };
    for split in [train, &data.validation, &data.test] {
        check(&data, split);
    }
    data.preprocessing.check(&data.event_shape).expect("a preprocessing of its own data");
    assert_eq!(data.preprocessing.column_names().len(), data.dim());
    Ok(data)
}

fn check(data: &DataSet, split: &Split) {
    let values = split.gather(&(0..split.len()).collect::<Vec<_>>());
    assert_eq!(values.dim(), (split.len(), data.dim()));
    assert!(split.labels.as_ref().is_none_or(|labels| labels.len() == split.len()));
    let reals = values.to_reals();
    assert!(reals.iter().all(|x| x.is_finite()));
    if let Some(levels) = data.preprocessing.levels() {
        assert!(reals.iter().all(|&x| x >= 0.0 && x < levels as f32));
    }
}

/// How much deflate can pack into a byte, and a little for headers.
pub const PACKED: usize = 1_040;
