//! Writes a small untrained model with random parameters, to try a reader of the format in another language on.
//!
//! ```text
//! cargo run -p flow-models --example random_model -- FOLDER '{"kind": "nice", "order": "random"}' 1,3,3 SEED
//! ```
//!
//! `FOLDER/model.safetensors`, `FOLDER/rows.npy` (16 rows on the unit cube) and, where the configuration asks for one,
//! `FOLDER/context.npy` (classes one-hot, in turn). What the configuration leaves out has its default.

use std::path::PathBuf;

use anyhow::{Context, Result};
use flow_core::rng::{derive_seed, with_seed};
use flow_models::{Model, ModelCard, ModelConfig, class_context, file};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

const ROWS: i64 = 16;

fn main() -> Result<()> {
    let arguments: [String; 4] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .ok()
        .context("usage: random_model FOLDER CONFIG EVENT SEED")?;
    let [folder, config, event, seed] = arguments;
    let folder = PathBuf::from(folder);
    let config: ModelConfig = serde_json::from_str(&config)?;
    let event: Vec<usize> = event.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let seed = seed.parse()?;

    let model = Model::new(&config, &event, seed, Device::Cpu)?;
    for (i, (name, variable)) in model.variables().into_iter().enumerate() {
        let noise = normal(&variable.size(), derive_seed(seed, "parameter", i as u64));
        let value = match name.rsplit('.').next() {
            // A mixing begins as a rotation; near 0 it would hardly have an inverse.
            Some("matrix") => &variable + noise * 0.2,
            Some("variance") => noise.exp(),
            Some("mean") => noise,
            // Convolutions add up many products; with larger ones scales of e^4 would lose all digits.
            _ if variable.dim() == 4 => noise * 0.1,
            _ if variable.requires_grad() => noise * 0.2,
            _ => continue,
        };
        tch::no_grad(|| variable.shallow_clone().copy_(&value));
    }

    let dim = event.iter().product::<usize>() as i64;
    let rows = with_seed(derive_seed(seed, "rows", 0), || Tensor::rand([ROWS, dim], (Kind::Float, Device::Cpu)));
    let context = context(&config, seed);
    // What starts from data does so, that numbers stay near 1 from step to step.
    let _ = tch::no_grad(|| model.flow().bijection().start_from_data(&rows, context.as_ref()));

    std::fs::create_dir_all(&folder)?;
    let card = ModelCard::new(&model, Value::Null, seed, Value::Null);
    file::save(&folder.join("model.safetensors"), &model.variables(), &card)?;
    rows.write_npy(folder.join("rows.npy"))?;
    if let Some(context) = context {
        context.write_npy(folder.join("context.npy"))?;
    }
    Ok(())
}

fn context(config: &ModelConfig, seed: u64) -> Option<Tensor> {
    let width = config.context() as i64;
    if config.classes() > 0 {
        let labels = Tensor::arange(ROWS, (Kind::Int64, Device::Cpu)).remainder(width);
        return Some(class_context(&labels, config.classes()));
    }
    (width > 0).then(|| normal(&[ROWS, width], derive_seed(seed, "context", 0)))
}

fn normal(size: &[i64], seed: u64) -> Tensor {
    with_seed(seed, || Tensor::randn(size, (Kind::Float, Device::Cpu)))
}
