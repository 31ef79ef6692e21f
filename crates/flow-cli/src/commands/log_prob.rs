//! `flow log-prob`: the log-density of a person's own rows.

use anyhow::bail;
use flow_data::Split;
use ndarray::Array1;
use serde_json::json;

use crate::args::LogProbArgs;
use crate::arrays::{csv, npy};
use crate::loaded::Loaded;
use crate::output;
use crate::rows::{log_probs, read};

pub fn run(args: &LogProbArgs) -> anyhow::Result<()> {
    let into = output::place(&args.out, &["npy", "csv"])?;
    output::refuse_input(&args.out, "--input", &args.input)?;
    let loaded = Loaded::open(&args.model)?;
    let class = loaded.class(args.class)?;
    let (values, unit) = read(&loaded, &args.input)?;
    let rows = Split::new(values, loaded.model.event().to_vec(), None)?;
    let result = log_probs(&loaded, &rows, class, args.draws as usize, args.seed)?;
    if let Some(row) = result.iter().position(|lp| !lp.is_finite()) {
        bail!("{}: the log-density of row {} is {}", args.input.display(), row + 1, result[row]);
    }
    let bytes = match into {
        "npy" => npy(&Array1::from(result.clone()).into_dyn())?,
        _ => csv(&["log_prob".to_owned()], result.iter().map(|lp| vec![*lp]))?,
    };
    let mean = result.iter().sum::<f64>() / result.len() as f64;
    if args.json {
        let rows = result.len();
        let out = output::path_text(&args.out);
        output::print_json(&json!({"out": out, "rows": rows, "unit": unit, "class": class, "mean_nats": mean}))?;
    } else {
        let what = match class {
            Some(class) => format!("log p(x|class {class})"),
            None if loaded.classes() > 0 => "log p(x), the class summed out,".to_owned(),
            None => "log p(x)".to_owned(),
        };
        output::print(&format!("{} rows, unit: {unit}; mean {what} {mean:.4} nats\n", result.len()))?;
    }
    // Last, so that what was computed is known even where it cannot be written.
    output::write(&args.out, &bytes)
}
