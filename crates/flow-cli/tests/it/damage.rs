//! Saves that fail and files that were damaged: said in one line that names the file, and nothing that was whole is lost.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Place, SMALL};

/// A training of which some steps were saved, killed; its model and state are some tens of kilobytes. It has told its
/// metrics at every so many steps.
fn killed(place: &Place, log_every: u32) {
    let log_every = format!("log_every={log_every}");
    let long = SMALL.replace("--steps 6", "--steps 100000000").replace("log_every=1", &log_every);
    let mut child = place
        .command(&format!(
            "train nice --data moons --out run {long} --set train.save_every=5 --set train.validate_every=1000000"
        ))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while flow_train::runs::run(&place.path("run")).map_or(0, |run| run.step) < 10 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// No metrics but those of a validation that does not come.
const SELDOM: u32 = 1_000_000;

/// A training that goes on where no file may become larger than some blocks of 512 bytes, which ends it, and what it said.
#[cfg(unix)]
fn fails_within(blocks: u64, place: &Place) -> String {
    // Without the trap the signal that comes with it would end the process.
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec {} train --resume run", env!("CARGO_BIN_EXE_flow"));
    let output = Command::new("sh").args(["-c", &script]).current_dir(place.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_leaves_the_save_before() {
    let place = Place::new();
    killed(&place, SELDOM);
    let files =
        || ["state.safetensors", "model.safetensors"].map(|file| fs::read(place.path("run").join(file)).unwrap());
    let before = files();
    let step = flow_train::runs::run(&place.path("run")).unwrap().step;
    let kept = format!("the save of step {step} is whole");
    // Room for neither, and room for the model but not for the state, which is larger.
    let model = before[1].len() as u64;
    assert!(before[0].len() as u64 > model + 1024);
    for (blocks, file) in [(4, "model.safetensors"), (model.div_ceil(512) + 1, "state.safetensors")] {
        let said = fails_within(blocks, &place);
        for part in ["cannot be kept", file, "too large", &kept] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(files() == before, "{file}: the save before is whole");
        let names = fs::read_dir(place.path("run")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".part")));
    }

    // With room again it goes on from there.
    let mut child = place.command("train --resume run").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while flow_train::runs::run(&place.path("run")).unwrap().step <= step {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Metrics are the first to be written after a save.
#[cfg(unix)]
#[test]
fn metrics_that_find_no_room_name_the_save_that_is_whole() {
    let place = Place::new();
    killed(&place, 1);
    let step = flow_train::runs::run(&place.path("run")).unwrap().step;
    let said = fails_within(1, &place);
    let kept = format!("the save of step {step} is whole");
    for part in ["cannot be kept", "metrics.jsonl", "too large", &kept] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(flow_train::runs::run(&place.path("run")).unwrap().step, step);
}

/// Every hundredth byte or so, and all of the first ones.
fn places(len: usize) -> impl Iterator<Item = usize> {
    (0..16).chain((16..len).step_by(len / 60)).chain([len - 1])
}

#[test]
fn a_turned_bit_or_a_cut_is_found_wherever_it_is() {
    let place = Place::new();
    killed(&place, SELDOM);
    for (file, line) in [("state.safetensors", "train --resume run"), ("model.safetensors", "info run")] {
        let path = place.path("run").join(file);
        let whole = fs::read(&path).unwrap();
        // Through the binary at some places, through the library, which is quicker, at many.
        for (i, at) in places(whole.len()).enumerate() {
            let mut bits = whole.clone();
            bits[at] ^= 1 << (at % 8);
            for damaged in [&bits[..], &whole[..at]] {
                fs::write(&path, damaged).unwrap();
                let why = match file {
                    "state.safetensors" => {
                        flow_train::Trainer::resume(&place.path("run")).map(drop).unwrap_err().to_string()
                    }
                    _ => flow_models::file::load(&path, tch::Device::Cpu).map(drop).unwrap_err().to_string(),
                };
                assert!(why.contains(file) && why.lines().count() == 1, "byte {at}: {why}");
                if i % 20 == 0 {
                    assert!(place.fails(line, 1).contains(file), "byte {at}");
                }
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    place.flow("info run");
}

#[test]
fn one_process_a_folder() {
    let place = Place::new();
    let long = SMALL.replace("--steps 6", "--steps 100000000");
    let line = format!("train nice --data moons --out run {long}");
    let mut child = place.command(&line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !place.path("run/state.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    for second in ["train --resume run", &line] {
        assert!(place.fails(second, 1).contains("another process is training in this folder"), "{second}");
    }
    assert!(child.try_wait().unwrap().is_none(), "the first goes on");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_newer_state_is_told_from_a_damaged_one() {
    let place = Place::new();
    place.train("nice", "moons", "run");
    let path = place.path("run/state.safetensors");
    let (tensors, text) = flow_models::file::read_tensors(&path).unwrap();
    let mut header: serde_json::Value = serde_json::from_str(&text).unwrap();
    header["format"] = 99.into();
    header["progress"]["new"] = true.into();
    flow_models::file::write_tensors(&path, &tensors, &header.to_string()).unwrap();
    let said = place.fails("train --resume run", 1);
    assert!(
        said.contains("state.safetensors") && said.contains("format 99") && said.contains("newer program"),
        "{said}"
    );
    assert!(place.flow("runs run").contains("newer program"));
}
