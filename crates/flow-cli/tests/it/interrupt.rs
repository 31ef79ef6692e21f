//! Ctrl-C saves and ends with code 130; the run goes on where it was, and a finished one says so.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Place, SMALL};

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_the_run_goes_on() {
    let place = Place::new();
    let line = format!("train nice --data moons --out run {SMALL} --set train.save_every=1000000")
        .replace("--steps 6", "--steps 1000000");
    let mut child = place.command(&line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let metrics = place.path("run").join("metrics.jsonl");
    while fs::metadata(&metrics).map_or(0, |m| m.len()) < 1_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stdout).contains("flow train --resume run"));
    // Nothing before the interrupt is lost: the run stands where its metrics end.
    let last = fs::read_to_string(&metrics).unwrap().lines().last().unwrap().to_owned();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    let info = place.json("info run --json");
    assert_eq!(info["card"]["reached"]["steps"], last["step"]);
}

#[test]
fn a_finished_run_says_so() {
    let place = Place::new();
    place.train("nice", "moons", "run");
    let before = fs::read(place.path("run").join("state.safetensors")).unwrap();
    let report = place.json("train --resume run --json");
    assert_eq!((&report["outcome"], &report["step"]), (&"finished".into(), &6.into()));
    assert_eq!(fs::read(place.path("run").join("state.safetensors")).unwrap(), before);
}
