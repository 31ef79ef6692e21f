//! `--set`: a line an assignment, to the configuration of a model that the length of the text chooses.
#![no_main]

use std::sync::LazyLock;

use flow_data::{DataSet, LoadOptions, Spec};
use flow_models::{Model, Preset};
use flow_train::{DataConfig, MODELS, RunConfig};
use libfuzzer_sys::fuzz_target;
use tch::Device;

/// Builds of more numbers are for a person to wait for.
const MOST: u128 = 100_000;

static DIGITS: LazyLock<DataSet> =
    LazyLock::new(|| flow_data::load(&Spec::Digits, &LoadOptions::default()).expect("they are embedded"));

fuzz_target!(|text: &str| {
    let Some(model) = MODELS.get(text.len() % MODELS.len()) else { return };
    let mut config = RunConfig::preset(model, Preset::Cpu, Spec::Digits, &DIGITS)
        .or_else(|_| RunConfig::preset(model, Preset::Default, Spec::Digits, &DIGITS))
        .expect("a preset");
    let mut data = DataConfig::new(Spec::Moons);
    for line in text.lines().take(8) {
        let before = config.clone();
        if config.set(line).is_err() {
            assert_eq!(config, before, "half done: {line}");
        }
        let _ = data.set(line);
    }
    let _ = data.validate();
    let sound = config.validate().is_ok();
    let Ok(numbers) = config.model.saved_numbers(&DIGITS.event_shape) else { return };
    if sound
        && numbers <= MOST
        && let Ok(model) = Model::new(&config.model, &DIGITS.event_shape, 0, Device::Cpu)
    {
        let held: usize = model.variables().values().map(tch::Tensor::numel).sum();
        assert_eq!(held as u128, numbers, "what a file would hold");
    }
});
