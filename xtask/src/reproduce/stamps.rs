//! What has been done already: for each stage of a job the exact command it was done with, kept beside the run folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A stage that was begun, and maybe finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    /// What `flow` was asked for.
    pub arguments: Vec<String>,
    /// Which build of `flow` was asked; of a training, which one began it.
    pub binary: String,
    pub finished: bool,
    /// Wall time, all starts taken together.
    pub seconds: f64,
}

/// The stamps of one job, by stage, in a file that is rewritten at every change.
pub struct Stamps {
    path: PathBuf,
    stages: BTreeMap<String, Stamp>,
}

impl Stamps {
    /// A file that is missing or makes no sense is one without stamps: the worst that follows is work done twice.
    pub fn read(path: PathBuf) -> Self {
        let stages = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { path, stages }
    }

    pub fn get(&self, stage: &str) -> Option<&Stamp> {
        self.stages.get(stage)
    }

    /// Whether `stage` was finished with this very command by this very build.
    pub fn is_done(&self, stage: &str, arguments: &[String], binary: &str) -> bool {
        let same = |stamp: &Stamp| stamp.finished && stamp.arguments == arguments && stamp.binary == binary;
        self.get(stage).is_some_and(same)
    }

    pub fn set(&mut self, stage: &str, stamp: Stamp) -> Result<()> {
        self.stages.insert(stage.to_owned(), stamp);
        write_beside(&self.path, serde_json::to_string_pretty(&self.stages)?.as_bytes())
    }

    /// Forgets every stage: whatever followed from the old training is void.
    pub fn clear(&mut self) -> Result<()> {
        self.stages.clear();
        write_beside(&self.path, b"{}")
    }
}

/// What is to be done about a training.
#[derive(Debug, PartialEq, Eq)]
pub enum Training {
    Finished,
    /// It was begun with the same command and has saved its state.
    GoOn,
    /// Nothing there, or something that another command has made.
    Anew,
}

/// Judges from the stamp of the training and from what lies in its run folder.
pub fn training(stamp: Option<&Stamp>, arguments: &[String], folder: &Path) -> Training {
    match stamp.filter(|stamp| stamp.arguments == arguments) {
        Some(stamp) if stamp.finished && folder.join("model.safetensors").is_file() => Training::Finished,
        Some(_) if folder.join("state.safetensors").is_file() => Training::GoOn,
        _ => Training::Anew,
    }
}

/// Whether a training has left something in `folder` that took time to make.
pub fn has_saved(folder: &Path) -> bool {
    ["state.safetensors", "model.safetensors"].iter().any(|file| folder.join(file).exists())
}

/// Replaces the file at `path` in one move, so that nobody ever finds half of it.
pub fn write_beside(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = path.with_added_extension("part");
    let written = fs::File::create(&part).and_then(|mut file| {
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    });
    if written.is_err() {
        // Why it failed is worth more to the reader than that this failed, too.
        let _ = fs::remove_file(&part);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(arguments: &[&str], finished: bool) -> Stamp {
        let arguments = arguments.iter().map(|it| it.to_string()).collect();
        Stamp { arguments, binary: "b".into(), finished, seconds: 1.0 }
    }

    #[test]
    fn stamps_survive_and_compare_command_and_build() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stamps.json");
        let asked = vec!["eval".to_owned(), "x".to_owned()];
        let mut stamps = Stamps::read(path.clone());
        assert!(!stamps.is_done("eval", &asked, "b"));
        stamps.set("eval", stamp(&["eval", "x"], true)).unwrap();

        let mut again = Stamps::read(path.clone());
        assert!(again.is_done("eval", &asked, "b"));
        assert!(!again.is_done("eval", &asked, "another build"));
        assert!(!again.is_done("eval", &asked[..1], "b"));
        again.set("eval", stamp(&["eval", "x"], false)).unwrap();
        assert!(!Stamps::read(path.clone()).is_done("eval", &asked, "b"));
        again.clear().unwrap();
        assert_eq!(Stamps::read(path.clone()).get("eval"), None);

        fs::write(&path, "{ cut off").unwrap();
        assert_eq!(Stamps::read(path).get("eval"), None);
    }

    #[test]
    fn nothing_is_left_of_a_file_that_found_no_place() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write_beside(&taken, b"text").is_err());
        assert!(!folder.path().join("taken.part").exists());
    }

    #[test]
    fn a_training_goes_on_only_where_the_same_command_has_saved() {
        let folder = tempfile::tempdir().unwrap();
        let asked = ["train".to_owned(), "--seed".to_owned(), "1".to_owned()];
        let same = |finished| stamp(&["train", "--seed", "1"], finished);
        let judged = |stamp: Option<Stamp>| training(stamp.as_ref(), &asked, folder.path());

        assert_eq!(judged(None), Training::Anew);
        assert_eq!(judged(Some(same(false))), Training::Anew, "killed before it saved");
        assert_eq!(judged(Some(same(true))), Training::Anew, "its folder was removed");

        fs::write(folder.path().join("state.safetensors"), "").unwrap();
        assert_eq!(judged(Some(same(false))), Training::GoOn);
        assert_eq!(judged(None), Training::Anew, "somebody else's");
        assert_eq!(judged(Some(stamp(&["train", "--seed", "2"], false))), Training::Anew);

        fs::write(folder.path().join("model.safetensors"), "").unwrap();
        assert_eq!(judged(Some(same(true))), Training::Finished);
        assert_eq!(judged(Some(stamp(&["train", "--seed", "2"], true))), Training::Anew);
    }
}
