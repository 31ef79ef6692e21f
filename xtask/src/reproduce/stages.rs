//! The stages of one job: train, evaluate, draw. Each is done once and leaves its stamp in `runs/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::plan::{Choice, Figure, Job};
use super::process::{self, Messages};
use super::stamps::{self, Stamp, Stamps, Training};
use crate::interrupt::Stopped;
use crate::text;

/// What `flow eval --json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evaluation {
    pub model: String,
    pub data: String,
    pub preset: String,
    pub parameters: u64,
    pub steps: u64,
    pub best_step: u64,
    pub batch: u64,
    pub train_seconds: f64,
    pub split: String,
    pub count: u64,
    pub draws: u64,
    pub unit: String,
    pub nats: Mean,
    pub bits_per_dim: Option<Mean>,
    pub floor: Option<Floor>,
    /// Whether `nats` and `bits_per_dim` are those of p(x|c), the class being told.
    #[serde(default)]
    pub given_class: bool,
    /// Of p(x), from a class-conditional model, by one draw of the noise.
    #[serde(default)]
    pub marginal_nats: Option<Mean>,
    #[serde(default)]
    pub marginal_bits_per_dim: Option<Mean>,
    /// The share of rows whose class is the one that makes them likeliest.
    #[serde(default)]
    pub accuracy: Option<Mean>,
}

/// A likelihood in both units.
pub struct Reached {
    pub nats: Mean,
    /// Of integer data.
    pub bits_per_dim: Option<Mean>,
}

impl Evaluation {
    /// The likelihood that compares between models: that of p(x), where it is known.
    pub fn comparable(&self) -> Reached {
        match self.marginal_nats {
            Some(nats) => Reached { nats, bits_per_dim: self.marginal_bits_per_dim },
            None => Reached { nats: self.nats, bits_per_dim: self.bits_per_dim },
        }
    }
}

/// A mean with its standard error.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Mean {
    pub mean: f64,
    pub se: f64,
}

/// How far the model is from a known optimum, on the same points.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Floor {
    pub nats: f64,
    pub gap: f64,
    pub gap_se: f64,
}

/// The binary, and which build of it this is.
pub struct Flow {
    pub path: PathBuf,
    pub build: String,
}

/// What every stage needs to know.
pub struct Session<'a> {
    /// The clone, where commands run and to which the paths in them are relative.
    pub root: &'a Path,
    /// Where run folders and stamps are, relative to `root`.
    pub runs: PathBuf,
    /// Where the gallery goes.
    pub out: PathBuf,
    pub flow: Flow,
    /// The folder of MNIST, if it is used.
    pub mnist: Option<PathBuf>,
    pub choice: Choice,
}

#[derive(Debug, Clone, Serialize)]
pub struct StageTime {
    pub job: String,
    pub stage: String,
    pub seconds: f64,
    /// Done in this start, not in an earlier one.
    pub now: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    pub stage: String,
    pub message: String,
}

/// What has come of a job.
pub struct Report {
    pub job: Job,
    /// Whether another build of `flow` has trained it, wholly or in part.
    pub another_build: bool,
    pub evaluation: Option<Evaluation>,
    /// Names of the pictures in the gallery.
    pub figures: Vec<String>,
    pub stages: Vec<StageTime>,
    pub failures: Vec<Failure>,
}

