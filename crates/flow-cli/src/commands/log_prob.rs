//! `flow log-prob`: the log-density of a person's own rows.

use std::path::Path;

use anyhow::bail;
use flow_data::{Split, Table, Values};
use flow_train::batches::DeviceRows;
use flow_train::evaluate::log_probs;
use ndarray::{Array1, Array2};
use serde_json::json;

use crate::args::LogProbArgs;
use crate::arrays::{csv, npy};
use crate::loaded::Loaded;
use crate::output;

pub fn run(args: &LogProbArgs) -> anyhow::Result<()> {
    let into = output::ending(&args.out, &["npy", "csv"])?;
    let loaded = Loaded::open(&args.model)?;
    let values = read(&args.input)?;
    let (values, unit) = in_model_unit(&loaded, values, &args.input)?;
    let rows = Split::new(values, loaded.model.event().to_vec(), None)?;
    let flow = loaded.model.flow();
    let result = log_probs(flow, &DeviceRows::new(&rows, flow.device()), args.draws as usize, args.seed);
    if let Some(row) = result.iter().position(|lp| !lp.is_finite()) {
        bail!("{}: the log-density of row {row} is {}", args.input.display(), result[row]);
    }
    let bytes = match into {
        "npy" => npy(&Array1::from(result.clone()).into_dyn())?,
        _ => csv(&["log_prob".to_owned()], result.iter().map(|lp| vec![*lp]))?,
    };
    output::write(&args.out, &bytes)?;
    let mean = result.iter().sum::<f64>() / result.len() as f64;
    if args.json {
        println!("{}", json!({"out": args.out, "rows": result.len(), "unit": unit, "mean_nats": mean}));
    } else {
        println!("{} rows, unit: {unit}; mean log p(x) {mean:.4} nats", result.len());
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Values> {
    let table = match output::ending(path, &["npy", "csv"])? {
        "npy" => Table::read_npy(path)?,
        _ => Table::read_csv(path)?,
    };
    Ok(table.values)
}

/// The rows as the model takes them, and the name of their unit.
fn in_model_unit(loaded: &Loaded, values: Values, path: &Path) -> anyhow::Result<(Values, String)> {
    let path = path.display();
    let wanted: usize = loaded.model.event().iter().product();
    let (_, dim) = values.dim();
    if dim != wanted {
        bail!("{path}: rows of {dim} numbers; the model takes {wanted}");
    }
    let Some(levels) = loaded.preprocessing.levels() else {
        return Ok((Values::Reals(values.to_reals()), "as read".to_owned()));
    };
    match values {
        Values::Levels { data, .. } => {
            if let Some(((row, column), k)) = data.indexed_iter().find(|(_, k)| u32::from(**k) >= levels) {
                bail!("{path}: row {row}, column {column}: level {k}, the model's levels are 0 to {}", levels - 1);
            }
            Ok((Values::Levels { data, levels }, format!("levels 0 to {}, dequantized onto the unit cube", levels - 1)))
        }
        Values::Reals(rows) => {
            require_unit_cube(&rows, &path.to_string())?;
            Ok((Values::Reals(rows), "unit cube".to_owned()))
        }
    }
}

/// How far outside the unit cube rows may lie. A flow is a density on the whole space, and its own samples may lie a
/// little outside; what lies further is in another unit.
const BEYOND: f32 = 1.0;

fn require_unit_cube(rows: &Array2<f32>, path: &str) -> anyhow::Result<()> {
    match rows.indexed_iter().find(|(_, x)| !(-BEYOND..=1.0 + BEYOND).contains(*x)) {
        None => Ok(()),
        Some(((row, column), x)) => bail!(
            "{path}: row {row}, column {column}: {x} is outside the unit cube; give floats in [0, 1], or levels as u8 in .npy"
        ),
    }
}
