//! Rows a second and memory of training on a table of 100,000 rows and on one of 10 million, 43 columns each, both
//! mapped from NPY files. Linux only; the large file takes 1.7 GB in the temporary folder (3.4 GB as f64).
//!
//! ```text
//! cargo run --release -p flow-train --example scale_rows -- [f32|f64] [ROUNDS]
//! ```

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail};
use flow_data::{LoadOptions, Rows, Spec};
use flow_models::Preset;
use flow_train::{Event, RunConfig, Trainer, batches::DeviceRows, evaluate::log_probs};
use serde::{Deserialize, Serialize};

const COLUMNS: usize = 43;
const SIZES: [usize; 2] = [100_000, 10_000_000];
const BATCH: usize = 512;
const WARM_UP: u64 = 50;
const STEPS: u64 = 500;

/// What one training took.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    load_seconds: f64,
    train_rows_a_second: f64,
    eval_rows_a_second: f64,
    /// The most memory of the process, pages of the mapped file among it (`VmHWM`), and what of it was its own
    /// (`RssAnon`), in MiB.
    peak: f64,
    peak_own: f64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["one", path] => {
            println!("{}", serde_json::to_string(&one(path.into())?)?);
            Ok(())
        }
        [] => compare(false, 5),
        ["f32"] => compare(false, 5),
        ["f64"] => compare(true, 5),
        ["f32", rounds] => compare(false, rounds.parse()?),
        ["f64", rounds] => compare(true, rounds.parse()?),
        _ => bail!("usage: scale_rows [f32|f64] [ROUNDS]"),
    }
}

/// Trains on one and the other in turn.
fn compare(doubles: bool, rounds: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let paths = SIZES.map(|rows| folder.path().join(format!("{rows}.npy")));
    for (path, rows) in paths.iter().zip(SIZES) {
        write(path, rows, doubles).with_context(|| path.display().to_string())?;
    }
    println!("| rows | load, s | training, rows/s | evaluation, rows/s | peak RSS, MiB | RssAnon of it |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut runs = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for ((path, rows), runs) in paths.iter().zip(SIZES).zip(&mut runs) {
            let output = Command::new(env::current_exe()?).arg("one").arg(path).output()?;
            if !output.status.success() {
                bail!("{rows} rows: {}", String::from_utf8_lossy(&output.stderr));
            }
            runs.push(serde_json::from_slice(&output.stdout)?);
            print_run(&rows.to_string(), &runs[runs.len() - 1]);
        }
    }
    let medians = runs.each_ref().map(|runs| medians(runs));
    for (run, rows) in medians.iter().zip(SIZES) {
        print_run(&format!("**{rows}, median**"), run);
    }
    let [small, large] = medians;
    println!("training: {:.3} of the rows a second", large.train_rows_a_second / small.train_rows_a_second);
    Ok(())
}

fn print_run(rows: &str, run: &Run) {
    let Run { load_seconds, train_rows_a_second, eval_rows_a_second, peak, peak_own } = run;
    println!(
        "| {rows} | {load_seconds:.2} | {train_rows_a_second:.0} | {eval_rows_a_second:.0} | {peak:.0} | {peak_own:.0} |"
    );
}

fn medians(runs: &[Run]) -> Run {
    let of = |part: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(part).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
    };
    Run {
        load_seconds: of(|run| run.load_seconds),
        train_rows_a_second: of(|run| run.train_rows_a_second),
        eval_rows_a_second: of(|run| run.eval_rows_a_second),
        peak: of(|run| run.peak),
        peak_own: of(|run| run.peak_own),
    }
}

/// Loads the table, trains a small RealNVP on it for some hundred steps, and evaluates the test split.
fn one(path: PathBuf) -> Result<Run> {
    static DONE: AtomicBool = AtomicBool::new(false);
    let own = thread::spawn(|| -> Result<f64> {
        let mut most = 0.0f64;
        while !DONE.load(Ordering::Relaxed) {
            most = most.max(status("RssAnon")?);
            thread::sleep(Duration::from_millis(10));
        }
        Ok(most)
    });
    let start = Instant::now();
    let spec = Spec::Npy(path);
    let data = flow_data::load(&spec, &LoadOptions::default())?;
    let load_seconds = start.elapsed().as_secs_f64();
    let mut config = RunConfig::preset("realnvp", Preset::Default, spec, &data)?;
    for field in ["device=cpu", "threads=2", "model.couplings=6", "model.conditioner.hidden=128"] {
        config.set(field)?;
    }
    (config.train.batch, config.train.steps, config.train.validate_every) = (BATCH, 1 << 40, 1 << 40);
    let test = data.test.clone();
    let mut trainer = Trainer::new(config, data)?;
    steps(&mut trainer, WARM_UP)?;
    let start = Instant::now();
    steps(&mut trainer, STEPS)?;
    let train_rows_a_second = (STEPS * BATCH as u64) as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    let rows = DeviceRows::new(&test, tch::Device::Cpu);
    let likelihoods = log_probs(trainer.model().flow(), &rows, 1, 0);
    let eval_rows_a_second = test.len() as f64 / start.elapsed().as_secs_f64();
    if !likelihoods.iter().all(|value| value.is_finite()) {
        bail!("a likelihood is not finite");
    }
    DONE.store(true, Ordering::Relaxed);
    let peak_own = own.join().expect("no panic there")? / 1024.0;
    Ok(Run { load_seconds, train_rows_a_second, eval_rows_a_second, peak: status("VmHWM")? / 1024.0, peak_own })
}

fn steps(trainer: &mut Trainer, number: u64) -> Result<()> {
    let mut taken = 0;
    trainer.run(&mut |event: &Event| {
        taken += u64::from(matches!(event, Event::Step { .. }));
        if taken == number { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(())
}

/// Rows of correlated numbers, written one after another.
fn write(path: &Path, rows: usize, doubles: bool) -> Result<()> {
    let file = fs::File::create_new(path)?;
    match doubles {
        true => ndarray_npy::write_zeroed_npy::<f64, _>(&file, (rows, COLUMNS))?,
        false => ndarray_npy::write_zeroed_npy::<f32, _>(&file, (rows, COLUMNS))?,
    }
    let values = (rows * COLUMNS * if doubles { 8 } else { 4 }) as u64;
    let header = file.metadata()?.len() - values;
    let mut out = BufWriter::with_capacity(1 << 20, &file);
    out.seek(SeekFrom::Start(header))?;
    let mut state = 0u64;
    let mut before = 0.0;
    for _ in 0..rows * COLUMNS {
        // The next number of a Weyl sequence, mixed (splitmix64); four of its parts added up are nearly normal.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        let noise = (sum as f64 / 65_536.0 - 2.0) * 3f64.sqrt();
        before = 0.6 * before + 0.8 * noise;
        match doubles {
            true => out.write_all(&before.to_ne_bytes())?,
            false => out.write_all(&(before as f32).to_ne_bytes())?,
        }
    }
    out.flush()?;
    Ok(())
}

/// A line of /proc/self/status, in KiB.
fn status(name: &str) -> Result<f64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(name)).context("no such line")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}
