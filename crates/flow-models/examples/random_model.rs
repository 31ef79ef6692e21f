//! Writes a small untrained model with random parameters, to try a reader of the format in another language on.
//!
//! ```text
//! cargo run -p flow-models --example random_model -- FOLDER '{"kind": "nice", "order": "random"}' 1,3,3 SEED
//! ```
//!
//! `FOLDER/model.safetensors`, `FOLDER/rows.npy` (16 rows on the unit cube) and, where the configuration asks for one,
//! `FOLDER/context.npy`. What the configuration leaves out has its default.

use std::path::PathBuf;

use anyhow::{Context, Result};
use flow_core::rng::{derive_seed, with_seed};
use flow_models::{Model, ModelCard, ModelConfig, file};
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
    for (i, (_, variable)) in model.variables().into_iter().enumerate() {
        if variable.requires_grad() {
            let noise = normal(&variable.size(), derive_seed(seed, "parameter", i as u64));
            tch::no_grad(|| variable.shallow_clone().copy_(&(noise * 0.2)));
        }
    }

    std::fs::create_dir_all(&folder)?;
    let card = ModelCard::new(&model, Value::Null, seed, Value::Null);
    file::save(&folder.join("model.safetensors"), &model.variables(), &card)?;
    let dim = event.iter().product::<usize>() as i64;
    let rows = with_seed(derive_seed(seed, "rows", 0), || Tensor::rand([ROWS, dim], (Kind::Float, Device::Cpu)));
    rows.write_npy(folder.join("rows.npy"))?;
    if config.context() > 0 {
        let context = normal(&[ROWS, config.context() as i64], derive_seed(seed, "context", 0));
        context.write_npy(folder.join("context.npy"))?;
    }
    Ok(())
}

fn normal(size: &[i64], seed: u64) -> Tensor {
    with_seed(seed, || Tensor::randn(size, (Kind::Float, Device::Cpu)))
}
