//! What a training needs to go on: written whole, read back to the bit.

use std::collections::BTreeMap;
use std::path::Path;

use flow_data::{DataSet, Preprocessing, Rows};
use flow_models::Prepared;
use flow_models::file::{prepare_tensors, read_metadata, read_tensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::Tensor;

use crate::folder::state_file;
use crate::{Error, Result, RunConfig, TrainConfig};

/// The version of the format that is written. 2 added `progress.rewinds`, and to the configuration what it is about; 3
/// `rows`, and what the configuration says of tapes and precision; 4 leaves `average` out where none is taken.
const FORMAT: u32 = 4;
/// The oldest one that is read.
const OLDEST: u32 = 1;

/// How far a training has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps taken.
    pub step: u64,
    /// Seconds spent on them, validation and saving included.
    pub seconds: f64,
    /// The step of the best validation; 0 before the first.
    pub best_step: u64,
    /// Mean log p(x) of the validation split there, in nats.
    pub best_nats: Option<f64>,
    /// Validations since then.
    pub stale: u64,
    /// Sum and number of the training likelihoods since the last line of metrics.
    pub since_log: (f64, u64),
    /// The largest error of rebuilt activations since then, in standard deviations of the batch.
    #[serde(default)]
    pub rebuild_error: f64,
    /// How many times training went back to a save because a number was not finite; each halves the learning rate.
    #[serde(default)]
    pub rewinds: u32,
    /// Length of the metrics file.
    pub metrics_bytes: u64,
    /// Whether there is nothing left to do.
    pub finished: bool,
}

impl Progress {
    /// Whether such a training can have come here.
    fn is_sound(&self, train: &TrainConfig) -> bool {
        let counts = [self.best_step, self.stale, self.since_log.1];
        let counted = self.step <= train.steps && counts.iter().all(|&count| count <= self.step);
        counted && self.rewinds <= train.rewinds && self.seconds >= 0.0
    }
}

/// The text beside the tensors.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    config: RunConfig,
    progress: Progress,
    /// States from before format 3 lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows: Option<DataRows>,
}

/// What a training saw of its data, by which data that were changed meanwhile are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataRows {
    /// Rows of the training split; none where they are drawn afresh.
    train: Option<usize>,
    validation: usize,
    test: usize,
    /// Means and deviations of a table's columns among it.
    preprocessing: Preprocessing,
}

impl DataRows {
    pub(crate) fn of(data: &DataSet) -> Self {
        DataRows {
            train: data.train.rows(),
            validation: data.validation.len(),
            test: data.test.len(),
            preprocessing: data.preprocessing.clone(),
        }
    }

    /// Refuses data that are not those of the run in `dir` any more.
    pub(crate) fn require(&self, dir: &Path, data: &DataSet) -> Result<()> {
        let now = Self::of(data);
        if now == *self {
            return Ok(());
        }
        let counts = |rows: &Self| {
            let train = rows.train.map_or("fresh draws".to_owned(), |train| train.to_string());
            format!("{train}, {} and {}", rows.validation, rows.test)
        };
        let (then, now) = (counts(self), counts(&now));
        let differ = match then == now {
            true => "as many rows, of another scale or shape".to_owned(),
            false => format!("{now} rows for training, validation and test, then {then}"),
        };
        let why = format!(
            "{} has changed since the run was saved: {differ}; put back the data it was trained on, or begin a new run",
            data.spec
        );
        Err(Error::run(dir, why))
    }
}

/// Writes the state of the run in `dir` beside the one that is there, whose place it takes by `put`.
pub(crate) fn prepare(
    dir: &Path,
    config: &RunConfig,
    progress: &Progress,
    rows: DataRows,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Prepared> {
    let header = Header { format: FORMAT, config: config.clone(), progress: progress.clone(), rows: Some(rows) };
    let header = serde_json::to_value(header).expect("a state is plain data").to_string();
    Ok(prepare_tensors(&state_file(dir), tensors, &header)?)
}

/// Refuses a folder without a state.
pub(crate) fn require(dir: &Path) -> Result<()> {
    match state_file(dir).exists() {
        true => Ok(()),
        false => Err(Error::run(dir, "there is no state.safetensors in it: no run to go on with")),
    }
}

/// What a state holds.
pub(crate) struct State {
    pub config: RunConfig,
    pub progress: Progress,
    pub rows: Option<DataRows>,
    pub tensors: BTreeMap<String, Tensor>,
}

/// Reads it back.
pub(crate) fn load(dir: &Path) -> Result<State> {
    let path = state_file(dir);
    let (tensors, text) = read_tensors(&path)?;
    let Header { config, progress, rows, .. } = parse(&text).map_err(|why| Error::run(path, why))?;
    Ok(State { config, progress, rows, tensors })
}

/// What was chosen and how far it has come, without the tensors and so without their digest.
pub(crate) fn load_header(dir: &Path) -> Result<(RunConfig, Progress)> {
    let path = state_file(dir);
    let Header { config, progress, .. } = parse(&read_metadata(&path)?).map_err(|why| Error::run(path, why))?;
    Ok((config, progress))
}

/// What the training saw of its data, where its state is not from before that was kept.
pub(crate) fn load_rows(dir: &Path) -> Result<Option<DataRows>> {
    let path = state_file(dir);
    let Header { rows, .. } = parse(&read_metadata(&path)?).map_err(|why| Error::run(path, why))?;
    Ok(rows)
}

fn parse(text: &str) -> std::result::Result<Header, String> {
    let wrong = |e: serde_json::Error| format!("its metadata: {e}");
    // The version first: what a newer one has more would only be an unknown field.
    let value: Value = serde_json::from_str(text).map_err(wrong)?;
    match value.get("format").and_then(Value::as_u64) {
        Some(format) if (u64::from(OLDEST)..=u64::from(FORMAT)).contains(&format) => {}
        Some(format) => {
            let newer = if format > u64::from(FORMAT) { "; a newer program wrote it" } else { "" };
            return Err(format!("it is of format {format}, this program reads {OLDEST} to {FORMAT}{newer}"));
        }
        None => return Err("its metadata names no format".to_owned()),
    }
    let header: Header = serde_json::from_str(text).map_err(wrong)?;
    if !header.progress.is_sound(&header.config.train) {
        return Err(format!("its progress makes no sense: {:?}", header.progress));
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use flow_core::rng::derive_seed;

    use super::*;

    #[test]
    fn numbers_come_back_to_the_bit() {
        let floats = (0..5_000).map(|i| f64::from_bits(derive_seed(1, "bits", i))).filter(|x| x.is_finite());
        for x in floats {
            let progress = Progress { best_nats: Some(x), since_log: (x / 3.0, 1), ..Progress::default() };
            let text = serde_json::to_value(&progress).unwrap().to_string();
            assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
        }
    }
}
