//! A run's folder: what is in it, and who may write to it.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flow_models::{sync_folder, write_beside};
use serde::Serialize;
use serde_json::Value;

pub use crate::links::{refuse_links, require_inside};
use crate::{Error, Result, RunConfig};

/// The files of a run, held by one process at a time.
///
/// | file | what |
/// | --- | --- |
/// | `model.safetensors` | the best averaged weights by validation, to use |
/// | `state.safetensors` | everything needed to go on |
/// | `metrics.jsonl` | one JSON object a line: likelihoods against steps |
/// | `config.toml` | what was chosen at the start, to read |
/// | `lock` | empty; locked while a process trains here |
#[derive(Debug)]
pub struct RunFolder {
    dir: PathBuf,
    metrics: File,
    /// Held locked; the system lets go of it when the process ends, however it ends.
    _lock: File,
}

/// The model of the run in `dir`.
pub fn model_file(dir: &Path) -> PathBuf {
    dir.join("model.safetensors")
}

/// The state of the run in `dir`.
pub fn state_file(dir: &Path) -> PathBuf {
    dir.join("state.safetensors")
}

/// The metrics of the run in `dir`.
pub fn metrics_file(dir: &Path) -> PathBuf {
    dir.join("metrics.jsonl")
}

impl RunFolder {
    /// Makes `dir` the folder of a new run.
    ///
    /// # Errors
    ///
    /// There is a run in it already, or a file with a name of a run's that is of none, or it cannot be written to.
    pub fn create(dir: &Path, config: &RunConfig) -> Result<Self> {
        make_folder(dir).map_err(Error::io(dir))?;
        refuse_links(dir)?;
        let path = dir.join("config.toml");
        // A start that was killed before its first save leaves a lock, a configuration and metrics without a line. Looked at
        // before there is a lock of this one, which would make the next try take the rest for such a start's.
        let run = [lock_file(dir), state_file(dir), model_file(dir)].iter().any(|file| file.exists());
        refuse_foreign(&path, path.exists() && !run)?;
        let lock = lock(dir)?;
        refuse_run(dir)?;
        let metrics = metrics_file(dir);
        refuse_foreign(&metrics, fs::metadata(&metrics).is_ok_and(|found| found.len() > 0))?;
        let text = toml::to_string_pretty(config).map_err(|e| Error::Config(e.to_string()))?;
        write_beside(&path, text.as_bytes()).map_err(Error::io(path))?;
        Self::open(dir, lock, 0)
    }

    /// Opens the folder of a run that goes on, its metrics cut back to the `metrics_bytes` of the last save.
    ///
    /// # Errors
    ///
    /// Another process is training in it, or it cannot be written to.
    pub fn go_on(dir: &Path, metrics_bytes: u64) -> Result<Self> {
        let lock = lock(dir)?;
        Self::open(dir, lock, metrics_bytes)
    }

