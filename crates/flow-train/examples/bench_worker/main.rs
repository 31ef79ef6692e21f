//! This workspace's side of `cargo xtask compare`: computes what it is asked for, line by line, and says how long it took.
//!
//! ```text
//! cargo build --release -p flow-train --example bench_worker
//! echo 'run step 5' | target/release/examples/bench_worker nice-mnist 2 [bf16] [--device cuda]
//! ```
//!
//! Requests on standard input, answers as JSON on standard output, as in `xtask/compare/protocol.py`:
//!
//! ```text
//! run WHAT SECONDS    {"ms": [..]}              WHAT: step, log_prob, sample (of 1,000 each), log_prob_1, sample_1
//! peak                {"bytes": N}              the largest resident set so far; on a GPU the memory taken there, or null
//! save FOLDER         {"saved": true}           model.safetensors, and rows with their log-densities to check peers by
//! machine             {"flops": .., ..}         what this machine, or its GPU, can do, for limits
//! ```
//!
//! `bench_worker cold MODEL THREADS [--device cuda]` draws 16 samples from a saved model and ends.

mod card;
mod machine;
mod operations;
mod work;

use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use card::Memory;
use flow_models::file;
use serde_json::{Value, json};
use tch::Device;
use work::Work;

fn main() -> ExitCode {
    // As the command `flow` does.
    flow_train::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // On one line, for the other end.
            let _ = tell(&json!({ "error": format!("{error:#}").replace('\n', " ") }));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    let (arguments, device) = match arguments {
        [arguments @ .., "--device", device] => (arguments, *device),
        _ => (arguments, "cpu"),
    };
    let device: flow_train::Device = device.parse()?;
    // Before the first tensor.
    let memory = || matches!(device, flow_train::Device::Cuda(_)).then(Memory::new);
    match arguments {
        ["cold", model, threads] => cold(model.as_ref(), threads.parse()?, device.resolve()?),
        [work, threads] => serve(memory(), Work::new(work, threads.parse()?, None, device)?),
        [work, threads, precision] => serve(memory(), Work::new(work, threads.parse()?, Some(precision), device)?),
        _ => bail!(
            "bench_worker WORK THREADS [PRECISION], or bench_worker cold MODEL THREADS; each with [--device cuda]"
        ),
    }
}

/// Answers requests until there are no more, about memory of a card where there is one.
fn serve(memory: Option<Memory>, mut work: Work) -> Result<()> {
    tell(&json!({ "ready": work.about() }))?;
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["run", "step", seconds] => json!({ "ms": work.steps(seconds.parse()?)? }),
            ["run", what, seconds] => json!({ "ms": repeat(|| work.infer(what), seconds.parse()?)? }),
            ["peak"] => match &memory {
                Some(memory) => json!({ "bytes": memory.bytes() }),
                None => json!({ "bytes": peak()? }),
            },
            ["machine"] => match work.device() {
                Device::Cpu => machine::measure(work.threads(), work.weight_bytes()),
                card => card::measure(card, work.weight_bytes()),
            },
            ["save", ..] => {
                work.save(line["save ".len()..].as_ref())?;
                json!({ "saved": true })
            }
            _ => bail!("{line:?} is no request"),
        };
        tell(&answer)?;
    }
    Ok(())
}

fn tell(answer: &Value) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}

/// Milliseconds of each call, for about so many seconds. The first call, that finds cold caches, does not count.
fn repeat(mut call: impl FnMut() -> Result<()>, seconds: f64) -> Result<Vec<f64>> {
    call()?;
    let mut times = Vec::new();
    let start = Instant::now();
    let mut last = start;
    while times.is_empty() || (last - start).as_secs_f64() < seconds {
        call()?;
        let now = Instant::now();
        times.push((now - last).as_secs_f64() * 1e3);
        last = now;
    }
    Ok(times)
}

/// Bytes of the largest resident set so far.
fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("the peak of memory is read on Linux only")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.split_whitespace().next().context("no number")?.parse()?;
    Ok(kib * 1024)
}

fn cold(path: &Path, threads: i32, device: Device) -> Result<()> {
    tch::set_num_threads(threads);
    let (model, _) = file::load(path, device)?;
    let samples = model.flow().sample(16, 1.0, 0, None);
    card::finish(device);
    tell(&json!({ "sampled": samples.size()[0] }))
}
