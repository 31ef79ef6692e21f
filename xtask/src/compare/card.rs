//! What an NVIDIA card says of itself by nvidia-smi: its name, and how busy it is.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::reproduce::machine;

/// How long the first word of nvidia-smi is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Card {
    pub name: String,
    pub driver: String,
}

impl Card {
    /// The one that is computed on, `None` where it says nothing.
    pub fn found() -> Option<Self> {
        let query = ["--query-gpu=name,driver_version", "--format=csv,noheader"];
        Self::parse(&machine::first_line("nvidia-smi", &[&number(), query[0], query[1]])?)
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, driver) = line.rsplit_once(',')?;
        Some(Card { name: name.trim().to_owned(), driver: driver.trim().to_owned() })
    }
}

/// CUDA's first card is the first of those that it may see.
fn number() -> String {
    let seen = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_else(|_| "0".into());
    format!("--id={}", seen.split(',').next().unwrap_or_default())
}

/// Asks every tenth of a second how busy the card is, until it is dropped.
pub struct Sampler {
    child: Child,
    percents: Receiver<(Instant, f64)>,
}

impl Sampler {
    /// `None` where the card says nothing.
    pub fn start() -> Option<Self> {
        let mut command = Command::new("nvidia-smi");
        command.args([&number(), "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=100"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let output = child.stdout.take();
        let (told, percents) = channel();
        let sampler = Sampler { child, percents };
        let lines = BufReader::new(output?).lines();
        thread::spawn(move || {
            for percent in lines.map_while(Result::ok).filter_map(|line| percent(&line)) {
                if told.send((Instant::now(), percent)).is_err() {
                    return;
                }
            }
        });
        // It takes a while to begin.
        sampler.percents.recv_timeout(PATIENCE).ok().map(|_| sampler)
    }

    /// The mean of what was said since then.
    pub fn mean_since(&self, since: Instant) -> Option<f64> {
        mean(self.percents.try_iter().filter(|(at, _)| *at >= since).map(|(_, percent)| percent))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn percent(line: &str) -> Option<f64> {
    line.trim().parse().ok()
}

/// `None` of nothing.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_card_says_is_understood() {
        let card = Card::parse("NVIDIA H100 80GB HBM3, 580.65.06").unwrap();
        assert_eq!((card.name.as_str(), card.driver.as_str()), ("NVIDIA H100 80GB HBM3", "580.65.06"));
        assert_eq!(Card::parse("No devices were found"), None);
        assert_eq!(["87", " 3 ", "[N/A]", ""].map(percent), [Some(87.0), Some(3.0), None, None]);
        assert_eq!((mean([90.0, 100.0].into_iter()), mean([].into_iter())), (Some(95.0), None));
    }
}
