//! Rows that a person brings, and what a model says of rows.

use std::path::Path;

use anyhow::{Context, bail};
use flow_core::rng::derive_seed;
use flow_data::{Preprocessing, Rows, Split, Table, Values};
use flow_train::batches::DeviceRows;
use flow_train::classify::ByClass;
use flow_train::evaluate;
use ndarray::{Array1, Array2};

use crate::loaded::Loaded;
use crate::output;

/// Reads rows of any kind of file that can hold them, as the model takes them, and the name of their unit.
pub fn read(loaded: &Loaded, path: &Path) -> anyhow::Result<(Values, String)> {
    let table = match output::ending(path, &["npy", "csv"])? {
        "npy" => Table::read_npy(path)?,
        _ => Table::read_csv(path)?,
    };
    let wanted: usize = loaded.model.event().iter().product();
    let (_, dim) = table.values.dim();
    if dim != wanted {
        bail!("{}: rows of {dim} numbers; the model takes {wanted}", path.display());
    }
    require_columns(loaded, &table.columns, path)?;
    in_model_unit(loaded, table.values, path)
}

/// Refuses a table whose header names other columns than that of the model's data, or the same in another order.
fn require_columns(loaded: &Loaded, names: &[String], path: &Path) -> anyhow::Result<()> {
    let Preprocessing::Table { columns, .. } = &loaded.preprocessing else { return Ok(()) };
    // Without a header they are x1, x2, .. : no names that anybody gave.
    let named = |names: &[String]| names.iter().enumerate().any(|(i, name)| *name != format!("x{}", i + 1));
    if !named(names) || !named(columns) {
        return Ok(());
    }
    match names.iter().zip(columns).position(|(name, column)| name != column) {
        None => Ok(()),
        Some(i) => bail!(
            "{}: column {} is {:?}, of the model's data {:?}; give the same columns in the same order, or none of their names",
            path.display(),
            i + 1,
            names[i],
            columns[i]
        ),
    }
}

/// The rows as the model takes them, and the name of their unit. Their places are counted from 1 where they are named.
fn in_model_unit(loaded: &Loaded, values: Values, path: &Path) -> anyhow::Result<(Values, String)> {
    let path = path.display();
    let Some(levels) = loaded.preprocessing.levels() else {
        return Ok((Values::Reals(values.to_reals()), "as read".to_owned()));
    };
    match values {
        Values::Levels { data, .. } => {
            if let Some(((row, column), k)) = data.indexed_iter().find(|(_, k)| u32::from(**k) >= levels) {
                let (row, column) = (row + 1, column + 1);
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
            "{path}: row {}, column {}: {x} is outside the unit cube; give floats in [0, 1], or levels as u8 in .npy",
            row + 1,
            column + 1
        ),
    }
}

/// The first `number` rows, or all of them where there are no more.
pub fn first(split: Split, number: Option<u32>) -> Split {
    match number {
        Some(number) if (number as usize) < split.len() => split.select(&(0..number as usize).collect::<Vec<_>>()),
        _ => split,
    }
}

/// log p(x) of every row in nats, averaged over `draws` of the dequantization noise. A model that is conditioned on classes
/// is told `class`, log p(x | class), and the classes are summed out where it is `None`:
/// log p(x) = logsumexp_c log p(x | c) - ln classes.
pub fn log_probs(
    loaded: &Loaded,
    split: &Split,
    class: Option<usize>,
    draws: usize,
    seed: u64,
) -> anyhow::Result<Vec<f64>> {
    let (flow, classes) = (loaded.model.flow(), loaded.classes());
    let rows = DeviceRows::new(split, flow.device());
    if classes == 0 {
        return Ok(evaluate::log_probs(flow, &rows, draws, seed));
    }
    if let Some(class) = class {
        let label = u8::try_from(class).with_context(|| format!("--class {class}: labels end at 255"))?;
        let mut labelled = split.clone();
        labelled.labels = Some(Array1::from_elem(split.len(), label));
        let rows = DeviceRows::with_classes(&labelled, classes, flow.device())?;
        return Ok(evaluate::log_probs(flow, &rows, draws, seed));
    }
    let draws = if rows.levels().is_some() { draws.max(1) } else { 1 };
    let mut means = vec![0.0; rows.len()];
    for draw in 0..draws {
        // The first is the one of `flow eval`.
        let seed = if draw == 0 { seed } else { derive_seed(seed, "marginal", draw as u64) };
        for (mean, value) in means.iter_mut().zip(ByClass::of(flow, classes, &rows, seed).marginal()) {
            *mean += value / draws as f64;
        }
    }
    Ok(means)
}
