//! A state that is damaged or forged is an error that says what is wrong, never a panic and never a training.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use flow_data::Spec;
use flow_models::file::{read_tensors, write_tensors};
use flow_train::Trainer;
use flow_train::folder::state_file;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::{break_at, tiny};

/// A run in the midst of things.
fn run(dir: &Path) {
    let fields = ["train.steps=9", "train.batch=20", "model.actnorm=true", "model.order=random"];
    let (config, data) = tiny("realnvp", Spec::Iris, &fields);
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.keep_in(dir).unwrap();
    trainer.run(&mut break_at(5)).unwrap();
}

#[test]
fn any_bit_of_it_turned() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    let path = state_file(dir.path());
    let whole = fs::read(&path).unwrap();
    for place in (0..whole.len()).step_by(whole.len() / 400) {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        fs::write(&path, bytes).unwrap();
        let error = Trainer::resume(dir.path()).expect_err("a state with a turned bit was taken up").to_string();
        has(&error, &["state.safetensors"]);
    }
}

/// What resuming says after `change` has been at the tensors and the header.
fn after(change: impl FnOnce(&mut BTreeMap<String, Tensor>, &mut Value)) -> String {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    let (mut tensors, header) = read_tensors(&state_file(dir.path())).unwrap();
    let mut header: Value = serde_json::from_str(&header).unwrap();
    change(&mut tensors, &mut header);
    // Whoever forges the header forges what is beside it, too.
    fs::remove_file(dir.path().join("config.toml")).unwrap();
    write_tensors(&state_file(dir.path()), &tensors, &header.to_string()).unwrap();
    Trainer::resume(dir.path()).map(|trainer| format!("resumed at {}", trainer.progress().step)).unwrap_or_else(
        |error| {
            assert!(error.to_string().len() < 2_000, "{error}");
            error.to_string()
        },
    )
}

fn has(text: &str, words: &[&str]) {
    assert!(words.iter().all(|word| text.contains(word)), "{text:?} has not all of {words:?}");
}

#[test]
fn unchanged_it_resumes() {
    assert_eq!(after(|_, _| {}), "resumed at 5");
}

#[test]
fn truncated_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    let path = state_file(dir.path());
    let whole = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for len in [0, 1, 7, 8, 9, header / 2, header + 7, header + 8, header + 9, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        let error = Trainer::resume(dir.path()).unwrap_err().to_string();
        has(&error, &["state.safetensors"]);
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert!(Trainer::resume(dir.path()).is_err(), "too long");
    fs::write(&path, [&u64::MAX.to_le_bytes()[..], &whole[8..]].concat()).unwrap();
    assert!(Trainer::resume(dir.path()).is_err(), "a header longer than everything");
    fs::write(&path, &whole).unwrap();
    drop(Trainer::resume(dir.path()).unwrap());
}

#[test]
fn tensors_that_are_not_those_of_the_configuration() {
    has(&after(|tensors, _| drop(tensors.remove("second_moment"))), &["second_moment", "missing"]);
    has(&after(|tensors, _| drop(tensors.remove("fixed.actnorm.started"))), &["fixed.actnorm.started", "missing"]);
    has(&after(|tensors, _| drop(tensors.insert("more".into(), Tensor::from(1f32)))), &["\"more\""]);
    let shorter = |tensors: &mut BTreeMap<String, Tensor>, _: &mut Value| {
        let average = tensors["average"].narrow(0, 0, 3).copy();
        tensors.insert("average".to_owned(), average);
    };
    has(&after(shorter), &["average"]);
    let double = |tensors: &mut BTreeMap<String, Tensor>, _: &mut Value| {
        let best = tensors["best"].to_kind(Kind::Double);
        tensors.insert("best".to_owned(), best);
    };
    has(&after(double), &["best", "Double"]);
}

#[test]
fn values_no_training_leaves() {
    let fill = |name: &'static str, value: f64| {
        move |tensors: &mut BTreeMap<String, Tensor>, _: &mut Value| {
            let _ = tensors.get_mut(name).unwrap().fill_(value);
        }
    };
    has(&after(fill("parameters", f64::NAN)), &["not finite"]);
    // An order in which every column comes from column 99 would read past the end.
    let name = |tensors: &BTreeMap<String, Tensor>| {
        tensors.iter().find(|(_, tensor)| tensor.kind() == Kind::Int64).map(|(name, _)| name.clone())
    };
    let order = |tensors: &mut BTreeMap<String, Tensor>, _: &mut Value| {
        let name = name(tensors).expect("a random order is saved");
        let _ = tensors.get_mut(&name).unwrap().fill_(99);
    };
    has(&after(order), &["permutation"]);
}

#[test]
fn a_configuration_that_asks_for_another_or_an_enormous_net() {
    let set = |field: &'static str, value: Value| {
        move |_: &mut BTreeMap<String, Tensor>, header: &mut Value| {
            *header.pointer_mut(field).unwrap() = value;
        }
    };
    has(&after(set("/config/model/couplings", json!(3))), &["numbers"]);
    has(&after(set("/config/model/conditioner/hidden", json!(65_536))), &["asks for", "hold"]);
    has(&after(set("/config/model/couplings", json!(1))), &["state.safetensors"]);
    has(&after(set("/config/model/kind", json!("planar"))), &["glow"]);
    has(&after(set("/config/train/batch", json!(0))), &["train.batch"]);
    has(&after(set("/config/threads", json!(1_000_000))), &["threads"]);
    has(&after(set("/config/data/name", json!("digits"))), &["digits has changed"]);
    let older = |_: &mut BTreeMap<String, Tensor>, header: &mut Value| {
        header.as_object_mut().unwrap().remove("rows");
        header["config"]["data"]["name"] = json!("digits");
    };
    has(&after(older), &["head"]);
    has(&after(set("/config/data/name", json!("csv:/not/there.csv"))), &["/not/there.csv"]);
    has(&after(set("/config/data/fixed", json!(5))), &["iris"]);
    has(&after(set("/format", json!(5))), &["format 5", "newer program"]);
    has(&after(set("/format", json!(0))), &["format 0"]);
    has(&after(set("/config/train", json!("none"))), &["metadata"]);
}

#[test]
fn progress_that_makes_no_sense() {
    let set = |field: &'static str, value: Value| {
        move |_: &mut BTreeMap<String, Tensor>, header: &mut Value| header["progress"][field] = value
    };
    has(&after(set("step", json!(10))), &["progress"]);
    has(&after(set("step", json!(-1))), &["metadata"]);
    has(&after(set("best_step", json!(6))), &["progress"]);
    has(&after(set("stale", json!(u64::MAX))), &["progress"]);
    has(&after(set("rewinds", json!(4))), &["progress"]);
    has(&after(set("since_log", json!([0.0, u64::MAX]))), &["progress"]);
    has(&after(set("seconds", json!(-1.0))), &["progress"]);
    has(&after(set("metrics_bytes", json!(u64::MAX))), &["metrics.jsonl"]);
    has(&after(set("speed", json!(1))), &["speed"]);
}

#[test]
fn a_header_that_is_no_state() {
    has(&after(|_, header| *header = json!([1])), &["metadata"]);
    has(&after(|_, header| *header = json!({})), &["metadata"]);
}
