//! `flow eval`: the likelihood of a split.

use anyhow::bail;
use flow_train::evaluate::{Likelihood, evaluate};
use serde_json::{Value, json};

use crate::args::EvalArgs;
use crate::by_class::Marginal;
use crate::loaded::Loaded;

pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    let loaded = Loaded::open(&args.model)?;
    let data = loaded.data_set()?;
    let Some(split) = data.split(args.split) else {
        bail!("{} draws its training points afresh: there is no {} split to evaluate", data.spec, args.split);
    };
    let draws = args.draws as usize;
    let reached =
        evaluate(loaded.model.flow(), loaded.card.model.classes(), split, args.split, data.toy(), draws, args.seed)?;
    let marginal = if args.no_marginal { None } else { Marginal::of(&loaded, split, args.split, args.seed)? };
    if args.json {
        println!("{}", report(&loaded, &reached, marginal.as_ref()));
    } else {
        print!("{}{}", text(&loaded, &reached), marginal.as_ref().map(marginal_text).unwrap_or_default());
    }
    Ok(())
}

fn report(loaded: &Loaded, reached: &Likelihood, marginal: Option<&Marginal>) -> Value {
    let trained = &loaded.card.reached;
    let mut report = json!({
        "model": loaded.card.model.name(),
        "data": loaded.data.name,
        "fixed": loaded.data.fixed,
        "seed": loaded.card.seed,
        "parameters": loaded.model.parameters(),
    });
    let reached = serde_json::to_value(reached).expect("a likelihood is plain data");
    for fields in [trained, &reached] {
        for (name, value) in fields.as_object().into_iter().flatten() {
            report[name] = value.clone();
        }
    }
    if let Some(marginal) = marginal {
        report["marginal_nats"] = json!(marginal.nats);
        report["marginal_bits_per_dim"] = json!(marginal.bits_per_dim);
        report["accuracy"] = json!(marginal.accuracy);
    }
    report
}

fn marginal_text(marginal: &Marginal) -> String {
    let Marginal { nats, bits_per_dim, accuracy, .. } = marginal;
    let mut text = format!("log p(x)   {:.4} ± {:.4} nats, the class summed out, 1 draw\n", nats.mean, nats.se);
    if let Some(bits) = bits_per_dim {
        text += &format!("bits/dim   {:.4} ± {:.4}\n", bits.mean, bits.se);
    }
    text + &format!("accuracy   {:.4} ± {:.4}, by the likeliest class\n", accuracy.mean, accuracy.se)
}

fn text(loaded: &Loaded, reached: &Likelihood) -> String {
    let Likelihood { split, count, draws, unit, given_class, nats, bits_per_dim, floor } = reached;
    let mut text = format!("{}, {split} split: {count} rows, {draws} draw(s) each, unit: {unit}\n", loaded.title());
    let what = if *given_class { "log p(x|c)" } else { "log p(x)  " };
    text += &format!("{what} {:.4} ± {:.4} nats\n", nats.mean, nats.se);
    if let Some(bits) = bits_per_dim {
        text += &format!("bits/dim   {:.4} ± {:.4}\n", bits.mean, bits.se);
    }
    if let Some(floor) = floor {
        let (gap, se) = (floor.gap, floor.gap_se);
        text += &format!("floor      {:.4} nats of -log p(x); above it {gap:.4} ± {se:.4}\n", floor.nats);
    }
    text
}
