//! Ctrl-C and SIGTERM save and end with code 130, a second signal ends at once; the run goes on where it was, and a
//! finished one says so.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{Place, SMALL};

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A training that goes on until it is ended, from the moment on when it has told some metrics.
#[cfg(unix)]
fn going(place: &Place, line: &str) -> Child {
    let mut child = place.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let metrics = place.path("run").join("metrics.jsonl");
    while fs::metadata(&metrics).map_or(0, |m| m.len()) < 1_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_sigterm_save_and_the_run_goes_on() {
    for name in ["-INT", "-TERM"] {
        let place = Place::new();
        let line = format!("train nice --data moons --out run {SMALL} --set train.save_every=1000000")
            .replace("--steps 6", "--steps 1000000");
        let child = going(&place, &line);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{name}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("flow train --resume run"));
        // Nothing before the interrupt is lost: the run stands where its metrics end.
        let metrics = fs::read_to_string(place.path("run").join("metrics.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
        let info = place.json("info run --json");
        assert_eq!(info["card"]["reached"]["steps"], last["step"]);
        assert!(place.flow("runs run").contains("interrupted"));
    }
}

/// A step of this training takes minutes: who waited for its end would have taken it.
#[cfg(unix)]
#[test]
fn a_second_signal_ends_at_once() {
    ["-INT", "-TERM"].into_iter().for_each(ended_at_once_by);
}

#[cfg(unix)]
fn ended_at_once_by(second: &str) {
    let place = Place::new();
    let line = "train realnvp --data moons --out run --threads 1 --device cpu --batch 262144 --steps 3 \
                --set train.rebuild=true --set model.couplings=1024 --set model.conditioner.hidden=32";
    let mut child = place.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Once the start is saved the first step begins.
    while !place.path("run").join("model.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "the first signal waits for the end of the step");
    signal(&child, second);
    assert_eq!(child.wait().unwrap().code(), Some(130), "{second}");
    let run = flow_train::runs::run(&place.path("run")).unwrap();
    assert_eq!(run.step, 0, "no step was waited for");
}

/// As under `| tee`, which the same Ctrl-C ends: every step tells something to nobody.
#[cfg(unix)]
#[test]
fn a_training_whose_reader_is_gone_saves_all_the_same() {
    let place = Place::new();
    let line = format!("train nice --data moons --out run {SMALL} --set train.save_every=1000000")
        .replace("--steps 6", "--steps 1000000")
        .replace("train.validate_every=3", "train.validate_every=1");
    let mut child = place.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let metrics = place.path("run").join("metrics.jsonl");
    while fs::metadata(&metrics).map_or(0, |m| m.len()) < 1_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended with its reader");
        std::thread::sleep(Duration::from_millis(20));
    }
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(flow_train::runs::run(&place.path("run")).unwrap().step > 0);
}

/// A result that nobody waits for is no error, one that does not arrive is.
#[cfg(target_os = "linux")]
#[test]
fn a_result_that_is_not_written() {
    let place = Place::new();
    place.train("nice", "moons", "run");
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for line in ["info run", "info run --json", "train --resume run", "completions bash"] {
        let output = place.command(line).stdout(full()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(said.contains("error: standard output"), "{line}: {said}");
        let mut child = place.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{line}");
    }
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

#[test]
fn a_run_that_was_stopped_early_says_so_again() {
    let place = Place::new();
    // Weights that move far at every step: validation soon stops getting better.
    let sets = ["schedule=constant", "learning_rate=0.05", "ema=0", "validate_every=1", "patience=2"];
    let sets: String = sets.iter().map(|assignment| format!(" --set train.{assignment}")).collect();
    let line = format!("train nice --data moons --out run {SMALL}{sets}").replace("--steps 6", "--steps 400");
    let first = place.json(&format!("{line} --json"));
    assert_eq!(first["outcome"], "stopped early");
    assert_eq!(place.json("train --resume run --json")["outcome"], first["outcome"]);
}

/// A file is written beside its place; what a signal broke off would be left there.
#[cfg(unix)]
#[test]
fn a_signal_leaves_no_part_of_a_file() {
    let place = Place::new();
    place.train("nice", "digits", "run");
    let mut child = place.command("sample run -n 200000 --out s.npy --threads 1").spawn().unwrap();
    let parts = || {
        let names = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".part")).count()
    };
    while parts() == 0 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Where it was done before anybody looked, it has ended as always.
    if child.try_wait().unwrap().is_none() {
        signal(&child, "-INT");
    }
    assert!(matches!(child.wait().unwrap().code(), Some(0 | 130)));
    assert_eq!(parts(), 0);
    assert!(fs::metadata(place.path("s.npy")).unwrap().len() > 4 * 64 * 200_000);
}
