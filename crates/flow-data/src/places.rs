//! Where fetched data is looked for.

use std::path::{Path, PathBuf};

use crate::MissingIn;

/// The environment variable that names the folder of fetched data.
pub const DATA_DIR_VARIABLE: &str = "FLOW_DATA_DIR";

/// Where to look, in order: a folder that was named, or else the environment's and then `datasets`; in each first these
/// sub-folders and then the folder itself.
pub(crate) fn places(named: Option<&Path>, sub_folders: &[&str]) -> Vec<PathBuf> {
    in_order(named, std::env::var_os(DATA_DIR_VARIABLE).map(PathBuf::from), sub_folders)
}

fn in_order(named: Option<&Path>, environment: Option<PathBuf>, sub_folders: &[&str]) -> Vec<PathBuf> {
    let folders = match named {
        Some(named) => vec![named.to_owned()],
        None => environment.into_iter().chain([PathBuf::from("datasets")]).collect(),
    };
    let inside = |folder: PathBuf| sub_folders.iter().map(|sub| folder.join(sub)).chain([folder.clone()]).collect();
    folders.into_iter().flat_map::<Vec<_>, _>(inside).collect()
}

/// The first folder in which `has` finds every file, or else what each of them lacks.
pub(crate) fn first_with_all(
    places: &[PathBuf],
    files: &[&'static str],
    has: impl Fn(&Path, &str) -> bool,
) -> Result<PathBuf, Vec<MissingIn>> {
    let mut missing = Vec::new();
    for folder in places {
        let files: Vec<_> = files.iter().copied().filter(|name| !has(folder, name)).collect();
        if files.is_empty() {
            return Ok(folder.clone());
        }
        missing.push(MissingIn { folder: folder.clone(), files });
    }
    Err(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_is_the_only_one_looked_at() {
        let places = in_order(Some(Path::new("a")), Some("b".into()), &["c", "d"]);
        assert_eq!(places, ["a/c", "a/d", "a"].map(Path::new));
    }

    #[test]
    fn without_one_the_environment_comes_before_datasets() {
        let expected = ["b/mnist", "b", "datasets/mnist", "datasets"].map(Path::new);
        assert_eq!(in_order(None, Some("b".into()), &["mnist"]), expected);
        assert_eq!(in_order(None, None, &["mnist"]), expected[2..]);
    }
}
