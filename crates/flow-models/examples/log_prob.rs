//! Loads a model file, evaluates densities of rows, draws samples: all that a program needs that only uses a model.
//!
//! ```text
//! cargo run --release -p flow-models --example log_prob -- runs/moons/model.safetensors
//! cargo run --release -p flow-models --example log_prob -- runs/moons/model.safetensors rows.npy log_prob.npy [context.npy]
//! ```
//!
//! The first draws five samples and prints their densities. The second reads rows (f32; images on the unit cube) and
//! writes the log-density of each, in nats.

use std::path::Path;

use anyhow::{Context, Result};
use flow_models::{Model, file};
use tch::{Device, Kind, Tensor};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (path, rest) = arguments.split_first().context("usage: log_prob MODEL [ROWS.npy OUT.npy [CONTEXT.npy]]")?;
    let (model, card) = file::load(Path::new(path), Device::Cpu)?;
    println!("{}: {} parameters, events {:?}", model.config().name(), model.parameters(), model.event());
    println!("trained on {}, reached {}", card.data, card.reached);

    match rest {
        [] => draw(&model),
        [rows, out] => evaluate(&model, rows, out, None),
        [rows, out, context] => {
            evaluate(&model, rows, out, Some(&Tensor::read_npy(context).with_context(|| (*context).to_owned())?))
        }
        _ => anyhow::bail!("one file of rows and one to write are expected, not {rest:?}"),
    }
}

fn draw(model: &Model) -> Result<()> {
    // 5 draws at temperature 1, seed 0; the same seed draws the same.
    let x = model.sample(5, 1.0, 0, None)?;
    let log_prob = model.log_prob(&x, None)?;
    for i in 0..5 {
        let coordinates = Vec::<f32>::try_from(x.get(i))?;
        let first: Vec<f32> = coordinates.into_iter().take(8).collect();
        println!("log p = {:.4} nats at {first:.4?}", log_prob.double_value(&[i]));
    }
    Ok(())
}

fn evaluate(model: &Model, rows: &str, out: &str, context: Option<&Tensor>) -> Result<()> {
    let x = Tensor::read_npy(rows).with_context(|| rows.to_owned())?.to_kind(Kind::Float);
    // A flow works on matrices: images are flattened, channel by channel and row by row.
    let x = if x.dim() > 2 { x.flatten(1, -1) } else { x };
    let log_prob = model.log_prob(&x, context).with_context(|| rows.to_owned())?;
    log_prob.write_npy(out)?;
    let n = log_prob.numel();
    println!("{n} rows, mean log p = {:.6} nats: {out}", log_prob.mean(Kind::Double).double_value(&[]));
    Ok(())
}
