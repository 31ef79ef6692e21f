//! The state of a run, in the midst of things: what its header says, beside the tensors of a sound one.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;

use flow_data::{LoadOptions, Spec};
use flow_fuzz::folder;
use flow_models::Preset;
use flow_models::file::{read_tensors, write_tensors};
use flow_train::folder::{metrics_file, model_file, state_file};
use flow_train::{Event, RunConfig, Trainer};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tch::Tensor;

thread_local! {
    /// The tensors after two steps, and the metrics.
    static RUN: (BTreeMap<String, Tensor>, Vec<u8>) = start();
}

fn start() -> (BTreeMap<String, Tensor>, Vec<u8>) {
    let data = flow_data::load(&Spec::Iris, &LoadOptions::default()).expect("it is embedded");
    let mut config = RunConfig::preset("realnvp", Preset::Default, Spec::Iris, &data).expect("a preset");
    for field in ["threads=1", "device=cpu", "model.couplings=2", "model.conditioner.hidden=3", "train.steps=9"] {
        config.set(field).expect("a field");
    }
    let dir = folder().join("start");
    let mut trainer = Trainer::new(config, data).expect("a sound one");
    trainer.keep_in(&dir).expect("a folder");
    let mut break_off = |event: &Event| match event {
        Event::Step { step: 2, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    trainer.run(&mut break_off).expect("two steps");
    drop(trainer);
    let (tensors, header) = read_tensors(&state_file(&dir)).expect("its state");
    eprintln!("a sound header: {header}");
    (tensors, fs::read(metrics_file(&dir)).expect("its metrics"))
}

fuzz_target!(|header: &str| {
    if !asks_for_much(header) {
        RUN.with(|(tensors, metrics)| resume(header, tensors, metrics));
    }
});

fn resume(header: &str, tensors: &BTreeMap<String, Tensor>, metrics: &[u8]) {
    let dir = folder().join("run");
    let _ = fs::create_dir(&dir);
    fs::write(metrics_file(&dir), metrics).expect("a file in the temporary folder");
    let _ = fs::remove_file(model_file(&dir));
    write_tensors(&state_file(&dir), tensors, header).expect("a file in the temporary folder");
    if let Ok(trainer) = Trainer::resume(&dir) {
        assert!(trainer.progress().step <= trainer.config().train.steps);
    }
}

/// A person may ask for millions of points and thousands of threads; a fuzzer should not wait for them.
fn asks_for_much(header: &str) -> bool {
    let Ok(header) = serde_json::from_str::<Value>(header) else { return false };
    let above = |pointer: &str, most: u64| header.pointer(pointer).and_then(Value::as_u64).is_some_and(|n| n > most);
    above("/config/data/fixed", 10_000) || above("/config/threads", 2)
}
