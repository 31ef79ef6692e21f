//! Everything that was measured, as one value: `benchmarks.json`, and what the page is made from.

use std::collections::BTreeMap;

use serde::Serialize;

use super::card::Card;
use super::plan::{Device, Effort, Measure, NEARLY, TOLERANCE};
use super::statistics::Summary;

#[derive(Debug, Serialize)]
pub struct Report {
    /// Of this file, raised when a field changes its meaning.
    pub format: u32,
    pub date: String,
    pub command: String,
    pub machine: Machine,
    pub effort: Effort,
    /// Of everything that computed, by name.
    pub versions: BTreeMap<String, String>,
    pub configurations: Vec<Configuration>,
    pub ratios: Vec<Ratio>,
    pub left_out: Vec<LeftOut>,
    pub seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Where everybody computed.
    pub device: Device,
    /// That one, if it is a GPU that says what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
    pub cpu: String,
    pub cores: usize,
    pub threads: usize,
    pub os: String,
    /// Of the instructions that matter here, those that the processor has.
    pub instructions: Vec<String>,
    /// f32 operations a second of the device at most, measured, and with what; where that is several products of bf16, a share of these.
    pub flops: f64,
    pub how: String,
    /// bf16 operations a second at most, where it has instructions of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bf16_flops: Option<f64>,
    /// Bytes a second of a large copy, read and written.
    pub copy: f64,
}

#[derive(Debug, Serialize)]
pub struct Configuration {
    pub name: String,
    pub title: String,
    pub batch: u32,
    /// This workspace first.
    pub entries: Vec<Entry>,
    /// The least time that each measure can take, on the machine as measured.
    pub limits: BTreeMap<Measure, Limit>,
    /// The same by products of bf16, if the machine's speed of them is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits_bf16: BTreeMap<Measure, Limit>,
}

/// What one side did.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    pub name: String,
    pub ours: bool,
    pub parameters: u64,
    pub check: Check,
    /// Milliseconds.
    pub times: BTreeMap<Measure, Summary>,
    /// Bytes of the process at most, while it trained; of the card's memory on a GPU, where its driver tells.
    pub peak_bytes: Option<u64>,
    /// Per cent of the time of training in which a GPU computed anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy: Option<f64>,
    /// Seconds from the start of a process to 16 samples from a saved model.
    pub cold_start: Option<Summary>,
}

/// Whether a side computes the same as this workspace.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// It is this workspace.
    Reference,
    /// It was given the same weights: by how many nats per dimension its log-densities differ at most.
    SameWeights(f64),
    /// It could not be given them; why.
    NotGiven(String),
}

/// Two lower bounds of a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limit {
    /// Of matrix products.
    pub operations: f64,
    /// At the machine's peak.
    pub operations_ms: f64,
    pub bytes: f64,
    /// At the machine's bandwidth.
    pub bytes_ms: f64,
}

impl Limit {
    pub fn ms(&self) -> f64 {
        self.operations_ms.max(self.bytes_ms)
    }
}

/// Somebody who did not take part, in one configuration or in all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeftOut {
    pub name: String,
    pub configuration: Option<String>,
    pub why: String,
}

impl LeftOut {
    pub fn new(name: &str, configuration: Option<&str>, why: &anyhow::Error) -> Self {
        // A line of a table.
        let why = format!("{why:#}").split_whitespace().collect::<Vec<_>>().join(" ");
        LeftOut { name: name.to_owned(), configuration: configuration.map(str::to_owned), why }
    }
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    Time(Measure),
    Memory,
    ColdStart,
}

impl Aspect {
    pub fn all() -> impl Iterator<Item = Aspect> {
        Measure::ALL.into_iter().map(Aspect::Time).chain([Aspect::Memory, Aspect::ColdStart])
    }

    pub fn title(self) -> &'static str {
        match self {
            Aspect::Time(measure) => measure.title(),
            Aspect::Memory => "peak memory of training",
            Aspect::ColdStart => "cold start to 16 samples",
        }
    }

    /// Less is better.
    pub fn of(self, entry: &Entry) -> Option<f64> {
        match self {
            Aspect::Time(measure) => entry.times.get(&measure).map(|summary| summary.median),
            Aspect::Memory => entry.peak_bytes.map(|bytes| bytes as f64),
            Aspect::ColdStart => entry.cold_start.map(|summary| summary.median),
        }
    }
}

/// The best peer in one respect, and how many times as much it took as this workspace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    pub configuration: String,
    /// Which of this workspace's entries.
    pub ours: String,
    pub aspect: Aspect,
    pub peer: String,
    pub ratio: f64,
}

impl Configuration {
    /// The entry of this workspace with the usual precision.
    pub fn reference(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.check == Check::Reference)
    }

    /// Whether `entry` computes the same, as far as could be checked: ratios count those alone.
    pub fn is_same(&self, entry: &Entry) -> bool {
        match entry.check {
            Check::Reference => true,
            Check::SameWeights(difference) => difference <= TOLERANCE,
            Check::NotGiven(_) => self.reference().is_some_and(|ours| {
                let (own, other) = (ours.parameters as f64, entry.parameters as f64);
                (own - other).abs() <= NEARLY * own
            }),
        }
    }

    /// Every entry of this workspace beside the peer that took least, of those that compute the same.
    pub fn ratios(&self) -> Vec<Ratio> {
        let ours = self.entries.iter().filter(|entry| entry.ours);
        ours.flat_map(|ours| Aspect::all().filter_map(|aspect| self.ratio(ours, aspect))).collect()
    }

    fn ratio(&self, ours: &Entry, aspect: Aspect) -> Option<Ratio> {
        let peers = self.entries.iter().filter(|entry| !entry.ours && self.is_same(entry));
        let known = peers.filter_map(|peer| Some((peer, aspect.of(peer)?)));
        let (peer, least) = known.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let ratio = least / aspect.of(ours)?;
        Some(Ratio {
            configuration: self.name.clone(),
            ours: ours.name.clone(),
            aspect,
            peer: peer.name.clone(),
            ratio,
        })
    }
}
