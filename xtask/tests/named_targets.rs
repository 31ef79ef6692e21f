//! Every example, benchmark and test that a page names is there: a reader copies the line.

use std::fs;
use std::path::{Path, PathBuf};

/// The pages: those at the top, in `docs`, and one a crate.
fn pages(root: &Path) -> Vec<PathBuf> {
    let files = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let top = files(root.to_owned()).chain(files(root.join("docs"))).chain(files(root.join("datasets")));
    let crates = files(root.join("crates")).map(|folder| folder.join("README.md"));
    top.chain(crates).filter(|path| path.extension().is_some_and(|end| end == "md") && path.is_file()).collect()
}

/// Whether a crate has this target: a file of `folder`, or a folder of it.
fn is_there(root: &Path, folder: &str, name: &str) -> bool {
    fs::read_dir(root.join("crates")).unwrap().any(|entry| {
        let folder = entry.unwrap().path().join(folder);
        folder.join(format!("{name}.rs")).is_file() || folder.join(name).join("main.rs").is_file()
    })
}

#[test]
fn targets_that_pages_name_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut found, mut missing) = (0, Vec::new());
    for page in pages(root) {
        let text = fs::read_to_string(&page).unwrap();
        let around = |c: char| !c.is_alphanumeric() && c != '-';
        let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_matches(around)).collect();
        for pair in words.windows(2) {
            let folder = match pair[0] {
                "--example" => "examples",
                "--bench" => "benches",
                "--test" => "tests",
                _ => continue,
            };
            found += 1;
            if !is_there(root, folder, pair[1]) {
                missing.push(format!("{}: {} {}", page.display(), pair[0], pair[1]));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(found > 5, "{found}: the pages have other words now");
}
