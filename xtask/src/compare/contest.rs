//! One configuration: everybody's processes are started, checked against each other, and timed by turns.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::card::Sampler;
use super::contestants::Contestant;
use super::limits::{self, Cost, Speed};
use super::plan::{Device, Effort, Measure, SETTLED, TRAINED_SECONDS, WATCHED_SECONDS, Work};
use super::report::{Check, Configuration, Entry, LeftOut, Machine};
use super::statistics::Summary;
use super::worker::Worker;
use crate::interrupt::Stopped;

/// What all configurations have in common.
pub struct Contest {
    pub effort: Effort,
    pub threads: usize,
    pub device: Device,
    /// For logs and saved models.
    pub folder: PathBuf,
    pub patience: Duration,
}

/// What came of a configuration.
pub struct Outcome {
    work: Work,
    entries: Vec<Entry>,
    cost: Cost,
    /// The machine's, as it was just then.
    pub speed: Speed,
    pub versions: BTreeMap<String, String>,
}

impl Outcome {
    /// With the limits of this machine.
    pub fn configuration(self, machine: &Machine) -> Configuration {
        let Machine { flops, bf16_flops, copy, .. } = *machine;
        let speed = Speed { flops, bf16_flops, copy, ..self.speed };
        let packed = machine.device == Device::Cpu && !self.work.image;
        Configuration {
            name: self.work.name.into(),
            title: self.work.title.into(),
            batch: self.work.batch,
            limits: limits::of(&self.cost, &speed, self.work.batch, packed),
            limits_bf16: limits::of_bf16(&self.cost, &speed, self.work.batch, packed),
            entries: self.entries,
        }
    }
}

/// A contestant with its process, and what it has said so far.
struct Side<'a> {
    contestant: &'a Contestant,
    worker: Worker,
    parameters: u64,
    peak_bytes: Option<u64>,
    check: Check,
    times: BTreeMap<Measure, Vec<f64>>,
    busy: Option<f64>,
    starts: Vec<f64>,
    versions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Greeting {
    ready: Ready,
}

#[derive(Deserialize)]
struct Ready {
    parameters: u64,
    versions: BTreeMap<String, String>,
}

/// The greeting of this workspace's worker says more.
#[derive(Deserialize)]
struct OurGreeting {
    ready: Cost,
}

#[derive(Deserialize)]
struct Times {
    ms: Vec<f64>,
}

#[derive(Deserialize)]
struct Peak {
    /// Unknown where a GPU's driver does not tell.
    bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Saved {
    saved: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Loaded {
    Difference(f64),
    No(String),
}

#[derive(Deserialize)]
struct Sampled {
    sampled: u64,
}

impl Contest {
    /// Lets all of them do `work`. Whoever fails is left out, but for this workspace.
    pub fn hold(&self, work: &Work, contestants: &[Contestant], left_out: &mut Vec<LeftOut>) -> Result<Outcome> {
        let mut cost = None;
        let mut sides = Vec::new();
        let start = |it: &Contestant| self.start(work, it, "", it.command(work, self.threads, self.device));
        // Where a GPU computes, all may set themselves up at once.
        let together = self.device == Device::Cuda;
        let early: Vec<_> = contestants.iter().map(|contestant| together.then(|| start(contestant))).collect();
        for (contestant, early) in contestants.iter().zip(early) {
            let worker = early.unwrap_or_else(|| start(contestant));
            match worker.and_then(|worker| self.open(contestant, worker, &mut cost)) {
                Ok(side) => sides.push(side),
                Err(error) => leave_out(contestant, work, error, left_out)?,
            }
        }
        let cost = cost.context("this workspace takes part")?;
        let speed: Speed = sides[0].worker.ask("machine")?;
        self.check(work, &mut sides, left_out)?;
        self.time(work, &mut sides, left_out)?;
        if self.device == Device::Cuda {
            self.watch(work, &mut sides, left_out)?;
        }
        // With a GPU, libraries start for seconds before a model is read.
        if work.cold && self.device == Device::Cpu {
            self.start_cold(work, &mut sides, left_out)?;
        }
        let versions = sides.iter().flat_map(|side| side.versions.clone()).collect();
        let entries = sides.into_iter().map(Side::entry).collect();
        Ok(Outcome { work: *work, entries, cost, speed, versions })
    }

    /// Lets a process that was started train a little, and reads its memory before it does anything else.
    fn open<'a>(&self, contestant: &'a Contestant, mut worker: Worker, cost: &mut Option<Cost>) -> Result<Side<'a>> {
        let greeting: serde_json::Value = worker.ready()?;
        if contestant.is_needed() {
            *cost = Some(OurGreeting::deserialize(&greeting).context("what flow says of itself")?.ready);
        }
        let Ready { parameters, versions } =
            Greeting::deserialize(&greeting).with_context(|| format!("{} said {greeting}", contestant.name()))?.ready;
        let _: Times = worker.ask(&format!("run {} {TRAINED_SECONDS}", Measure::Step))?;
        let Peak { bytes: peak_bytes } = worker.ask("peak")?;
        let check = if contestant.is_needed() { Check::Reference } else { Check::NotGiven("not asked".into()) };
        say!("  {} is ready, {parameters} parameters", contestant.name());
        let (times, starts) = (BTreeMap::new(), Vec::new());
        Ok(Side { contestant, worker, parameters, peak_bytes, check, times, busy: None, starts, versions })
    }

