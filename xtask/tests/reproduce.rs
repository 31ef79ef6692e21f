//! `cargo xtask reproduce` from end to end with a small script in the place of `flow`: what is asked of it, what is not
//! asked twice, and what happens when it fails or is stopped.
#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::{messages, succeeds};

/// Understands `flow`'s arguments, notes them in `calls`, and does as the files in the clone's `orders` say.
const FLOW: &str = r#"#!/bin/sh
set -eu
echo "$*" >> calls
command=$1
last() { for word; do :; done; echo "$word"; }
if [ -e "orders/fail-$command" ]; then echo "trouble, as ordered" >&2; exit 3; fi
case $command in
train)
    dir=$(last "$@")
    mkdir -p "$dir"
    if [ -e orders/die ]; then : > "$dir/lock"; : > "$dir/config.toml"; exit 9; fi
    : > "$dir/state.safetensors"
    if [ -e orders/stop ]; then echo "saved" >&2; exit 130; fi
    if [ -e orders/wait ]; then
        trap 'if [ -e orders/slow ]; then sleep 0.5; fi; touch "$dir/saved-in-time"; exit 130' INT
        touch waiting
        while [ -e orders/wait ]; do sleep 0.05; done
    fi
    : > "$dir/model.safetensors"
    ;;
eval)
    case $2 in *moons*) bits=null ;; *) bits='{"mean":2.5,"se":0.01}' ;; esac
    classes='"given_class":false'
    case $2 in *glow-digits*)
        classes='"given_class":true,"marginal_nats":{"mean":120.25,"se":0.75},'
        classes="$classes"'"marginal_bits_per_dim":{"mean":2.6,"se":0.02},"accuracy":{"mean":0.5,"se":0.03}' ;;
    esac
    echo "a message for people" >&2
    echo '{"model":"m","data":"d","preset":"p","parameters":1234,"steps":300,"best_step":200,"batch":128,'
    echo '"train_seconds":1.5,"split":"test","count":250,"draws":1,"unit":"unit cube",'
    echo '"nats":{"mean":123.456,"se":0.5},"bits_per_dim":'"$bits"',"floor":null,'"$classes"'}'
    ;;
*)
    if [ -e "orders/nothing-from-$command" ]; then exit 0; fi
    echo "picture of $*" > "$(last "$@")"
    ;;
esac
"#;

/// Trainings and evaluations of a first look, and its pictures: 5 for each model of moons and for a fully connected one of
/// images, 6 and 13 for the convolutional ones.
const TRAININGS: usize = 7;
const PICTURES: usize = 5 * 5 + 6 + 13;
const CALLS: usize = 2 * TRAININGS + PICTURES;

/// A clone with nothing in it but the script, on a machine without MNIST.
struct Clone {
    folder: TempDir,
}

impl Clone {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("orders")).unwrap();
        let flow = folder.path().join("flow");
        fs::write(&flow, FLOW).unwrap();
        fs::set_permissions(&flow, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.given(Command::new(env!("CARGO_BIN_EXE_xtask")), arguments)
    }

    /// What `command` starts, told to work here.
    fn given(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.arg("--root").arg(self.folder.path()).arg("reproduce");
        command.arg("--flow-binary").arg(self.path("flow"));
        // Nobody listens there.
        command.args(["--mirror", "http://127.0.0.1:9/", "--threads", "2"]).args(arguments);
        command.env_remove("FLOW_DATA_DIR").env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command.stdin(Stdio::null());
        command
    }

    fn reproduce(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What `flow` was asked since the last time.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        calls.lines().map(str::to_owned).collect()
    }

    fn order(&self, order: &str) {
        fs::write(self.path("orders").join(order), "").unwrap();
    }

    fn no_more(&self, order: &str) {
        fs::remove_file(self.path("orders").join(order)).unwrap();
    }

    /// Until a file is there, which the script leaves.
    fn wait_for(&self, file: &str) {
        let started = Instant::now();
        while !self.path(file).exists() {
            assert!(started.elapsed() < Duration::from_secs(30), "there never was a file {file}");
            sleep(Duration::from_millis(20));
        }
    }

    fn summary(&self, folder: &str) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path(folder).join("summary.json")).unwrap()).unwrap()
    }
}

