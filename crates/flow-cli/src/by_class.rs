//! What a model that is conditioned on classes says of a split when it is not told the class: p(class | x) by Bayes.

use std::f64::consts::LN_2;

use anyhow::bail;
use flow_data::{Part, Rows, Split};
use flow_train::batches::DeviceRows;
use flow_train::classify::{self, ByClass};
use flow_train::evaluate::Mean;

use crate::loaded::Loaded;

/// By one draw of the dequantization noise a row, all classes being as likely before a row is seen.
pub struct Marginal {
    pub nats: Mean,
    pub bits_per_dim: Option<Mean>,
    /// Share of rows whose likeliest class is their own.
    pub accuracy: Mean,
    /// How often a row of class `i` is taken for class `j`, at `[i][j]`.
    pub confusion: Vec<Vec<u64>>,
}

impl Marginal {
    /// `None` for a model without classes.
    pub fn of(loaded: &Loaded, split: &Split, part: Part, seed: u64) -> anyhow::Result<Option<Self>> {
        let (flow, classes) = (loaded.model.flow(), loaded.classes());
        if classes == 0 {
            return Ok(None);
        }
        if split.is_empty() {
            bail!("the {part} split has no rows");
        }
        let rows = DeviceRows::with_classes(split, classes, flow.device())?;
        let by_class = ByClass::of(flow, classes, &rows, seed);
        let nats = by_class.marginal();
        if let Some(row) = nats.iter().position(|x| !x.is_finite()) {
            bail!("log p(x) of row {row} of the {part} split is {}", nats[row]);
        }
        let confusion = by_class.confusion(rows.labels().expect("required by with_classes"));
        Ok(Some(Marginal {
            bits_per_dim: bits_per_dim(loaded, &nats).map(|bits| Mean::of(&bits)),
            nats: Mean::of(&nats),
            accuracy: share(classify::accuracy(&confusion), split.len()),
            confusion,
        }))
    }
}

/// log2 L - nats / (D ln 2) of each row, for data of L levels.
pub fn bits_per_dim(loaded: &Loaded, nats: &[f64]) -> Option<Vec<f64>> {
    let levels = f64::from(loaded.preprocessing.levels()?).log2();
    let dim = loaded.model.event().iter().product::<usize>() as f64;
    Some(nats.iter().map(|nats| levels - nats / (dim * LN_2)).collect())
}

/// A share of `n` rows, with the standard error of a binomial.
fn share(share: f64, n: usize) -> Mean {
    Mean { mean: share, se: (share * (1.0 - share) / n as f64).sqrt() }
}
