//! Writes a run that was stopped half way, as `tests/files/state-N` keeps one of each format N of the state, and how it
//! ends: `cargo run -p flow-train --example state_fixture -- crates/flow-train/tests/files/state-N`.
//!
//! A folder of an older format is never made anew: it is what the program of its time has written.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Context;
use flow_data::{LoadOptions, Spec};
use flow_models::{Preset, write_beside};
use flow_train::{Event, RunConfig, Trainer};
use serde_json::json;

/// Small, and with everything that a state can hold: an average, moments, fixed variables, an order, dropout.
const FIELDS: [&str; 16] = [
    "device=cpu",
    "threads=1",
    "model.couplings=2",
    "model.order=random",
    "model.actnorm=true",
    "model.conditioner.hidden=4",
    "model.conditioner.layers=1",
    "model.conditioner.dropout=0.1",
    "train.steps=12",
    "train.batch=20",
    "train.warmup=3",
    "train.ema=0.9",
    "train.validate_every=3",
    "train.save_every=4",
    "train.log_every=2",
    "train.weight_decay=0.1",
];

fn main() -> anyhow::Result<()> {
    let dir = PathBuf::from(std::env::args_os().nth(1).context("a folder that is not there yet is needed")?);
    let data = flow_data::load(&Spec::Iris, &LoadOptions::default())?;
    let mut config = RunConfig::preset("realnvp", Preset::Default, Spec::Iris, &data)?;
    for field in FIELDS {
        config.set(field)?;
    }
    let mut trainer = Trainer::new(config.clone(), data.clone())?;
    trainer.keep_in(&dir)?;
    trainer.run(&mut |event: &Event| match event {
        Event::Step { step: 6, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })?;
    drop(trainer);
    // Empty, and of no use in a copy.
    fs::remove_file(dir.join("lock"))?;

    let mut unbroken = Trainer::new(config, data)?;
    unbroken.run(&mut |_: &Event| ControlFlow::Continue(()))?;
    let progress = unbroken.progress();
    let end = json!({"step": progress.step, "best_step": progress.best_step, "best_nats": progress.best_nats});
    write_beside(&dir.join("end.json"), format!("{end}\n").as_bytes())?;
    Ok(())
}