/// Sends a signal to a process and to those it has started.
fn kill(signal: &str, leader: &Child) {
    let group = format!("-{}", leader.id());
    assert!(Command::new("kill").args([signal, "--", &group]).status().unwrap().success());
}

fn listed(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn count(calls: &[String], command: &str) -> usize {
    calls.iter().filter(|call| call.split(' ').next() == Some(command)).count()
}

#[test]
fn the_gallery_is_made_once_and_named_after_what_it_shows() {
    let clone = Clone::new();
    let said = succeeds(&clone.reproduce(&["--quick"]));
    assert!(said.contains("NO MNIST: the image part runs on `digits`"), "{said}");
    assert!(said.contains("The image part ran on digits, not on MNIST"), "{said}");

    let mut expected = vec!["README.md".to_owned(), "summary.json".into()];
    let common = [".gif", "_forward.png", "_inverse.png", "_curve.png"];
    let glow = [
        "_samples.png",
        "_temperatures.png",
        "_classes.png",
        "_interpolation.png",
        "_interpolation.gif",
        "_levels.png",
        "_attribute.png",
        "_scores.png",
        "_confusion.png",
    ];
    for (prefix, more) in [
        ("nice_moons", &["_density.png"][..]),
        ("realnvp_moons", &["_density.png"]),
        ("glow_moons", &["_density.png"]),
        ("nice_digits", &["_samples.png"]),
        ("realnvp_digits", &["_samples.png"]),
        ("realnvp_image_digits", &["_samples.png", "_temperatures.png"]),
        ("glow_digits", &glow),
    ] {
        expected.extend(common.iter().chain(more).map(|ending| format!("{prefix}{ending}")));
    }
    expected.sort();
    assert_eq!(listed(&clone.path("preview/quick-digits")), expected);
    assert!(!clone.path("results").exists(), "the committed gallery is left alone");

    let calls = clone.calls();
    let kinds = ["train", "eval", "animate", "trace", "sample", "density", "curve"];
    assert_eq!(kinds.map(|kind| count(&calls, kind)), [7, 7, 7, 14, 4, 3, 7]);
    let kinds = ["sheet", "interpolate", "resample", "attribute", "score", "classify"];
    assert_eq!(kinds.map(|kind| count(&calls, kind)), [3, 2, 1, 1, 1, 1]);
    assert_eq!(calls.len(), CALLS);
    let first = "train nice --data moons --preset default --seed 0 --threads 2 --device cpu --steps 300 \
                 --out runs/reproduce-quick/nice-moons";
    assert_eq!(calls[0], first);
    let eval = "eval runs/reproduce-quick/nice-moons --split test --draws 1 --json --seed 0 --threads 2 --device cpu";
    assert_eq!(calls[1], eval);

    let summary = clone.summary("preview/quick-digits");
    assert_eq!(summary["command"], "cargo xtask reproduce --quick --threads 2");
    assert_eq!(summary["images"], "digits");
    assert_eq!(summary["rows"][4]["evaluation"]["nats"]["mean"], 123.456);
    assert_eq!(summary["rows"][4]["name"], "realnvp-digits");
    assert_eq!(summary["rows"][5]["model"], "realnvp-image");
    assert_eq!(summary["rows"][6]["evaluation"]["marginal_nats"]["mean"], 120.25);
    assert_eq!(summary["stages"].as_array().unwrap().len(), CALLS);
    let readme = fs::read_to_string(clone.path("preview/quick-digits/README.md")).unwrap();
    assert!(readme.contains("| RealNVP | digits | p | 123.46 ± 0.50 | 2.5000 ± 0.0100 |"), "{readme}");
    assert!(readme.contains("(realnvp_digits_samples.png)"), "{readme}");
    assert!(readme.contains("| Glow | digits | p, class-conditional | 120.25 ± 0.75 | 2.6000 ± 0.0200 |"), "{readme}");

    // Started anew: nothing is done again, though the gallery itself is gone.
    fs::remove_dir_all(clone.path("preview")).unwrap();
    let said = succeeds(&clone.reproduce(&["--quick"]));
    assert_eq!(clone.calls(), [] as [&str; 0]);
    assert!(said.contains("nice-moons train: was done before"), "{said}");
    assert_eq!(listed(&clone.path("preview/quick-digits")), expected);
    let readme = fs::read_to_string(clone.path("preview/quick-digits/README.md")).unwrap();
    assert!(readme.contains("stages marked * were done in an earlier one"), "{readme}");
}

#[test]
fn another_seed_or_build_does_again_what_depends_on_it() {
    let clone = Clone::new();
    succeeds(&clone.reproduce(&["--quick"]));
    clone.calls();
    fs::write(clone.path("runs/reproduce-quick/nice-moons/left-over"), "").unwrap();
    succeeds(&clone.reproduce(&["--quick", "--seed", "1"]));
    assert_eq!(clone.calls().len(), CALLS);
    assert!(!clone.path("runs/reproduce-quick/nice-moons/left-over").exists(), "a new training has a new folder");
    // What was trained before may be hours of work: it is set aside whole.
    assert!(clone.path("runs/reproduce-quick/nice-moons.aside-1/left-over").exists());
    assert!(clone.path("runs/reproduce-quick/nice-moons.aside-1.stages/eval.json").exists());

    // Another build draws and evaluates anew, but training is kept.
    fs::write(clone.path("flow"), format!("{FLOW}# changed\n")).unwrap();
    let said = succeeds(&clone.reproduce(&["--quick", "--seed", "1"]));
    let calls = clone.calls();
    assert_eq!((count(&calls, "train"), calls.len()), (0, TRAININGS + PICTURES));
    assert!(said.contains("nice-moons: trained by another build of flow"), "{said}");
    let readme = fs::read_to_string(clone.path("preview/quick-digits/README.md")).unwrap();
    assert!(readme.contains("evaluated and drawn by this one: nice-moons, realnvp-moons, glow-moons, "), "{readme}");
}

#[test]
fn the_commit_is_that_of_the_start_whatever_is_drawn_since() {
    let clone = Clone::new();
    let page = clone.path("preview/quick-digits/README.md");
    fs::create_dir_all(page.parent().unwrap()).unwrap();
    fs::write(&page, "drawn before").unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(clone.folder.path()).args(["-c", "user.name=x", "-c", "user.email=x@example.org"]);
        succeeds(&elsewhere(git.args(["-c", "commit.gpgsign=false"]).args(arguments)).output().unwrap());
    };
    git(&["init", "--quiet"]);
    git(&["add", "--force", "flow", "preview"]);
    git(&["commit", "--quiet", "--message", "a gallery"]);

    let version = || {
        succeeds(&elsewhere(&mut clone.command(&["--quick"])).output().unwrap());
        clone.summary("preview/quick-digits")["machine"]["versions"]["flow"].as_str().unwrap().to_owned()
    };
    let first = version();
    assert!(first.ends_with(')') && !first.contains("dirty"), "{first}");
    assert_ne!(fs::read_to_string(&page).unwrap(), "drawn before");
    // By now the page differs from the commit.
    assert!(version().ends_with("-dirty)"));
}