    fn start(
        &self,
        work: &Work,
        contestant: &Contestant,
        suffix: &str,
        mut command: std::process::Command,
    ) -> Result<Worker> {
        command.env("TORCHINDUCTOR_CACHE_DIR", compiled(&self.folder));
        let logs = self.folder.join("logs");
        fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
        let name = contestant.name();
        let log = logs.join(format!("{}-{}{suffix}.log", work.name, name.replace(", ", "-")));
        Worker::start(&name, command, &log, self.patience)
    }

    fn models(&self, work: &Work) -> PathBuf {
        self.folder.join("models").join(work.name)
    }

    /// Gives everybody the weights of this workspace's model, and compares log-densities.
    fn check(&self, work: &Work, sides: &mut Vec<Side>, left_out: &mut Vec<LeftOut>) -> Result<()> {
        let folder = self.models(work);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let shown = folder.display();
        each(sides, work, left_out, |side| {
            if side.contestant.is_needed() {
                let Saved { saved } = side.worker.ask(&format!("save {shown}"))?;
                return if saved { Ok(()) } else { bail!("the model was not saved") };
            }
            side.check = match side.contestant.is_ours() {
                true => Check::NotGiven("the same program".into()),
                false => match side.worker.ask(&format!("load {shown}"))? {
                    Loaded::Difference(difference) => Check::SameWeights(difference),
                    Loaded::No(why) => Check::NotGiven(why),
                },
            };
            Ok(())
        })
    }

    /// Turn after turn: of each measure everybody has its share, then of the next, round after round.
    fn time(&self, work: &Work, sides: &mut Vec<Side>, left_out: &mut Vec<LeftOut>) -> Result<()> {
        for measure in Measure::ALL {
            // What is compiled or packed is so by now.
            each(sides, work, left_out, |side| side.worker.ask(&format!("run {measure} 0")).map(|_: Times| ()))?;
        }
        let rounds = self.effort.rounds(work);
        for round in 1..=rounds {
            say!("  round {round} of {rounds}");
            for measure in Measure::ALL {
                let request = format!("run {measure} {}", self.effort.seconds(measure));
                each(sides, work, left_out, |side| {
                    let Times { ms } = side.worker.ask(&request)?;
                    side.times.entry(measure).or_default().extend(ms);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// How busy a GPU is while everybody in turn trains for longer; those times do not count.
    fn watch(&self, work: &Work, sides: &mut Vec<Side>, left_out: &mut Vec<LeftOut>) -> Result<()> {
        let Some(sampler) = Sampler::start() else { return Ok(()) };
        let request = format!("run {} {WATCHED_SECONDS}", Measure::Step);
        each(sides, work, left_out, |side| {
            let begun = Instant::now();
            let _: Times = side.worker.ask(&request)?;
            side.busy = sampler.mean_since(begun + SETTLED);
            Ok(())
        })
    }

    /// Seconds from the start of a process to 16 samples, of those that have a saved model to draw from.
    fn start_cold(&self, work: &Work, sides: &mut Vec<Side>, left_out: &mut Vec<LeftOut>) -> Result<()> {
        say!("  cold starts");
        let folder = self.models(work);
        for _ in 0..self.effort.starts {
            each(sides, work, left_out, |side| {
                if !matches!(side.check, Check::Reference | Check::SameWeights(_)) {
                    return Ok(());
                }
                let begun = Instant::now();
                let command = side.contestant.cold(work, self.threads, self.device, &folder);
                let mut worker = self.start(work, side.contestant, "-cold", command)?;
                let Sampled { sampled } = worker.ready()?;
                side.starts.push(begun.elapsed().as_secs_f64());
                if sampled == 16 { Ok(()) } else { bail!("{sampled} samples in the place of 16") }
            })?;
        }
        Ok(())
    }
}

/// Where `torch.compile` keeps what it has compiled, of this run alone: of a run that was broken off half of a library may be left, which
/// PyTorch would load and die of.
pub fn compiled(folder: &Path) -> PathBuf {
    folder.join("compiled")
}

/// Does something with each side in turn. Who fails is gone for the rest of the configuration.
fn each<'a>(
    sides: &mut Vec<Side<'a>>,
    work: &Work,
    left_out: &mut Vec<LeftOut>,
    mut act: impl FnMut(&mut Side<'a>) -> Result<()>,
) -> Result<()> {
    let mut failures = Vec::new();
    for (i, side) in sides.iter_mut().enumerate() {
        if let Err(error) = act(side) {
            leave_out(side.contestant, work, error, left_out)?;
            failures.push(i);
        }
    }
    for i in failures.into_iter().rev() {
        sides.remove(i);
    }
    Ok(())
}

/// Notes who failed; the failure is everybody's where a person wants to stop, or without whom there is no comparison.
fn leave_out(contestant: &Contestant, work: &Work, error: anyhow::Error, left_out: &mut Vec<LeftOut>) -> Result<()> {
    if error.is::<Stopped>() || contestant.is_needed() {
        return Err(error);
    }
    say!("  {} is left out: {error:#}", contestant.name());
    left_out.push(LeftOut::new(&contestant.name(), Some(work.name), &error));
    Ok(())
}

impl Side<'_> {
    fn entry(self) -> Entry {
        let times = self.times.iter().filter_map(|(measure, ms)| Some((*measure, Summary::of(ms)?)));
        Entry {
            name: self.contestant.name(),
            ours: self.contestant.is_ours(),
            parameters: self.parameters,
            check: self.check,
            times: times.collect(),
            peak_bytes: self.peak_bytes,
            busy: self.busy,
            cold_start: Summary::of(&self.starts),
        }
    }
}
