//! Writing beside and renaming: the old file or the whole new one, and nothing left over.

use std::fs;
use std::path::Path;

use flow_models::write_beside;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_written_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write_beside(&path, b"a long first text").unwrap();
    write_beside(&path, b"second").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn nothing_is_left_where_writing_fails() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    assert!(write_beside(&missing.join("file"), b"text").is_err());
    assert!(!missing.exists());

    // The last step fails: what is to be replaced is a folder with something in it.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("inside"), b"text").unwrap();
    assert!(write_beside(&taken, b"text").is_err());
    assert_eq!(names(&taken), ["inside"]);

    let file = folder.path().join("file");
    fs::write(&file, b"text").unwrap();
    assert!(write_beside(&file.join("below"), b"text").is_err());
    assert!(write_beside(Path::new("/"), b"text").is_err());
    assert_eq!(names(folder.path()), ["file", "taken"]);
}

/// A rename would put a file in their place.
#[cfg(unix)]
#[test]
fn a_pipe_and_a_folder_are_not_replaced() {
    use std::os::unix::fs::FileTypeExt;

    let folder = tempfile::tempdir().unwrap();
    let (pipe, inside) = (folder.path().join("pipe"), folder.path().join("folder"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::create_dir(&inside).unwrap();
    for path in [&pipe, &inside] {
        assert!(write_beside(path, b"text").unwrap_err().to_string().contains("not a plain file"));
    }
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    assert_eq!(names(folder.path()), ["folder", "pipe"]);
}

/// Where files may be made but not listed, the folder cannot be opened to be brought to disk. (A superuser may.)
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_listed_takes_files() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o333)).unwrap();
    let written = write_beside(&folder.path().join("file"), b"new");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    written.unwrap();
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"new");
}

/// Who may not write into a folder leaves the old file as it was. A superuser may, whatever the permissions say.
#[cfg(unix)]
#[test]
fn a_folder_that_is_read_only_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write_beside(&path, b"old").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let written = write_beside(&path, b"new");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let expected: &[u8] = if written.is_ok() { b"new" } else { b"old" };
    assert_eq!(fs::read(&path).unwrap(), expected);
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn two_at_once_leave_one_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let texts = [vec![b'a'; 100_000], vec![b'b'; 50_000]];
    std::thread::scope(|scope| {
        for text in &texts {
            scope.spawn(|| (0..10).for_each(|_| write_beside(&path, text).unwrap()));
        }
    });
    assert!(texts.contains(&fs::read(&path).unwrap()));
    assert_eq!(names(folder.path()), ["file"]);
}

/// What is written beside has a name that can be guessed; a link planted there leads to somebody else's file.
#[cfg(unix)]
#[test]
fn a_link_in_its_way_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::write(&outside, "kept").unwrap();
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    for call in 0..200 {
        let beside = inside.join(format!("file.{}.{call}.part", std::process::id()));
        std::os::unix::fs::symlink(&outside, beside).unwrap();
    }
    let path = inside.join("file");
    std::os::unix::fs::symlink(&outside, &path).unwrap();
    write_beside(&path, b"new").unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"kept");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(fs::read(&path).unwrap(), b"new");
}