/// Without what a hook of git that runs these tests would say of its own repository.
fn elsewhere(command: &mut Command) -> &mut Command {
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE")
}

#[test]
fn the_whole_of_it_has_rows_for_fixed_points_and_the_original() {
    let clone = Clone::new();
    succeeds(&clone.reproduce(&["--with-seed", "--seed", "3"]));
    let calls = clone.calls();
    assert_eq!(count(&calls, "train"), 7 + 3 + 4);
    let common = "--seed 3 --threads 2 --device cpu";
    for line in [
        format!("train nice --data digits --preset default {common} --out runs/reproduce/nice-digits"),
        format!(
            "train realnvp --data moons --preset default {common} --set data.fixed=1000 --out \
             runs/reproduce/realnvp-moons-fixed-1000"
        ),
        format!("train realnvp --data digits --preset seed {common} --out runs/reproduce/realnvp-digits-seed"),
        format!(
            "train glow --data digits --preset cpu {common} --set model.classes=10 --out runs/reproduce/glow-digits"
        ),
        format!("eval runs/reproduce/nice-digits --split test --draws 10 --json {common}"),
        format!("eval runs/reproduce/glow-digits --split test --draws 3 --json {common}"),
    ] {
        assert!(calls.contains(&line), "no `{line}` in {calls:#?}");
    }
    assert_eq!(clone.summary("preview/digits")["rows"].as_array().unwrap().len(), 14);
    assert!(!clone.path("results").exists());

    let refused = clone.reproduce(&["--out", &clone.path("results").to_string_lossy()]);
    assert!(messages(&refused).contains("results/ is kept for a full run on MNIST"), "{}", messages(&refused));
}

