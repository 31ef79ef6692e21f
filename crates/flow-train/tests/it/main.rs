//! The crate from outside: whole trainings of tiny nets, the folders they leave, and each part against a closed form.

mod adam;
mod average;
mod batches;
mod check;
mod config;
mod device;
mod draws;
mod evaluate;
mod flat;
mod folder;
mod formats;
mod hostile;
mod images;
mod links;
mod not_finite;
mod observers;
mod presets;
mod protocols;
mod rates;
mod resume;
mod summed_out;
mod twins;
mod ways;

use std::ops::ControlFlow;

use flow_data::{DataSet, LoadOptions, Spec};
use flow_models::Preset;
use flow_train::{Event, RunConfig};

/// The processor, or the GPU that `FLOW_TEST_DEVICE=cuda` asks for.
fn asked_device() -> flow_train::Device {
    let name = std::env::var("FLOW_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    name.parse().expect("FLOW_TEST_DEVICE names a device")
}

/// The same, as tch knows it.
fn device() -> tch::Device {
    asked_device().resolve().expect("the device of FLOW_TEST_DEVICE is there")
}

/// A net of a few hundred parameters on one thread.
const TINY: [&str; 5] =
    ["threads=1", "model.couplings=2", "model.conditioner.hidden=16", "model.conditioner.layers=2", "train.warmup=3"];

/// A tiny configuration with these fields set, and its data.
fn tiny(model: &str, spec: Spec, fields: &[&str]) -> (RunConfig, DataSet) {
    let data = flow_data::load(&spec, &LoadOptions::default()).unwrap();
    let mut config = RunConfig::preset(model, Preset::Default, spec, &data).unwrap();
    config.device = asked_device();
    for field in TINY.iter().chain(fields) {
        config.set(field).unwrap();
    }
    let data = config.data.load().unwrap();
    (config, data)
}

/// Watches and never breaks off.
fn watch(_: &Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Breaks off after step `at`.
fn break_at(at: u64) -> impl FnMut(&Event) -> ControlFlow<()> {
    move |event| match event {
        Event::Step { step, .. } if *step == at => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}
