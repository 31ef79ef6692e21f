//! `flow info`: what a model is made of.

use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::args::InfoArgs;
use crate::loaded::Loaded;
use crate::output;

/// A step of the flow, in data to latent order.
struct Layer {
    name: String,
    shape: Vec<i64>,
    parameters: usize,
    fixed: usize,
}

pub fn run(args: &InfoArgs) -> anyhow::Result<()> {
    let loaded = Loaded::from_path(&args.model, Device::Cpu)?;
    let layers = layers(&loaded);
    if args.json { output::print_json(&report(&loaded, &layers)) } else { output::print(&text(&loaded, &layers)?) }
}

fn layers(loaded: &Loaded) -> Vec<Layer> {
    let flow = loaded.model.flow();
    let one = [&[1][..], flow.base().event()].concat();
    // The middle of the unit cube is inside every model's domain.
    let x = Tensor::full(&one, 0.5, (Kind::Float, flow.device()));
    let variables = loaded.model.variables();
    let count = |name: &str, trained: bool| {
        let prefix = format!("{name}.");
        let own = variables.iter().filter(|(n, v)| n.starts_with(&prefix) && v.requires_grad() == trained);
        own.map(|(_, v)| v.numel()).sum()
    };
    let mut layers = Vec::new();
    let mut probe = |name: &str, value: &Tensor, _: &Tensor| {
        let shape = value.size()[1..].to_vec();
        layers.push(Layer { name: name.to_owned(), shape, parameters: count(name, true), fixed: count(name, false) });
    };
    let context = loaded.context(loaded.class_or_in_turn(Some(0), 1).as_deref());
    let _ = tch::no_grad(|| flow.trace_forward(&x, context.as_ref(), &mut probe));
    layers
}

fn report(loaded: &Loaded, layers: &[Layer]) -> serde_json::Value {
    let layers: Vec<_> = layers
        .iter()
        .map(|l| json!({"name": l.name, "shape": l.shape, "parameters": l.parameters, "fixed": l.fixed}))
        .collect();
    json!({
        "card": loaded.card,
        "parameters": loaded.model.parameters(),
        "layers": layers,
    })
}

fn text(loaded: &Loaded, layers: &[Layer]) -> anyhow::Result<String> {
    let mut text = format!("{}, data of shape {:?}\n\n", loaded.title(), loaded.model.event());
    let wide = layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0).max(20);
    text += &format!("{:<wide$} {:>12} {:>12} {:>8}\n", "layer", "output", "parameters", "fixed");
    for layer in layers {
        let shape = format!("{:?}", layer.shape);
        text += &format!("{:<wide$} {shape:>12} {:>12} {:>8}\n", layer.name, layer.parameters, layer.fixed);
    }
    text += &format!("{:<wide$} {:>12} {:>12}\n\n", "total", "", loaded.model.parameters());
    if loaded.classes() > 0 {
        text += &format!("classes: {}, given to every net\n", loaded.classes());
    }
    text += &format!("base: {:?}\n", loaded.model.flow().base());
    text += &format!("configuration: {}\n", serde_json::to_string(&loaded.card.model)?);
    text += &format!("trained: {}\n", loaded.card.reached);
    Ok(text)
}
