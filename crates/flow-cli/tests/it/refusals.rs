//! What a person may get wrong: every mistake is named, nothing is half done, the exit code is not 0.

use std::fs;

use crate::common::{Place, SMALL};

#[test]
fn wrong_usage_is_refused_with_code_2() {
    let place = Place::new();
    assert!(place.fails("train planar --data moons", 2).contains("planar"));
    assert!(place.fails("train nice --data mons", 2).contains("mons"));
    assert!(place.fails("train nice", 2).contains("--data"));
    assert!(place.fails("train nice --data moons --preset best", 2).contains("paper"));
    assert!(place.fails("train nice --data moons --device gpu", 2).contains("cuda:N"));
    assert!(place.fails("train --resume run --steps 5", 2).contains("--steps"));
    assert!(place.fails("sample run --temperature -1 --out x.png", 2).contains("temperature"));
    assert!(place.fails("curve run --reference high --out x.png", 2).contains("VALUE:LABEL"));
    assert!(place.fails("curve run --reference 1e39:high --out x.png", 2).contains("\"1e39\""));
    // An empty name would be that of the folder one is in.
    for line in ["train nice --data moons --out", "train --resume", "eval", "sample run --out", "runs"] {
        let output = place.command(line).arg("").output().expect("flow starts");
        assert_eq!(output.status.code(), Some(2), "{line}");
    }
    assert!(!place.path("config.toml").exists());
}

#[test]
fn what_is_not_there_is_named() {
    let place = Place::new();
    assert!(place.fails("eval nowhere", 1).contains("nowhere"));
    assert!(place.fails("train --resume nowhere", 1).contains("nowhere"));
    assert!(place.fails(&format!("train nice --data csv:none.csv {SMALL}"), 1).contains("none.csv"));
    assert!(place.fails(&format!("train nice --data mnist {SMALL}"), 1).contains("cargo xtask fetch mnist"));
    assert!(place.fails(&format!("train nice --data cifar10 {SMALL}"), 1).contains("kriz/cifar.html"));
    assert!(place.fails(&format!("train nice --data images:none {SMALL}"), 1).contains("none: no such folder"));
    assert!(place.fails(&format!("train nice --data idx:none {SMALL}"), 1).contains("none"));
    assert!(place.fails("train nice --data moons --steps 2 --device cuda:99", 1).contains("cuda"));
    assert!(!place.path("runs").exists());
}

#[test]
fn the_environment_is_checked() {
    let place = Place::new();
    let output = place.command("runs").env("FLOW_PRODUCTS", "mkl").output().expect("flow starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("FLOW_PRODUCTS=mkl") && said.contains("avx2"), "{said}");
}

#[test]
fn wrong_configurations_say_what_would_be_right() {
    let place = Place::new();
    let set = |assignment: &str| place.fails(&format!("train nice --data moons {SMALL} --set {assignment}"), 1);
    assert!(set("model.coupling=3").contains("couplings"));
    assert!(set("model.couplings=0").contains("between 1 and 1024"));
    assert!(set("model.couplings=many").contains("model.couplings=many"));
    assert!(set("train.learning_rate=-1").contains("positive"));
    assert!(set("model.pattern=checkerboard").contains("no image"));
    assert!(set("steps").contains("key=value"));
    assert!(set("data.name=circles").contains("--data"));
    assert!(set("preset=paper").contains("--preset"));
    assert!(set("seed=-1").contains("seed"));
    assert!(set("data.bits=5").contains("for images"));
    assert!(set("data.bit=5").contains("bits"));
}

/// What has a flag of its own can be set like any other field; the flag wins.
#[test]
fn seed_and_device_by_either_way() {
    let place = Place::new();
    for (i, (line, seed)) in
        [("--set seed=7", 7), ("--seed 8", 8), ("--seed 9 --set seed=7", 9)].into_iter().enumerate()
    {
        place.flow(&format!("train nice --data moons --out run_{i} {SMALL} {line}"));
        assert_eq!(place.json(&format!("info run_{i} --json"))["card"]["seed"], seed, "{line}");
    }
    let line = SMALL.replace("--device cpu", "--set device=cuda:99");
    assert!(place.fails(&format!("train nice --data moons {line}"), 1).contains("cuda"));
}

#[test]
fn damaged_files_are_refused_and_good_ones_kept() {
    let place = Place::new();
    place.train("nice", "moons", "run");
    assert!(place.fails(&format!("train nice --data moons --out run {SMALL}"), 1).contains("--resume"));
    // Before the data are read; they may be others than that run's.
    let said = place.fails(&format!("train nice --data csv:none.csv --out run {SMALL}"), 1);
    assert!(said.contains("choose another --out") && said.contains("its own data, by `--resume run`"), "{said}");

    place.write("bad.csv", "1,2\n3,x\n");
    assert!(place.fails("log-prob run --input bad.csv --out lp.csv", 1).contains("bad.csv"));
    place.write("wide.csv", "1,2,3\n4,5,6\n");
    assert!(place.fails("log-prob run --input wide.csv --out lp.csv", 1).contains("rows of 3"));
    place.write("nan.csv", "1,2\nnan,1\n");
    assert!(place.fails("log-prob run --input nan.csv --out lp.csv", 1).contains("nan.csv"));
    place.write("far.csv", "0,0\n1e30,1e30\n");
    assert!(
        place.fails("log-prob run --input far.csv --out lp.csv", 1).contains("far.csv: the log-density of row 2 is")
    );
    assert!(!place.path("lp.csv").exists());
    let said = place.fails("sample run -n 4294967295 --out s.npy", 1);
    assert!(said.contains("-n 4294967295") && said.contains("34359738360 bytes"), "{said}");

    place.write("good.txt", "kept");
    assert!(place.fails("sample run --out good.txt", 1).contains(".png or .npy or .csv"));
    assert_eq!(fs::read_to_string(place.path("good.txt")).unwrap(), "kept");

    let model = place.path("run").join("model.safetensors");
    let whole = fs::read(&model).unwrap();
    fs::write(&model, &whole[..whole.len() / 2]).unwrap();
    assert!(place.fails("eval run", 1).contains("model.safetensors"));
    fs::write(&model, b"<html>not found</html>").unwrap();
    assert!(place.fails("info run", 1).contains("model.safetensors"));

    let state = place.path("run").join("state.safetensors");
    fs::write(&state, b"").unwrap();
    assert!(place.fails("train --resume run", 1).contains("state.safetensors"));
}

#[test]
fn completions_and_help_are_there() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.flow(&format!("completions {shell}")).contains("log-prob"), "{shell}");
    }
    for command in [
        "train",
        "check",
        "eval",
        "sample",
        "sheet",
        "interpolate",
        "attribute",
        "resample",
        "score",
        "classify",
        "log-prob",
        "trace",
        "animate",
        "curve",
    ] {
        assert!(place.flow(&format!("{command} --help")).contains("Example"), "{command}");
    }
}
