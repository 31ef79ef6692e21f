//! `flow density`: a density on the plane beside the true one.

use anyhow::bail;
use flow_data::{Split, Values};
use flow_viz::{DensityConfig, Extent, density};
use ndarray::Array2;

use crate::args::DensityArgs;
use crate::arrays::matrix;
use crate::loaded::Loaded;
use crate::output;
use crate::rows::log_probs;

/// Cells on each side.
const CELLS: usize = 160;
/// Draws shown.
const DRAWS: usize = 2_000;

pub fn run(args: &DensityArgs) -> anyhow::Result<()> {
    output::place(&args.out, &["png"])?;
    let loaded = Loaded::open(&args.model)?;
    if loaded.model.event() != [2] {
        bail!("the model's data has shape {:?}; a density can be drawn for two columns", loaded.model.event());
    }
    let data = loaded.data_set()?;
    let flow = loaded.model.flow();
    let test = data.test.to_reals();
    let extent = Extent::robust([test.view()])?;
    let cells = extent.cell_centers(CELLS, CELLS);
    let model = grid(log_probs(&loaded, &Split::new(Values::Reals(cells.clone()), vec![2], None)?, None, 1, 0)?);
    let truth = data.toy().map(|toy| grid(toy.log_prob(cells.view()).to_vec()));
    let context = loaded.context(loaded.class_or_in_turn(None, DRAWS).as_deref());
    let draws = matrix(&flow.sample(DRAWS, 1.0, args.seed, context.as_ref()));
    let names = loaded.preprocessing.column_names();
    let config = DensityConfig {
        title: loaded.title(),
        axis_names: (names[0].clone(), names[1].clone()),
        ..DensityConfig::default()
    };
    let picture = density(model.view(), truth.as_ref().map(|t| t.view()), Some(draws.view()), extent, &config)?;
    output::write(&args.out, &picture)
}

fn grid(values: Vec<f64>) -> Array2<f32> {
    let values = values.into_iter().map(|v| v as f32).collect();
    Array2::from_shape_vec((CELLS, CELLS), values).expect("one value a cell")
}
