//! `flow eval`: the likelihood of a split.

use anyhow::bail;
use flow_train::evaluate::{Evaluation, Likelihood, Mean, SummedOut};
use serde_json::{Value, json};

use crate::args::EvalArgs;
use crate::loaded::Loaded;
use crate::output;

pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    let loaded = Loaded::open(&args.model)?;
    let data = loaded.data_set()?;
    let Some(split) = data.split(args.split) else {
        bail!("{} draws its training points afresh: there is no {} split to evaluate", data.spec, args.split);
    };
    let (flow, classes) = (loaded.model.flow(), loaded.classes());
    let evaluation = |draws: u32| Evaluation { draws: draws as usize, seed: args.seed, protocol: args.protocol };
    let reached = evaluation(args.draws).of(flow, classes, split, args.split, data.toy())?;
    let summed_out = match classes > 0 && !args.no_marginal {
        true => Some(evaluation(args.marginal_draws).summed_out(flow, classes, split, args.split, data.toy())?),
        false => None,
    };
    if args.json {
        output::print_json(&report(&loaded, &reached, summed_out.as_ref()))
    } else {
        output::print(&text(&loaded, &reached, summed_out.as_ref()))
    }
}

fn report(loaded: &Loaded, reached: &Likelihood, summed_out: Option<&SummedOut>) -> Value {
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
    if let Some(SummedOut { likelihood, accuracy, .. }) = summed_out {
        report["marginal_nats"] = json!(likelihood.nats);
        report["marginal_bits_per_dim"] = json!(likelihood.bits_per_dim);
        report["marginal"] = json!(likelihood);
        report["accuracy"] = json!(accuracy);
    }
    report
}

fn text(loaded: &Loaded, reached: &Likelihood, summed_out: Option<&SummedOut>) -> String {
    let Likelihood { split, count, draws, unit, given_class, .. } = reached;
    let mut text = format!("{}, {split} split: {count} rows, {draws} draw(s) each, unit: {unit}\n", loaded.title());
    text += &numbers(if *given_class { "log p(x|c)" } else { "log p(x)" }, "", reached);
    if let Some(SummedOut { likelihood, accuracy, .. }) = summed_out {
        let note = format!(", the class summed out, {} draw(s)", likelihood.draws);
        text += &numbers("log p(x)", &note, likelihood);
        text += &format!("accuracy   {:.4} ± {:.4}, by the likeliest class\n", accuracy.mean, accuracy.se);
    }
    let told = if *given_class { ", given the class" } else { "" };
    text + &by_class(told, reached)
}

/// The mean in every unit that it has, a line each.
fn numbers(what: &str, note: &str, reached: &Likelihood) -> String {
    let Likelihood { nats, between_draws, bits_per_dim, importance_weighted, floor, draws, .. } = reached;
    let noise = between_draws.map(|noise| format!(", of which the noise {:.4}", noise.se)).unwrap_or_default();
    let mut text = format!("{what:<10} {} nats{noise}{note}\n", shown(nats));
    if let Some(bits) = bits_per_dim {
        text += &format!("bits/dim   {}\n", shown(bits));
    }
    if let Some(bound) = importance_weighted {
        let (nats, bits) = (shown(&bound.nats), shown(&bound.bits_per_dim));
        text +=
            &format!("log P(k)   {nats} nats on the unit cube or more, {bits} bits/dim or less, by {draws} draws\n");
    }
    if let Some(floor) = floor {
        let (gap, se) = (floor.gap, floor.gap_se);
        text += &format!("floor      {:.4} nats of -log p(x); above it {gap:.4} ± {se:.4}\n", floor.nats);
    }
    text
}

/// A line a class, where there are two or more.
fn by_class(told: &str, reached: &Likelihood) -> String {
    if reached.by_class.len() < 2 {
        return String::new();
    }
    let mut text = format!("\n{:>6} {:>8} {:>24}", "class", "rows", "nats");
    text += &if reached.bits_per_dim.is_some() { format!(" {:>20}{told}\n", "bits/dim") } else { format!("{told}\n") };
    for class in &reached.by_class {
        text += &format!("{:>6} {:>8} {:>24}", class.class, class.count, shown(&class.nats));
        text += &class.bits_per_dim.map(|bits| format!(" {:>20}", shown(&bits))).unwrap_or_default();
        text.push('\n');
    }
    text
}

fn shown(mean: &Mean) -> String {
    format!("{:.4} ± {:.4}", mean.mean, mean.se)
}
