//! `flow runs`: what runs there are, and how each stands.

use flow_train::runs::{Listed, Run, RunState, list};
use serde_json::{Value, json};

use crate::args::RunsArgs;
use crate::output;

pub fn run(args: &RunsArgs) -> anyhow::Result<()> {
    let runs = list(&args.dir)?;
    if args.json {
        return output::print_json(&json!({ "runs": runs.iter().map(report).collect::<Vec<Value>>() }));
    }
    if runs.is_empty() {
        output::note(&format!("{}: no runs in it", args.dir.display()));
        return Ok(());
    }
    output::print(&table(&runs))
}

fn report((name, run): &Listed) -> Value {
    let mut report = match run {
        Ok(run) => serde_json::to_value(run).expect("a run is plain data"),
        Err(error) => json!({"state": "damaged", "why": error.to_string()}),
    };
    report["name"] = json!(name);
    report
}

const TITLES: [&str; 7] = ["run", "model", "data", "steps", "best nats", "bits/dim", "state"];
/// Columns of numbers, which stand to the right.
const NUMBERS: std::ops::Range<usize> = 3..6;

fn table(runs: &[Listed]) -> String {
    let rows: Vec<[String; 7]> =
        std::iter::once(TITLES.map(str::to_owned)).chain(runs.iter().map(|(name, run)| row(name, run))).collect();
    let widths: Vec<usize> = (0..7).map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, &width))| match i {
            6 => cell.clone(),
            i if NUMBERS.contains(&i) => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(name: &str, run: &flow_train::Result<Run>) -> [String; 7] {
    let none = || "-".to_owned();
    match run {
        Ok(run) => [
            name.to_owned(),
            run.model.clone(),
            run.data.clone(),
            format!("{}/{}", run.step, run.steps),
            run.best_nats.map_or_else(none, |nats| format!("{nats:.4}")),
            run.best_bits_per_dim.map_or_else(none, |bits| format!("{bits:.4}")),
            state(run),
        ],
        Err(error) => [name.to_owned(), none(), none(), none(), none(), none(), format!("damaged: {error}")],
    }
}

fn state(run: &Run) -> String {
    let rewound = match run.rewinds {
        0 => String::new(),
        1 => ", rewound once".to_owned(),
        times => format!(", rewound {times} times"),
    };
    let place = match &run.state {
        RunState::Diverged { divergence } => match &divergence.place.layer {
            Some(layer) => format!(" at step {}, in {layer}", divergence.step),
            None => format!(" at step {}", divergence.step),
        },
        _ => String::new(),
    };
    format!("{}{place}{rewound}", run.state.name())
}
