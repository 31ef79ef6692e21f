//! The numbers of a gallery as one value, and how it gets into `summary.json` and `README.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::machine::Machine;
use super::plan::{Data, Job, Model, Purpose};
use super::references::{self, Reference};
use super::stages::{Evaluation, Failure, Report, StageTime};
use super::{Args, Images, markdown, stamps};
use crate::text;

/// What a gallery may weigh in the repository.
const LARGEST: u64 = 20_000_000;

#[derive(Debug, Serialize)]
pub struct Summary {
    /// Of this file, raised when a field changes its meaning.
    pub format: u32,
    pub date: String,
    pub command: String,
    pub quick: bool,
    pub seed: u64,
    pub images: Data,
    /// Why the images are not MNIST.
    pub no_mnist: Option<String>,
    pub machine: Machine,
    pub rows: Vec<Row>,
    pub references: Vec<Reference>,
    pub stages: Vec<StageTime>,
    /// All stages, earlier starts included.
    pub stage_seconds: f64,
    /// From the start of the program that wrote this to its end, the build included.
    pub wall_seconds: f64,
    pub folder_bytes: u64,
    pub failures: Vec<Failure>,
}

/// One trained model.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub model: Model,
    pub data: Data,
    pub purpose: Purpose,
    /// Whether another build of `flow` has trained it, wholly or in part.
    pub another_build: bool,
    pub evaluation: Evaluation,
    /// Files in the same folder.
    pub figures: Vec<String>,
}

impl Summary {
    pub fn new(args: &Args, images: &Images, machine: Machine, reports: Vec<Report>, wall: Duration) -> Self {
        let no_mnist = match images {
            Images::Mnist { .. } => None,
            Images::Digits { why } => Some(why.clone()),
        };
        let stages: Vec<StageTime> = reports.iter().flat_map(|report| report.stages.clone()).collect();
        let failures = reports.iter().flat_map(|report| report.failures.clone()).collect();
        Self {
            format: 1,
            date: text::today(),
            command: args.command(),
            quick: args.quick,
            seed: args.seed,
            images: images.data(),
            no_mnist,
            machine,
            rows: reports.into_iter().filter_map(Row::new).collect(),
            references: references::all(images.data()),
            stage_seconds: stages.iter().map(|stage| stage.seconds).sum(),
            stages,
            wall_seconds: wall.as_secs_f64(),
            folder_bytes: 0,
            failures,
        }
    }

    /// Writes both files into the gallery's folder and says where the one to read is.
    pub fn write(&mut self, out: &Path) -> Result<PathBuf> {
        let readme = out.join("README.md");
        // The sizes of the two files themselves are in the sum as of the last time: they are small.
        self.folder_bytes = weight(out)?;
        if self.folder_bytes > LARGEST {
            let message = format!(
                "{} bytes are more than the {} it may have",
                text::grouped(self.folder_bytes),
                text::grouped(LARGEST)
            );
            self.failures.push(Failure { stage: "size of the folder".into(), message });
        }
        let json = serde_json::to_string_pretty(self)? + "\n";
        stamps::write_beside(&out.join("summary.json"), json.as_bytes())?;
        stamps::write_beside(&readme, markdown::page(self).as_bytes())?;
        Ok(readme)
    }

    /// The last words on the screen.
    pub fn closing(&self) -> String {
        let mut lines = Vec::new();
        if let Some(why) = &self.no_mnist {
            lines.push(format!("The image part ran on digits, not on MNIST: {why}"));
        }
        lines.push(format!(
            "Everything together took {}; all stages, those done in earlier starts included, {}. The folder has {}.",
            text::duration(self.wall_seconds),
            text::duration(self.stage_seconds),
            text::size(self.folder_bytes)
        ));
        lines.join("\n")
    }
}

impl Row {
    fn new(report: Report) -> Option<Self> {
        let Report { job, another_build, evaluation, figures, .. } = report;
        let Job { name, model, data, purpose, .. } = job;
        Some(Self { name, model, data, purpose, another_build, evaluation: evaluation?, figures })
    }
}

/// Bytes of all files in `folder`.
fn weight(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { weight(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_weighed_with_all_below_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        fs::write(folder.path().join("a"), [0; 100]).unwrap();
        fs::write(folder.path().join("below/b"), [0; 23]).unwrap();
        assert_eq!(weight(folder.path()).unwrap(), 123);
    }

    #[test]
    fn both_files_are_written_and_a_folder_that_is_too_heavy_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let picture = fs::File::create(folder.path().join("a.gif")).unwrap();
        let mut summary = markdown::tests::summary(Data::Mnist);
        let readme = summary.write(folder.path()).unwrap();
        assert!(fs::read_to_string(&readme).unwrap().starts_with("# Results\n"));
        let json: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.path().join("summary.json")).unwrap()).unwrap();
        assert_eq!(json["rows"][0]["evaluation"]["floor"]["gap"], 0.00412);
        assert_eq!(json["rows"][2]["purpose"], "fixed-points");
        assert!(summary.failures.is_empty());

        picture.set_len(LARGEST).unwrap();
        summary.write(folder.path()).unwrap();
        let message = &summary.failures[0].message;
        assert!(message.ends_with("bytes are more than the 20,000,000 it may have"), "{message}");
        assert!(fs::read_to_string(&readme).unwrap().contains("> **Not complete.**"));
    }
}