impl Session<'_> {
    /// Does what is left of `job`. What fails is reported, and what does not depend on it still done.
    pub fn perform(&self, job: &Job) -> Result<Report> {
        let mut report = Report {
            job: job.clone(),
            another_build: false,
            evaluation: None,
            figures: Vec::new(),
            stages: Vec::new(),
            failures: Vec::new(),
        };
        fs::create_dir_all(self.notes(job)).with_context(|| format!("cannot create {}", self.notes(job).display()))?;
        let mut stamps = Stamps::read(self.notes(job).join("stamps.json"));

        let trained = self.train(job, &mut stamps);
        if report.note("train", trained)?.is_none() {
            return Ok(report);
        }
        report.another_build = stamps.get("train").is_some_and(|stamp| stamp.binary != self.flow.build);
        let evaluated = self.evaluate(job, &mut stamps);
        report.evaluation = report.note("eval", evaluated)?;
        for figure in job.figures(&self.choice, &self.folder(job)) {
            let drawn = self.draw(job, &figure, &mut stamps);
            let shown = report.note(&figure.file, drawn)?;
            report.figures.extend(shown);
        }
        Ok(report)
    }

    /// The run folder of `flow`, relative to the clone.
    fn folder(&self, job: &Job) -> PathBuf {
        self.runs.join(&job.name)
    }

    /// Our own folder beside it: stamps, logs, what came out.
    fn notes(&self, job: &Job) -> PathBuf {
        self.root.join(&self.runs).join(format!("{}.stages", job.name))
    }

    fn train(&self, job: &Job, stamps: &mut Stamps) -> Result<(Done, ())> {
        let arguments = job.train_arguments(&self.choice, &self.folder(job));
        let folder = self.root.join(self.folder(job));
        let stamp = stamps.get("train").cloned();
        // A training that goes on counts as one of the build that began it.
        let mut binary = self.flow.build.clone();
        let asked = match stamps::training(stamp.as_ref(), &arguments, &folder) {
            Training::Finished => {
                let stamp = stamp.context("a finished training has a stamp")?;
                if stamp.binary != self.flow.build {
                    say!(
                        "{}: trained by another build of flow; to train it anew, remove {}",
                        job.name,
                        self.folder(job).display()
                    );
                }
                return Ok((Done::before(stamp.seconds), ()));
            }
            Training::GoOn => {
                binary = stamp.context("a training that goes on has a stamp")?.binary;
                say!("{}: going on with its training", job.name);
                vec!["train".into(), "--resume".into(), self.folder(job).display().to_string()]
            }
            Training::Anew => {
                // What was killed before its first save is nothing to keep: `flow` begins anew in its folder.
                if stamps::has_saved(&folder) {
                    self.set_aside(job)?;
                    *stamps = Stamps::read(self.notes(job).join("stamps.json"));
                }
                stamps.clear()?;
                arguments.clone()
            }
        };
        let spent = stamps.get("train").map_or(0.0, |stamp| stamp.seconds);
        let stamp = |finished, seconds| {
            let (arguments, binary) = (arguments.clone(), binary.clone());
            Stamp { arguments, binary, finished, seconds: spent + seconds }
        };
        // Before the first step, so that a kill at any moment leaves behind what the folder was begun with.
        stamps.set("train", stamp(false, 0.0))?;
        let started = Instant::now();
        let ran = process::run(self.flow(&asked), &Messages::Shown, None);
        let seconds = started.elapsed().as_secs_f64();
        stamps.set("train", stamp(ran.is_ok(), seconds))?;
        ran.with_context(|| {
            let folder = self.folder(job);
            format!("training {}; it goes on from {}, or anew if that is removed", job.name, folder.display())
        })?;
        Ok((Done::now(spent + seconds), ()))
    }

    /// Makes room for another training of the same name: what was trained with other arguments may be hours of work.
    fn set_aside(&self, job: &Job) -> Result<()> {
        let runs = self.root.join(&self.runs);
        let free = (1..).map(|k| format!("{}.aside-{k}", job.name)).find(|name| !runs.join(name).exists());
        let free = free.context("there is always a number that is free")?;
        let notes = self.notes(job);
        for (from, to) in [(self.root.join(self.folder(job)), free.clone()), (notes.clone(), format!("{free}.stages"))]
        {
            fs::rename(&from, runs.join(&to)).with_context(|| format!("cannot set {} aside", from.display()))?;
        }
        say!("{}: the one trained with other arguments is set aside as {}", job.name, self.runs.join(free).display());
        fs::create_dir_all(&notes).with_context(|| format!("cannot create {}", notes.display()))
    }

    fn evaluate(&self, job: &Job, stamps: &mut Stamps) -> Result<(Done, Evaluation)> {
        let arguments = job.evaluate_arguments(&self.choice, &self.folder(job));
        let path = self.notes(job).join("eval.json");
        if stamps.is_done("eval", &arguments, &self.flow.build)
            && let (Some(stamp), Ok(evaluation)) = (stamps.get("eval"), read_evaluation(&path))
        {
            return Ok((Done::before(stamp.seconds), evaluation));
        }
        let log = self.notes(job).join("eval.log");
        let seconds = process::run(self.flow(&arguments), &Messages::Logged(log), Some(&path))?;
        let evaluation = read_evaluation(&path)?;
        self.stamp(stamps, "eval", arguments, seconds)?;
        Ok((Done::now(seconds), evaluation))
    }

    /// Draws into `runs/`, from where the picture is copied to the gallery: what lies in the gallery is never trusted.
    fn draw(&self, job: &Job, figure: &Figure, stamps: &mut Stamps) -> Result<(Done, String)> {
        let folder = self.notes(job);
        let drawn = folder.join(&figure.file);
        let done = if stamps.is_done(&figure.file, &figure.arguments, &self.flow.build) && drawn.is_file() {
            Done::before(stamps.get(&figure.file).map_or(0.0, |stamp| stamp.seconds))
        } else {
            // `flow` tells the format by the ending, so the ending stays.
            let part = folder.join(format!("part_{}", figure.file));
            let mut arguments = figure.arguments.clone();
            let shown = part.strip_prefix(self.root).unwrap_or(&part);
            arguments.extend(["--out".into(), shown.display().to_string()]);
            let log = folder.join(format!("{}.log", figure.file));
            let seconds = process::run(self.flow(&arguments), &Messages::Logged(log), None)?;
            fs::rename(&part, &drawn)
                .with_context(|| format!("`flow {}` has left no picture", text::command_line(&arguments)))?;
            self.stamp(stamps, &figure.file, figure.arguments.clone(), seconds)?;
            Done::now(seconds)
        };
        let picture = fs::read(&drawn).with_context(|| format!("cannot read {}", drawn.display()))?;
        stamps::write_beside(&self.out.join(&figure.file), &picture)?;
        Ok((done, figure.file.clone()))
    }

    fn stamp(&self, stamps: &mut Stamps, stage: &str, arguments: Vec<String>, seconds: f64) -> Result<()> {
        stamps.set(stage, Stamp { arguments, binary: self.flow.build.clone(), finished: true, seconds })
    }

    fn flow(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.flow.path);
        command.args(arguments).current_dir(self.root);
        if let Some(folder) = &self.mnist {
            command.env("FLOW_DATA_DIR", folder);
        }
        command
    }
}

