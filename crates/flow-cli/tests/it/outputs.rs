//! Where commands write: by any name, through links, over nothing that is read or is no file, and last of all.

use std::fs;
use std::process::Command;

use crate::common::{Place, SMALL};

/// Names in a folder, sorted.
#[cfg(unix)]
fn names(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.path("")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Elsewhere a file system may refuse such names.
#[cfg(target_os = "linux")]
mod not_utf8 {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;

    use serde_json::Value;

    use super::*;

    fn name(bytes: &[u8]) -> OsString {
        OsStr::from_bytes(bytes).to_owned()
    }

    fn report(place: &Place, line: &str, out: &[u8]) -> Value {
        let output = place.command(line).args(["--json", "--out"]).arg(name(out)).output().unwrap();
        assert!(output.status.success(), "flow {line}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(place.path("").join(name(out)).exists());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn every_name_can_be_reported() {
        let place = Place::new();
        let train = report(&place, &format!("train nice --data moons {SMALL}"), b"r\xff");
        assert_eq!((&train["run"], &train["model"]), (&"r\u{fffd}".into(), &"r\u{fffd}/model.safetensors".into()));
        fs::rename(place.path("").join(name(b"r\xff")), place.path("run")).unwrap();
        place.write("in.csv", "0,1\n");
        for line in ["sample run -n 5", "log-prob run --input in.csv"] {
            assert_eq!(report(&place, line, b"\xff.csv")["out"], "\u{fffd}.csv", "{line}");
        }
        assert_eq!(report(&place, "check run -n 5", b"\xff.png")["out"], "\u{fffd}.png");

        let place = Place::with_glow();
        assert_eq!(report(&place, "classify run -n 5", b"\xff.png")["out"], "\u{fffd}.png");
        assert_eq!(report(&place, "score run -n 5", b"\xff.csv")["out"][0], "\u{fffd}.csv");
    }

    /// The name of the data is stored as text, by which they would not be found again.
    #[test]
    fn data_in_a_folder_of_such_a_name_are_refused() {
        let place = Place::new();
        let folder = place.path("").join(name(b"d\xff"));
        fs::create_dir(&folder).unwrap();
        let rows: String = (0..60).map(|i| format!("{i},{}\n", (i * 7) % 11)).collect();
        fs::write(folder.join("t.csv"), rows).unwrap();
        let line = format!("train nice --data csv:t.csv --out run {SMALL}");
        let output = place.command(&line).current_dir(&folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("not UTF-8") && said.contains("t.csv"), "{said}");
        assert!(!folder.join("run").exists());
    }
}

#[test]
fn an_input_is_not_replaced() {
    let place = Place::new();
    let text = "0,1\n";
    place.write("x.csv", text);
    for (line, flag) in [
        ("log-prob run --input x.csv --out ./x.csv", "--input"),
        ("score run --input x.csv --out x.csv", "--input"),
        ("score run --against x.csv --out s.csv --out x.csv", "--against"),
    ] {
        let said = place.fails(line, 2);
        assert!(said.contains(flag) && said.contains("x.csv"), "{said}");
    }
    assert_eq!(fs::read_to_string(place.path("x.csv")).unwrap(), text);
}

#[cfg(unix)]
#[test]
fn a_link_stays_and_the_file_that_it_leads_to_is_replaced() {
    use std::os::unix::fs::symlink;

    let place = Place::new();
    place.train("nice", "moons", "run");
    fs::create_dir(place.path("kept")).unwrap();
    place.write("kept/old.csv", "old");
    symlink("kept/old.csv", place.path("near.csv")).unwrap();
    symlink("near.csv", place.path("far.csv")).unwrap();
    symlink("kept/new.csv", place.path("new.csv")).unwrap();
    for (link, file) in [("far.csv", "kept/old.csv"), ("new.csv", "kept/new.csv")] {
        place.flow(&format!("sample run -n 3 --out {link}"));
        assert_eq!(fs::read_to_string(place.path(file)).unwrap().lines().count(), 4, "{link}");
        assert!(place.path(link).is_symlink());
    }
    symlink("b.csv", place.path("a.csv")).unwrap();
    symlink("a.csv", place.path("b.csv")).unwrap();
    assert!(place.fails("sample run -n 3 --out a.csv", 1).contains(".csv"));
    assert_eq!(names(&place), ["a.csv", "b.csv", "far.csv", "kept", "near.csv", "new.csv", "run"]);
}

/// Told before anything is read, let alone computed.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(place.path("pipe.csv")).status().unwrap().success());
    fs::create_dir(place.path("folder.csv")).unwrap();
    place.write("file", "kept");
    for (out, why) in [
        ("pipe.csv", "not a plain file"),
        ("folder.csv", "not a plain file"),
        ("file/below/x.csv", "file is no folder"),
    ] {
        let said = place.fails(&format!("sample nowhere --out {out}"), 1);
        assert!(said.contains(out) && said.contains(why), "{said}");
    }
    assert_eq!(names(&place), ["file", "folder.csv", "pipe.csv"]);
}

/// Standard output of a command that must fail because no file may have a byte.
#[cfg(unix)]
fn without_room(place: &Place, line: &str) -> String {
    // Without the trap the signal that comes with it would end the process.
    let script = format!("trap '' XFSZ; ulimit -f 0; exec {} {line}", env!("CARGO_BIN_EXE_flow"));
    let output = Command::new("sh").args(["-c", &script]).current_dir(place.path("")).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.code() == Some(1) && errors.contains("too large"), "flow {line}\n{text}\n{errors}");
    text.into_owned()
}

#[cfg(unix)]
#[test]
fn a_result_is_told_though_its_file_cannot_be_written() {
    let place = Place::new();
    place.train("nice", "moons", "run");
    place.write("in.csv", "0,1\n");
    assert!(without_room(&place, "check run -n 5 --out o.png").contains("whole flow"));
    assert!(without_room(&place, "log-prob run --input in.csv --out o.csv").contains("1 rows"));
    let place = Place::with_glow();
    assert!(without_room(&place, "classify run -n 5 --out o.png").contains("accuracy"));
    assert!(without_room(&place, "score run -n 5 --out o.csv").contains("AUROC"));
    assert_eq!(names(&place), ["run"]);
}
