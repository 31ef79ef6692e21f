//! The presets: their sizes, and the names of their variables against the lists in `tests/variables`.

use std::fmt::Write;
use std::path::Path;

use flow_models::{Model, ModelConfig, Preset, preset};
use tch::Device;

const VECTOR: &[usize] = &[2];
const MNIST: &[usize] = &[1, 28, 28];

fn build(config: &ModelConfig, event: &[usize]) -> Model {
    Model::new(config, event, 0, Device::Cpu).expect("a preset is sound")
}

#[test]
fn seed_presets_have_the_sizes_of_the_original() {
    for (config, event, parameters) in [
        (preset::nice(Preset::Seed, VECTOR), VECTOR, 1_320_967),
        (preset::realnvp(Preset::Seed, VECTOR), VECTOR, 2_636_810),
        (preset::nice(Preset::Seed, MNIST), MNIST, 5_952_184),
        (preset::realnvp(Preset::Seed, MNIST), MNIST, 8_270_160),
    ] {
        assert_eq!(build(&config, event).parameters(), parameters, "{} {event:?}", config.name());
        assert_eq!(config.saved_numbers(event).unwrap(), parameters as u128);
    }
}

/// tch renames a variable whose name is taken to `name__N` and says nothing; model files live by these names.
#[test]
fn variable_names_are_those_of_the_golden_lists() {
    let mut faults = String::new();
    for name in Preset::ALL {
        for (shape, event) in [("2", VECTOR), ("1x28x28", MNIST)] {
            let image = (event == MNIST).then(|| preset::realnvp_image(name, event, 10));
            let classes = if event == MNIST { 10 } else { 0 };
            let all = [preset::nice(name, event), preset::realnvp(name, event), preset::glow(name, event, classes)];
            for config in all.into_iter().chain(image) {
                // The same as another one.
                if matches!(
                    (name, config.name()),
                    (Preset::Cpu, "nice" | "realnvp") | (Preset::Seed, "glow" | "realnvp-image")
                ) {
                    continue;
                }
                let model = build(&config, event);
                let numbers: usize = model.variables().values().map(|v| v.numel()).sum();
                assert_eq!(config.saved_numbers(event).unwrap(), numbers as u128);

                let names: Vec<String> = model.variables().into_keys().collect();
                let names = names.join("\n") + "\n";
                let file = format!("{}-{name}-{shape}.txt", config.name());
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/variables").join(&file);
                if std::env::var_os("UPDATE_GOLDEN").is_some() {
                    std::fs::write(&path, &names).unwrap();
                }
                if std::fs::read_to_string(&path).unwrap_or_default() != names {
                    writeln!(faults, "tests/variables/{file} should read\n{names}").unwrap();
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}where that is meant, UPDATE_GOLDEN=1 writes the lists");
}

#[test]
fn preset_names_are_read_as_they_are_written() {
    for name in Preset::ALL {
        assert_eq!(name.to_string().parse::<Preset>().unwrap(), name);
    }
    assert!("sede".parse::<Preset>().unwrap_err().contains("seed, paper, default and cpu"));
}