    pub(crate) fn open(dir: &Path, lock: File, metrics_bytes: u64) -> Result<Self> {
        remove_leftovers(dir);
        let path = metrics_file(dir);
        let metrics = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        let there = metrics.metadata().map_err(Error::io(&path))?.len();
        if there < metrics_bytes {
            let why = format!("{there} bytes long, {metrics_bytes} at the last save: lines were taken away");
            return Err(Error::run(path, why));
        }
        metrics.set_len(metrics_bytes).map_err(Error::io(&path))?;
        Ok(RunFolder { dir: dir.to_owned(), metrics, _lock: lock })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds a line to the metrics.
    pub(crate) fn log(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string(line).expect("metrics are plain data");
        text.push('\n');
        self.metrics.write_all(text.as_bytes()).map_err(Error::io(metrics_file(&self.dir)))
    }

    /// Cuts the metrics back to the `metrics_bytes` of an earlier save.
    pub(crate) fn cut_metrics(&mut self, metrics_bytes: u64) -> Result<()> {
        self.metrics.set_len(metrics_bytes).map_err(Error::io(metrics_file(&self.dir)))
    }

    /// Brings the metrics to disk and returns their length in bytes.
    pub(crate) fn sync_metrics(&mut self) -> Result<u64> {
        let path = metrics_file(&self.dir);
        self.metrics.sync_all().map_err(Error::io(&path))?;
        Ok(self.metrics.metadata().map_err(Error::io(&path))?.len())
    }
}

/// Refuses a folder in which no new run can begin, as [`RunFolder::create`] does, but changes nothing in it: before data are
/// read and a model is built.
///
/// # Errors
///
/// A process is training in it, there is a run in it already, or one of a run's files is no plain file.
pub fn require_free(dir: &Path) -> Result<()> {
    refuse_links(dir)?;
    match is_locked(dir) {
        true => Err(Error::run(dir, TRAINING)),
        false => refuse_run(dir),
    }
}

fn refuse_run(dir: &Path) -> Result<()> {
    if !state_file(dir).exists() && !model_file(dir).exists() {
        return Ok(());
    }
    let why = format!(
        "there is a run in this folder; choose another --out for a new one, or go on with that run, on its own data, by \
         `--resume {}`",
        dir.display()
    );
    Err(Error::run(dir, why))
}

fn refuse_foreign(file: &Path, foreign: bool) -> Result<()> {
    if !foreign {
        return Ok(());
    }
    Err(Error::run(file, "there already, and of no run that can go on; choose another --out"))
}

/// Refuses a `config.toml` that says other than the run in `dir` was trained by: whoever changed it meant the run to change.
/// What is done about divergence may be chosen anew, and is not compared.
pub(crate) fn require_same(dir: &Path, config: &RunConfig) -> Result<()> {
    let path = dir.join("config.toml");
    if !path.exists() {
        return Ok(());
    }
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    let parsed = toml::from_str::<RunConfig>(&text).map_err(|e| Error::run(&path, e.to_string()))?;
    let plain = |config: &RunConfig| {
        let mut all = serde_json::to_value(config).expect("a configuration is plain data");
        all["train"]["on_divergence"] = Value::Null;
        all
    };
    match first_difference("", &plain(&parsed), &plain(config)) {
        None => Ok(()),
        Some((field, there, trained)) => {
            let why = format!(
                "{field} is {there}, and {trained} in the training that is saved here: put it back to go on, or begin a \
                 new run with another --out"
            );
            Err(Error::run(path, why))
        }
    }
}

/// The first field that differs, by its dotted name, with both values.
fn first_difference(name: &str, a: &Value, b: &Value) -> Option<(String, Value, Value)> {
    let (Some(fields), Some(others)) = (a.as_object(), b.as_object()) else {
        return (a != b).then(|| (name.to_owned(), a.clone(), b.clone()));
    };
    let names: BTreeSet<&String> = fields.keys().chain(others.keys()).collect();
    names.into_iter().find_map(|field| {
        let dotted = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
        first_difference(&dotted, a.get(field).unwrap_or(&Value::Null), b.get(field).unwrap_or(&Value::Null))
    })
}

/// Removes the half-written files of a process that was killed; each can be as large as the state. Held locked, nobody
/// else writes here, and what cannot be removed does no harm.
fn remove_leftovers(dir: &Path) {
    let ours = ["model.safetensors.", "state.safetensors.", "config.toml."];
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(".part") && ours.iter().any(|start| name.starts_with(start)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes `dir`, and brings to disk that it is there, and every folder above that was made with it.
fn make_folder(dir: &Path) -> std::io::Result<()> {
    let new: Vec<&Path> =
        dir.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    fs::create_dir_all(dir)?;
    new.into_iter().try_for_each(sync_folder)
}

fn lock_file(dir: &Path) -> PathBuf {
    dir.join("lock")
}

const TRAINING: &str = "another process is training in this folder";

/// Who lists runs holds a lock for a moment; who trains holds it for long.
const LOCK_TRIES: u32 = 20;

/// Claims `dir` for this process until the file is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File> {
    refuse_links(dir)?;
    let path = lock_file(dir);
    // Not cut off: a file of this name may be somebody's.
    let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = open.map_err(Error::io(&path))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::Error(source)) => return Err(Error::Io { path, source }),
        }
    }
    Err(Error::run(dir, TRAINING))
}

/// Whether a process trains in `dir`.
pub(crate) fn is_locked(dir: &Path) -> bool {
    let Ok(file) = File::open(lock_file(dir)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The last line of the metrics in `dir`, where it is whole; only the end of the file is read.
pub(crate) fn last_metrics(dir: &Path) -> Result<Option<Value>> {
    /// No line is longer.
    const LONGEST: u64 = 1 << 16;
    let path = metrics_file(dir);
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LONGEST)))?;
        let mut end = Vec::new();
        file.take(LONGEST).read_to_end(&mut end)?;
        Ok(end)
    };
    let end = read().map_err(Error::io(&path))?;
    let line = end.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|&byte| byte == b'\n').next());
    Ok(line.and_then(|line| serde_json::from_slice(line).ok()))
}
