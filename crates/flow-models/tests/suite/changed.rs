//! Which coordinates the couplings of NICE and RealNVP change: all of them, or none such is begun.

use std::collections::BTreeSet;
use std::path::Path;

use flow_core::{Direction, Visit};
use flow_models::{MlpConfig, Model, ModelConfig, NiceConfig, Order, Pattern, Preset, WeightInit, file, preset};
use tch::{Device, Kind, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

/// The coordinates that some coupling changes: 1, 2, ..., D go through the permutations alone, and what a coupling changes
/// of those that reach it is seen by what it makes of them. Not from 0 on, of which a net without biases makes 0.
fn changed(model: &Model) -> BTreeSet<usize> {
    let dim = model.event().iter().product::<usize>() as i64;
    let width = model.config().context() as i64;
    let context = (width > 0).then(|| Tensor::zeros([1, width], CPU));
    let mut changed = BTreeSet::new();
    let visit: &mut Visit = &mut |name, step, input| {
        let (value, _) = step.forward(input, context.as_ref());
        if !name.starts_with("coupling_") {
            return value;
        }
        let moved = Vec::<f32>::try_from(input.masked_select(&value.ne_tensor(input))).unwrap();
        changed.extend(moved.into_iter().map(|coordinate| coordinate as usize - 1));
        input.shallow_clone()
    };
    let start = Tensor::arange(dim, CPU).unsqueeze(0) + 1.0;
    let _ = tch::no_grad(|| model.flow().bijection().steps("", Direction::Forward, &start, context.as_ref(), visit));
    changed
}

fn all(event: &[usize]) -> BTreeSet<usize> {
    (0..event.iter().product()).collect()
}

/// So many couplings that no order which is drawn leaves out one of a few coordinates.
fn nice(pattern: Pattern, order: Order) -> ModelConfig {
    let init = WeightInit::Uniform(0.5);
    let conditioner = MlpConfig { hidden: 3, layers: 1, init, zero_last: false, ..MlpConfig::default() };
    ModelConfig::Nice(NiceConfig { couplings: 24, pattern, order, conditioner, ..NiceConfig::default() })
}

#[test]
fn every_coordinate_is_changed_or_the_order_is_refused() {
    let vectors = (2..=9usize).map(|dim| vec![dim]);
    let images = [[1usize, 3, 3], [1, 2, 4], [2, 2, 3], [3, 1, 4], [1, 4, 3]].map(|image| image.to_vec());
    let mut refused = 0;
    for event in vectors.chain(images) {
        for pattern in [Pattern::Halves, Pattern::Alternating, Pattern::Checkerboard] {
            if pattern == Pattern::Checkerboard && event.len() != 3 {
                continue;
            }
            for order in [Order::Flip, Order::Reverse, Order::Random] {
                let case = format!("{pattern:?}, {order:?}, {event:?}");
                match Model::new(&nice(pattern, order), &event, 0, Device::Cpu) {
                    Ok(model) => assert_eq!(changed(&model), all(&event), "{case}"),
                    Err(error) => {
                        let error = error.to_string();
                        assert!(order == Order::Reverse && error.contains("flip or random"), "{case}: {error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    // Halves and alternating of 3, 5, 7, 9 and 3 x 3; the checkerboards of 3 x 3 and 2 x 4.
    assert_eq!(refused, 12);
}

#[test]
fn seed_presets_change_every_coordinate_of_odd_and_even_dimensions() {
    for event in [&[2][..], &[3], &[11], &[1, 3, 3]] {
        for config in [preset::nice(Preset::Seed, event), preset::realnvp(Preset::Seed, event)] {
            let model = Model::new(&config, event, 0, Device::Cpu).unwrap();
            assert_eq!(changed(&model), all(event), "{} {event:?}", config.name());
        }
    }
}

/// A file from before such models were refused.
#[test]
fn a_model_that_is_begun_no_more_is_read_all_the_same() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/realnvp-context/model.safetensors");
    let (model, _) = file::load(&path, Device::Cpu).unwrap();
    assert_eq!(changed(&model), BTreeSet::from([0, 2]));
    assert_eq!(model.to_double().unwrap().variables().len(), model.variables().len());
    let error = Model::new(model.config(), model.event(), 0, Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("flip or random"), "{error}");
}