#[test]
fn a_stopped_training_goes_on_where_it_was() {
    let clone = Clone::new();
    clone.order("stop");
    let output = clone.reproduce(&["--quick"]);
    assert_eq!(output.status.code(), Some(130), "{}", messages(&output));
    assert!(messages(&output).contains("To go on from here:\n  cargo xtask reproduce --quick --threads 2\n"));
    assert_eq!(clone.calls().len(), 1);

    clone.no_more("stop");
    fs::write(clone.path("flow"), format!("{FLOW}# changed\n")).unwrap();
    succeeds(&clone.reproduce(&["--quick"]));
    let calls = clone.calls();
    assert_eq!(calls[0], "train --resume runs/reproduce-quick/nice-moons");
    assert_eq!(count(&calls, "train"), TRAININGS);
    let readme = fs::read_to_string(clone.path("preview/quick-digits/README.md")).unwrap();
    assert!(
        readme.contains("evaluated and drawn by this one: nice-moons.\n"),
        "what another build has begun: {readme}"
    );

    // With another seed the saved state is no use.
    clone.order("stop");
    clone.reproduce(&["--quick", "--seed", "5"]);
    clone.no_more("stop");
    clone.calls();
    succeeds(&clone.reproduce(&["--quick", "--seed", "6"]));
    assert!(clone.calls()[0].starts_with("train nice --data moons --preset default --seed 6"));
}

#[test]
fn what_was_killed_before_it_saved_is_begun_anew_in_its_folder() {
    let clone = Clone::new();
    clone.order("die");
    assert_eq!(clone.reproduce(&["--quick"]).status.code(), Some(1));
    clone.no_more("die");
    clone.calls();
    let said = succeeds(&clone.reproduce(&["--quick"]));
    assert!(clone.calls()[0].starts_with("train nice --data moons"));
    assert!(!said.contains("set aside"), "{said}");
    assert!(!clone.path("runs/reproduce-quick/nice-moons.aside-1").exists());
}

