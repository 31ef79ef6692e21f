//! `flow classify`: the class of each row by Bayes, and the likelihood with the class summed out.

use anyhow::bail;
use flow_data::Rows;
use flow_train::evaluate::{Evaluation, Likelihood, SummedOut};
use flow_viz::{ConfusionConfig, confusion};
use ndarray::Array2;
use serde_json::json;

use crate::args::ClassifyArgs;
use crate::loaded::Loaded;
use crate::output;
use crate::rows::first;

pub fn run(args: &ClassifyArgs) -> anyhow::Result<()> {
    if let Some(out) = &args.out {
        output::place(out, &["png"])?;
    }
    let loaded = Loaded::open(&args.model)?;
    if loaded.classes() == 0 {
        bail!("the model is not conditioned on classes; train a glow or realnvp-image with --classes");
    }
    let data = loaded.data_set()?;
    let Some(split) = data.split(args.split) else {
        bail!("{} draws its training points afresh: there is no {} split to classify", data.spec, args.split);
    };
    let split = &first(split.clone(), args.number);
    let evaluation = Evaluation { seed: args.seed, ..Evaluation::default() };
    let reached = evaluation.summed_out(loaded.model.flow(), loaded.classes(), split, args.split, data.toy())?;
    if args.json {
        output::print_json(&json!({
            "model": loaded.card.model.name(), "data": loaded.data.name, "split": args.split.to_string(),
            "count": split.len(), "classes": loaded.classes(), "accuracy": reached.accuracy,
            "confusion": reached.confusion, "marginal_nats": reached.likelihood.nats,
            "marginal_bits_per_dim": reached.likelihood.bits_per_dim, "out": args.out.as_deref().map(output::path_text),
        }))?;
    } else {
        output::print(&text(&loaded, args, split.len(), &reached))?;
    }
    // Last, so that what was computed is known even where it cannot be drawn or written.
    match &args.out {
        Some(out) => output::write(out, &picture(&loaded, args, &reached)?),
        None => Ok(()),
    }
}

fn picture(loaded: &Loaded, args: &ClassifyArgs, reached: &SummedOut) -> anyhow::Result<Vec<u8>> {
    let classes = loaded.classes();
    let counts = Array2::from_shape_fn((classes, classes), |(i, j)| reached.confusion[i][j]);
    let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
    let caption = format!("{}: {} split, classes by Bayes", loaded.title(), args.split);
    Ok(confusion(counts.view(), &names, &ConfusionConfig { caption, ..ConfusionConfig::default() })?)
}

/// Larger tables than this are for the picture and for JSON.
const WIDEST: usize = 16;

fn text(loaded: &Loaded, args: &ClassifyArgs, rows: usize, reached: &SummedOut) -> String {
    let SummedOut { likelihood: Likelihood { nats, bits_per_dim, .. }, accuracy, confusion } = reached;
    let (split, classes) = (args.split, loaded.classes());
    let mut text =
        format!("{}, {split} split: {rows} rows, {classes} classes taken as equally likely\n", loaded.title());
    text += &format!("accuracy   {:.4} ± {:.4}\n", accuracy.mean, accuracy.se);
    text += &format!("log p(x)   {:.4} ± {:.4} nats, the class summed out\n", nats.mean, nats.se);
    if let Some(bits) = bits_per_dim {
        text += &format!("bits/dim   {:.4} ± {:.4}\n", bits.mean, bits.se);
    }
    if classes <= WIDEST {
        text += "\nrows: true class; columns: likeliest class\n";
        let line = |cells: Vec<String>| cells.iter().map(|cell| format!("{cell:>6}")).collect::<String>() + "\n";
        text += &("      ".to_owned() + &line((0..classes).map(|class| class.to_string()).collect()));
        for (class, counts) in confusion.iter().enumerate() {
            text += &(format!("{class:>6}") + &line(counts.iter().map(ToString::to_string).collect()));
        }
    }
    text
}
