//! `flow curve`: likelihoods against steps, from the metrics of a run.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use flow_train::folder::metrics_file;
use flow_viz::{CurveConfig, Reference, Series, curve};
use serde_json::Value;

use crate::args::CurveArgs;
use crate::loaded::Loaded;
use crate::output;

pub fn run(args: &CurveArgs) -> anyhow::Result<()> {
    output::place(&args.out, &["png"])?;
    let loaded = Loaded::from_path(&args.run, tch::Device::Cpu)?;
    let path = metrics_file(&args.run);
    let lines = read(&path)?;
    let series = |name: &str| -> Vec<(f64, f64)> {
        lines.iter().filter_map(|line| Some((line["step"].as_f64()?, line[name].as_f64()?))).collect()
    };
    let (train, validation) = (series("train_nats"), series("validation_nats"));
    if train.is_empty() && validation.is_empty() {
        bail!("{}: no likelihood in it yet", path.display());
    }
    let mut shown = Vec::new();
    if !train.is_empty() {
        shown.push(Series::noisy("training", train));
    }
    if !validation.is_empty() {
        shown.push(Series::new("validation", validation));
    }
    let references: Vec<Reference> =
        args.reference.iter().map(|(value, label)| Reference::new(label.clone(), *value)).collect();
    // A conditional model is trained, and chosen, given the class.
    let of = if loaded.classes() > 0 { "p(x|class)" } else { "p(x)" };
    let config = CurveConfig {
        title: loaded.title(),
        x_name: "training step".to_owned(),
        y_name: format!("mean log {of}, nats per sample"),
        ..CurveConfig::default()
    };
    output::write(&args.out, &curve(&shown, &references, &config)?)
}

fn read(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    // A disk that was full leaves half a line at the end.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}: line {}", path.display(), i + 1))
    };
    whole.lines().enumerate().map(parse).collect()
}
