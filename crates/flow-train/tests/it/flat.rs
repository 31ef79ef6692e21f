//! The flat buffer and the model hold the same numbers.

use flow_data::Spec;
use flow_models::Model;
use flow_train::flat::FlatParameters;
use tch::{Device, Kind, Tensor};

use crate::tiny;

fn model() -> Model {
    // With variables that are not trained: ActNorm's flag, and the table's means and standard deviations.
    let (config, data) = tiny("realnvp", Spec::Iris, &["model.actnorm=true", "model.conditioner.hidden=5"]);
    Model::new(&config.model, &data.event_shape, 1, Device::Cpu).unwrap()
}

#[test]
fn it_changes_nothing_and_holds_every_trained_variable_once_in_order() {
    let (plain, moved) = (model(), model());
    let flat = FlatParameters::new(&moved);
    assert_eq!(plain.variables(), moved.variables());
    let trained: Vec<String> = moved.variables().into_iter().filter(|(_, v)| v.requires_grad()).map(|v| v.0).collect();
    assert_eq!(flat.places().iter().map(|place| place.name.clone()).collect::<Vec<_>>(), trained);
    let numbers: i64 = flat.places().iter().map(|place| place.len).sum();
    assert_eq!(numbers as usize, moved.parameters());
    for pair in flat.places().windows(2) {
        assert!(pair[0].offset + pair[0].len <= pair[1].offset && pair[1].offset % 16 == 0, "{pair:?}");
    }
}

#[test]
fn writing_to_the_buffer_changes_the_model_and_with_puts_it_back() {
    let model = model();
    let flat = FlatParameters::new(&model);
    let x = Tensor::ones([3, 4], (Kind::Float, Device::Cpu));
    let log_prob = || model.flow().log_prob(&x, None).detach();
    let (before, own) = (log_prob(), flat.buffer().copy());

    let inside = flat.with(&(&own + 0.1), log_prob);
    assert_ne!(inside, before);
    assert_eq!((log_prob(), flat.buffer()), (before.copy(), &own));

    let panics = || flat.with(&(&own + 0.1), || panic!("on purpose"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert_eq!(flat.buffer(), &own);

    flat.copy_from(&(&own + 0.1));
    assert_eq!(log_prob(), inside);
}
