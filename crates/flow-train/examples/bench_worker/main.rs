//! This workspace's side of `cargo xtask compare`: computes what it is asked for, line by line, and says how long it took.
//!
//! ```text
//! cargo build --release -p flow-train --example bench_worker
//! echo 'run step 5' | target/release/examples/bench_worker nice-mnist 2 [bf16]
//! ```
//!
//! Requests on standard input, answers as JSON on standard output, as in `xtask/compare/protocol.py`:
//!
//! ```text
//! run WHAT SECONDS    {"ms": [..]}              WHAT: step, log_prob, sample (of 1,000 each), log_prob_1, sample_1
//! peak                {"bytes": N}              the largest resident set so far
//! save FOLDER         {"saved": true}           model.safetensors, and rows with their log-densities to check peers by
//! machine             {"flops": .., ..}         what this machine can do, for limits
//! ```
//!
//! `bench_worker cold MODEL THREADS` draws 16 samples from a saved model and ends.

mod machine;
mod operations;
mod work;

use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
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
    match arguments {
        ["cold", model, threads] => cold(model.as_ref(), threads.parse()?),
        [work, threads] => serve(Work::new(work, threads.parse()?, None)?),
        [work, threads, precision] => serve(Work::new(work, threads.parse()?, Some(precision))?),
        _ => bail!("bench_worker WORK THREADS [PRECISION], or bench_worker cold MODEL THREADS"),
    }
}

/// Answers requests until there are no more.
fn serve(mut work: Work) -> Result<()> {
    tell(&json!({ "ready": work.about() }))?;
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["run", "step", seconds] => json!({ "ms": work.steps(seconds.parse()?)? }),
            ["run", what, seconds] => json!({ "ms": repeat(|| work.infer(what), seconds.parse()?)? }),
            ["peak"] => json!({ "bytes": peak()? }),
            ["machine"] => machine::measure(work.threads(), work.weight_bytes()),
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

fn cold(path: &Path, threads: i32) -> Result<()> {
    tch::set_num_threads(threads);
    let (model, _) = file::load(path, Device::Cpu)?;
    let samples = model.flow().sample(16, 1.0, 0, None);
    tell(&json!({ "sampled": samples.size()[0] }))
}