/// When a stage was done and how long it took.
struct Done {
    seconds: f64,
    now: bool,
}

impl Done {
    fn now(seconds: f64) -> Self {
        Self { seconds, now: true }
    }

    fn before(seconds: f64) -> Self {
        Self { seconds, now: false }
    }
}

impl Report {
    /// Notes how a stage went and says so; only a stop goes up, a failure stays here.
    fn note<T>(&mut self, stage: &str, outcome: Result<(Done, T)>) -> Result<Option<T>> {
        let name = format!("{} {stage}", self.job.name);
        match outcome {
            Ok((Done { seconds, now }, value)) => {
                let when = if now { "done in" } else { "was done before, in" };
                say!("{name}: {when} {}", text::duration(seconds));
                self.stages.push(StageTime { job: self.job.name.clone(), stage: stage.to_owned(), seconds, now });
                Ok(Some(value))
            }
            Err(error) if error.is::<Stopped>() => Err(error),
            Err(error) => {
                say!("{name}: FAILED\n  {error:#}");
                self.failures.push(Failure { stage: name, message: format!("{error:#}") });
                Ok(None)
            }
        }
    }
}

fn read_evaluation(path: &Path) -> Result<Evaluation> {
    let read = || Ok::<_, anyhow::Error>(serde_json::from_slice(&fs::read(path)?)?);
    read().with_context(|| format!("{} is not what `flow eval --json` should say", path.display()))
}