#[test]
fn a_reader_that_is_gone_ends_nothing() {
    let clone = Clone::new();
    let mut running = clone.command(&["--quick"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((running.stdout.take(), running.stderr.take()));
    assert_eq!(running.wait().unwrap().code(), Some(0));
    assert!(clone.path("preview/quick-digits/README.md").exists());
}

#[test]
fn under_nohup_it_outlives_its_terminal() {
    let clone = Clone::new();
    clone.order("wait");
    let mut nohup = Command::new("nohup");
    nohup.arg(env!("CARGO_BIN_EXE_xtask")).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut running = clone.given(nohup, &["--quick"]).spawn().unwrap();
    clone.wait_for("waiting");
    // As a terminal does to its group when it goes away.
    kill("-HUP", &running);
    clone.no_more("wait");
    assert_eq!(running.wait().unwrap().code(), Some(0));
}

#[test]
fn ctrl_c_lets_the_training_save_first() {
    let clone = Clone::new();
    clone.order("wait");
    clone.order("slow");
    // A terminal sends the signal to the whole group in the foreground.
    let running = clone.command(&["--quick"]).process_group(0).stderr(Stdio::piped()).spawn().unwrap();
    clone.wait_for("waiting");
    kill("-INT", &running);
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(messages(&output).contains("to save what it has"), "{}", messages(&output));
    assert!(clone.path("runs/reproduce-quick/nice-moons/saved-in-time").exists());
}

#[test]
fn one_failed_stage_leaves_the_others_their_results() {
    let clone = Clone::new();
    clone.order("fail-density");
    clone.order("nothing-from-animate");
    let output = clone.reproduce(&["--quick"]);
    assert_eq!(output.status.code(), Some(1));
    let said = messages(&output);
    assert!(said.contains("nice-moons nice_moons_density.png: FAILED"), "{said}");
    assert!(said.contains("density runs/reproduce-quick/nice-moons --seed 0 --threads 2 --device cpu --out"), "{said}");
    assert!(
        said.contains("nice-moons.stages/nice_moons_density.png.log, at the end of which:\n    trouble, as ordered")
    );
    assert!(said.contains("has left no picture"), "{said}");

    let out = clone.path("preview/quick-digits");
    assert!(out.join("nice_moons_curve.png").exists() && out.join("realnvp_digits_samples.png").exists());
    assert!(!out.join("nice_moons_density.png").exists() && !out.join("nice_moons.gif").exists());
    let readme = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(readme.contains("> **Not complete.**") && readme.contains("> - nice-moons nice_moons_density.png: "));
    assert!(!readme.contains("](nice_moons_density.png)"));
    assert_eq!(clone.summary("preview/quick-digits")["rows"].as_array().unwrap().len(), TRAININGS);

    // The same command makes up for it, and for nothing else.
    clone.calls();
    clone.no_more("fail-density");
    clone.no_more("nothing-from-animate");
    succeeds(&clone.reproduce(&["--quick"]));
    let calls = clone.calls();
    assert_eq!((count(&calls, "density"), count(&calls, "animate"), calls.len()), (3, TRAININGS, 3 + TRAININGS));
}

#[test]
fn what_breaks_the_first_training_ends_it_at_once() {
    let clone = Clone::new();
    clone.order("fail-train");
    let output = clone.reproduce(&["--quick", "--device", "cuda"]);
    assert_eq!(output.status.code(), Some(1));
    let said = messages(&output);
    assert!(said.contains("trouble, as ordered"), "what flow says is passed through: {said}");
    assert!(said.contains("--device cuda"), "{said}");
    assert_eq!(clone.calls().len(), 1);
    assert!(!clone.path("preview/quick-digits/summary.json").exists());
}

/// What `flow` would refuse after minutes of building.
#[test]
fn numbers_that_flow_refuses_are_refused_at_once() {
    for line in [
        ["reproduce", "--threads", "4097"],
        ["reproduce", "--seed", "9223372036854775808"],
        ["compare", "--threads", "4097"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(line).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", messages(&output));
        assert!(messages(&output).contains(line[2]), "{}", messages(&output));
    }
}

#[test]
fn two_at_once_are_refused() {
    let clone = Clone::new();
    fs::create_dir_all(clone.path("runs/reproduce-quick")).unwrap();
    let lock = fs::File::create(clone.path("runs/reproduce-quick/.lock")).unwrap();
    lock.lock().unwrap();
    let output = clone.reproduce(&["--quick"]);
    assert!(messages(&output).contains("another `reproduce` is at work"), "{}", messages(&output));
    assert_eq!(clone.calls(), [] as [&str; 0]);
}
