//! What a model file says of itself, beside the tensors of a sound one: `KIND` in a line, then the card.
#![no_main]

use std::collections::BTreeMap;

use flow_data::Preprocessing;
use flow_fuzz::folder;
use flow_models::file::{load, write_tensors};
use flow_models::{Model, ModelConfig};
use flow_train::DataConfig;
use libfuzzer_sys::fuzz_target;
use tch::{Device, Kind, Tensor};

/// Tensors by name, by the kind of their model.
type Tensors = BTreeMap<&'static str, BTreeMap<String, Tensor>>;

thread_local! {
    static TENSORS: Tensors = tensors();
}

fn tensors() -> Tensors {
    let nice = r#"{"kind":"nice","couplings":2,"order":"random","conditioner":{"hidden":3,"layers":1}}"#;
    let realnvp = r#"{"kind":"realnvp","couplings":2,"actnorm":true,"conditioner":{"hidden":3,"layers":1}}"#;
    let glow = r#"{"kind":"glow","levels":2,"depth":1,"checkers":1,"net":{"width":2},"checker_net":{"width":2}}"#;
    let image = r#"{"kind":"realnvp-image","net":{"width":2}}"#;
    let of = |config: &str, event: &[usize]| {
        let config: ModelConfig = serde_json::from_str(config).expect("a configuration");
        Model::new(&config, event, 0, Device::Cpu).expect("a sound one").variables()
    };
    let of_image = |config| of(config, &[1, 8, 8]);
    [("nice", of(nice, &[3])), ("realnvp", of(realnvp, &[3])), ("glow", of_image(glow)), ("image", of_image(image))]
        .into()
}

fuzz_target!(|text: &str| {
    let Some((kind, card)) = text.split_once('\n') else { return };
    let path = folder().join("model.safetensors");
    let write = |tensors: &Tensors| tensors.get(kind).map(|tensors| write_tensors(&path, tensors, card));
    let Some(written) = TENSORS.with(write) else { return };
    written.expect("a file in the temporary folder");
    let Ok((model, card)) = load(&path, Device::Cpu) else { return };
    let dim: usize = card.event.iter().product();
    if card.model.context() == 0 && dim <= 4096 {
        let x = Tensor::full([2, dim as i64], 0.5, (Kind::Float, Device::Cpu));
        assert_eq!(tch::no_grad(|| model.flow().log_prob(&x, None)).size(), [2]);
    }
    // What the commands read of it.
    let preprocessing = card.data.get("preprocessing").cloned().unwrap_or_default();
    if let Ok(preprocessing) = serde_json::from_value::<Preprocessing>(preprocessing)
        && preprocessing.check(&card.event).is_ok()
    {
        assert_eq!(preprocessing.column_names().len(), dim);
        if let Ok(data) = serde_json::from_value::<DataConfig>(card.data.clone()) {
            let _ = data.of_images(&preprocessing).validate();
        }
    }
});
