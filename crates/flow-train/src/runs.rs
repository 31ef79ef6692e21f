//! What runs lie in a folder, and how each stands: by the headers of their files alone, so that a hundred large ones are
//! listed as quickly as small ones.

use std::fs;
use std::path::Path;

use flow_data::{DataSet, Preprocessing};
use flow_models::file::read_card;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::folder::{self, model_file, state_file};
use crate::links::refuse_links;
use crate::{Divergence, Error, Result, state};

/// A run as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The model's name.
    pub model: String,
    /// The data's name.
    pub data: String,
    /// Steps taken, up to the last save.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// The step of the best validation; 0 before the first.
    pub best_step: u64,
    /// Mean log p(x) of the validation split there, in nats.
    pub best_nats: Option<f64>,
    /// The same in bits per dimension, for images.
    pub best_bits_per_dim: Option<f64>,
    /// Seconds trained.
    pub seconds: f64,
    /// How many times training went back to a save because a number was not finite.
    pub rewinds: u32,
    /// How it stands.
    #[serde(flatten)]
    pub state: RunState,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RunState {
    /// A process is training it.
    Running,
    /// All steps are taken, or validation stopped getting better.
    Done,
    /// It was stopped or killed, and can go on.
    Interrupted,
    /// A number was not finite any more; the last good save can go on.
    Diverged {
        /// Where it was found.
        divergence: Box<Divergence>,
    },
}

impl RunState {
    /// In one word, as in files.
    pub fn name(&self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Done => "done",
            RunState::Interrupted => "interrupted",
            RunState::Diverged { .. } => "diverged",
        }
    }
}

/// A run's name, which is that of its folder, and the run, or why it cannot be read.
pub type Listed = (String, Result<Run>);

/// The runs in the folders of `dir`, by name, and `dir` itself where it is one. A folder without a state is no run.
///
/// # Errors
///
/// `dir` cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Listed>> {
    if state_file(dir).exists() {
        return Ok(vec![(name_of(dir), run(dir))]);
    }
    let mut runs = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        if state_file(&path).exists() {
            runs.push((name_of(&path), run(&path)));
        }
    }
    runs.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(runs)
}

fn name_of(dir: &Path) -> String {
    let name = dir.file_name().unwrap_or(dir.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The run in `dir`.
///
/// # Errors
///
/// There is none, or a file of it is damaged so far as its header and its length can tell.
pub fn run(dir: &Path) -> Result<Run> {
    // Before anything of it is opened: a link leads elsewhere, and a pipe never ends.
    refuse_links(dir)?;
    // Before the rest, or a run that ends while it is read could seem to have been interrupted.
    let running = folder::is_locked(dir);
    let (config, progress) = state::load_header(dir)?;
    let state = if running {
        RunState::Running
    } else if progress.finished {
        RunState::Done
    } else {
        match divergence(dir)? {
            Some(divergence) => RunState::Diverged { divergence },
            None => RunState::Interrupted,
        }
    };
    let bits = image(dir)?
        .zip(progress.best_nats)
        .map(|((dim, levels), nats)| f64::from(levels).log2() - nats / (dim as f64 * std::f64::consts::LN_2));
    Ok(Run {
        model: config.model.name().to_owned(),
        data: config.data.name.to_string(),
        step: progress.step,
        steps: config.train.steps,
        best_step: progress.best_step,
        best_nats: progress.best_nats,
        best_bits_per_dim: bits,
        seconds: progress.seconds,
        rewinds: progress.rewinds,
        state,
    })
}

/// Refuses data that are not those which the run in `dir` was trained on any more, as far as its state tells: numbers of rows
/// and preprocessing. A state that is not there, or damaged, tells nothing.
///
/// # Errors
///
/// [`Error::Run`] with what has changed.
pub fn require_same_data(dir: &Path, data: &DataSet) -> Result<()> {
    let rows = state::load_rows(dir).ok().flatten();
    rows.map_or(Ok(()), |rows| rows.require(dir, data))
}

/// The report that a training leaves as its last line where it stops at a number that is not finite.
fn divergence(dir: &Path) -> Result<Option<Box<Divergence>>> {
    let Some(mut line) = folder::last_metrics(dir)? else { return Ok(None) };
    let diverged = line.get("event").and_then(Value::as_str) == Some("diverged");
    Ok(diverged.then(|| serde_json::from_value(line["divergence"].take()).ok()).flatten())
}

/// Dimensions and levels, of a model of images. A process killed right at the start leaves no model.
fn image(dir: &Path) -> Result<Option<(usize, u32)>> {
    let path = model_file(dir);
    if !path.exists() {
        return Ok(None);
    }
    let card = read_card(&path)?;
    let preprocessing = Preprocessing::deserialize(&card.data["preprocessing"]).ok();
    Ok(preprocessing
        .and_then(|preprocessing| preprocessing.levels())
        .map(|levels| (card.event.iter().product(), levels)))
}
