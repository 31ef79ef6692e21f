//! How the cost of a training step grows with dimension, width, depth and batch, on one thread and on two: measures a
//! RealNVP, and writes the figure, the numbers and the table of `docs/scale.md`. Linux only.
//!
//! ```text
//! cargo run --release -p flow-train --example scaling             # five minutes; a quiet machine; writes docs/
//! cargo run --release -p flow-train --example scaling -- --quick  # half a minute; writes preview/
//! cargo run --release -p flow-train --example scaling -- draw     # docs/scale.png anew from docs/scale.json
//! ```

use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use flow_core::rng::with_seed;
use flow_data::{DataSet, Preprocessing, Source, Spec, Split, Values};
use flow_models::{Preset, write_beside};
use flow_train::{Event, RunConfig, Trainer};
use flow_viz::{LogLogConfig, LogLogPanel, Series, log_log};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// What a step is taken of: a RealNVP whose nets have two hidden layers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Size {
    dimension: usize,
    width: usize,
    depth: usize,
    batch: usize,
}

/// What grows while the rest stays, and which of its values are taken.
struct Sweep {
    name: &'static str,
    values: &'static [usize],
    size: fn(usize) -> Size,
}

const SWEEPS: [Sweep; 4] = [
    Sweep {
        name: "dimension",
        values: &[2, 8, 32, 128, 512, 1_024, 3_072],
        size: |dimension| Size { dimension, width: 256, depth: 4, batch: 256 },
    },
    Sweep {
        name: "width",
        values: &[16, 32, 64, 128, 256, 512, 1_024, 2_048],
        size: |width| Size { dimension: 64, width, depth: 4, batch: 256 },
    },
    Sweep {
        name: "depth",
        values: &[2, 4, 8, 16, 32, 64],
        size: |depth| Size { dimension: 64, width: 128, depth, batch: 256 },
    },
    Sweep {
        name: "batch",
        values: &[16, 64, 256, 1_024, 4_096, 8_192, 16_384],
        size: |batch| Size { dimension: 64, width: 128, depth: 4, batch },
    },
];
const THREADS: [usize; 2] = [1, 2];
/// An exponent is that of the largest values of a sweep: of those within this factor of its largest.
const FITTED: usize = 8;

/// The cost of a step.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cost {
    /// Median time of a step.
    milliseconds: f64,
    /// What the process grew by at most, from before the model was made: weights, moments, activations.
    mebibytes: f64,
}

/// The costs of a sweep on so many threads.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    sweep: String,
    threads: usize,
    values: Vec<usize>,
    costs: Vec<Cost>,
    time_exponent: f64,
    memory_exponent: f64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["one", size, threads, seconds] => {
            let cost = measure(serde_json::from_str(size)?, threads.parse()?, seconds.parse()?)?;
            println!("{}", serde_json::to_string(&cost)?);
            Ok(())
        }
        [] => all(Path::new("docs"), 1.0, 1),
        ["--quick"] => all(Path::new("preview"), 0.1, 2),
        ["draw"] => draw(Path::new("docs")),
        _ => bail!("usage: scaling [--quick | draw]"),
    }
}

/// Every `every`-th value of all sweeps, so many seconds of steps each.
fn all(folder: &Path, seconds: f64, every: usize) -> Result<()> {
    let mut lines = Vec::new();
    for sweep in SWEEPS {
        // The largest value is always among them.
        let mut values: Vec<usize> = sweep.values.iter().copied().rev().step_by(every).collect();
        values.reverse();
        let mut costs = THREADS.map(|_| Vec::new());
        for &value in &values {
            for (costs, threads) in costs.iter_mut().zip(THREADS) {
                let cost = in_its_own_process((sweep.size)(value), threads, seconds)?;
                let Cost { milliseconds, mebibytes } = cost;
                eprintln!("{} {value}, threads {threads}: {milliseconds:.2} ms, {mebibytes:.0} MiB", sweep.name);
                costs.push(cost);
            }
        }
        for (costs, threads) in costs.into_iter().zip(THREADS) {
            let of = |part: fn(&Cost) -> f64| exponent(&values, &costs.iter().map(part).collect::<Vec<_>>());
            let (time_exponent, memory_exponent) = (of(|cost| cost.milliseconds), of(|cost| cost.mebibytes));
            let (sweep, values) = (sweep.name.to_owned(), values.clone());
            lines.push(Line { sweep, threads, values, costs, time_exponent, memory_exponent });
        }
    }
    fs::create_dir_all(folder)?;
    write_beside(&folder.join("scale.png"), &figure(&lines)?)?;
    write_beside(&folder.join("scale.json"), (serde_json::to_string_pretty(&lines)? + "\n").as_bytes())?;
    let table = table(&lines);
    print!("{table}");
    let text = folder.join("scale.md");
    match text.exists() {
        true => replace_table(&text, &table),
        false => Ok(()),
    }
}

/// Draws the figure anew from the numbers beside it.
fn draw(folder: &Path) -> Result<()> {
    let numbers = folder.join("scale.json");
    let text = fs::read_to_string(&numbers).with_context(|| numbers.display().to_string())?;
    let lines: Vec<Line> = serde_json::from_str(&text).with_context(|| numbers.display().to_string())?;
    write_beside(&folder.join("scale.png"), &figure(&lines)?)?;
    Ok(())
}

/// A process each: what an allocator has once taken, it keeps, and a number of threads is for a whole process.
fn in_its_own_process(size: Size, threads: usize, seconds: f64) -> Result<Cost> {
    let arguments = ["one", &serde_json::to_string(&size)?, &threads.to_string(), &seconds.to_string()];
    let output =
        Command::new(env::current_exe()?).args(arguments).env("OMP_NUM_THREADS", threads.to_string()).output()?;
    if !output.status.success() {
        bail!("{size:?} on {threads} threads: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn measure(size: Size, threads: usize, seconds: f64) -> Result<Cost> {
    let data = normal(size);
    let mut config = RunConfig::preset("realnvp", Preset::Default, data.spec.clone(), &data)?;
    let Size { width, depth, batch, .. } = size;
    for field in [
        "device=cpu".to_owned(),
        format!("threads={threads}"),
        format!("model.couplings={depth}"),
        format!("model.conditioner.hidden={width}"),
        "model.conditioner.layers=2".to_owned(),
        "model.conditioner.dropout=0".to_owned(),
        format!("train.batch={batch}"),
        "train.schedule=constant".to_owned(),
    ] {
        config.set(&field)?;
    }
    // Steps alone, no validation among them.
    (config.train.steps, config.train.validate_every) = (1 << 40, 1 << 40);
    fs::write("/proc/self/clear_refs", "5").context("resetting the high-water mark")?;
    let before = status("VmRSS")?;
    let mut trainer = Trainer::new(config, data)?;
    let mut step = || -> Result<Duration> {
        let start = Instant::now();
        trainer.run(&mut |event: &Event| match event {
            Event::Step { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })?;
        Ok(start.elapsed())
    };
    for _ in 0..3 {
        step()?;
    }
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
        times.push(step()?);
    }
    times.sort();
    let milliseconds = times[times.len() / 2].as_secs_f64() * 1e3;
    Ok(Cost { milliseconds, mebibytes: (status("VmHWM")? - before) / 1024.0 })
}

/// A batch of rows in memory.
fn normal(size: Size) -> DataSet {
    let dim = size.dimension;
    let rows = |n: usize, seed| {
        let draw = || Tensor::randn([(n * dim) as i64], (Kind::Float, Device::Cpu));
        let numbers = Vec::<f32>::try_from(with_seed(seed, draw)).expect("a vector");
        let values = Array2::from_shape_vec((n, dim), numbers).expect("as many as were drawn");
        Split::new(Values::Reals(values), vec![dim], None).expect("rows of the event's shape")
    };
    DataSet {
        spec: Spec::Npy("normal.npy".into()),
        event_shape: vec![dim],
        preprocessing: Preprocessing::Table {
            columns: (1..=dim).map(|i| format!("x{i}")).collect(),
            mean: vec![0.0; dim],
            std: vec![1.0; dim],
        },
        train: Source::Fixed(rows(size.batch.max(2), 0)),
        validation: rows(1, 1),
        test: rows(1, 2),
        notes: Vec::new(),
    }
}

/// The slope of a line through the logarithms of the largest values, by least squares.
fn exponent(values: &[usize], costs: &[f64]) -> f64 {
    let largest = values[values.len() - 1];
    let fitted = values.iter().zip(costs).filter(|(value, _)| **value * FITTED >= largest);
    let points: Vec<(f64, f64)> = fitted.map(|(value, cost)| ((*value as f64).ln(), cost.ln())).collect();
    let n = points.len() as f64;
    let (x, y) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let sums = points.iter().fold((0.0, 0.0), |(xy, xx), p| (xy + (p.0 - x) * (p.1 - y), xx + (p.0 - x).powi(2)));
    sums.0 / sums.1
}

fn figure(lines: &[Line]) -> Result<Vec<u8>> {
    let row = |y_name: &str, cost: fn(&Cost) -> f64, exponent: fn(&Line) -> f64| -> Vec<LogLogPanel> {
        let panel = |sweep: &Sweep| {
            let series = lines.iter().filter(|line| line.sweep == sweep.name).map(|line| {
                let threads = if line.threads == 1 { "1 thread" } else { &format!("{} threads", line.threads) };
                let points = line.values.iter().zip(&line.costs).map(|(value, c)| (*value as f64, cost(c)));
                Series::new(format!("{threads}: exponent {:.2}", exponent(line)), points.collect())
            });
            LogLogPanel { x_name: sweep.name.into(), y_name: y_name.into(), series: series.collect() }
        };
        SWEEPS.iter().map(panel).collect()
    };
    let mut panels = row("ms a step", |cost| cost.milliseconds, |line| line.time_exponent);
    panels.extend(row("MiB at most", |cost| cost.mebibytes, |line| line.memory_exponent));
    let config = LogLogConfig {
        title: "A training step of RealNVP: time and memory, all else unchanged".into(),
        columns: SWEEPS.len(),
        panel: (360, 340),
    };
    Ok(log_log(&panels, &config)?)
}

/// The table of the docs, in Markdown.
fn table(lines: &[Line]) -> String {
    let mut out = String::from(
        "| grows | from | to | threads | ms | MiB | exponent of time | of memory |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for line in lines {
        let Line { sweep, threads, values, costs, time_exponent, memory_exponent } = line;
        let (from, to) = (values[0], values[values.len() - 1]);
        let (first, last) = (costs[0], costs[costs.len() - 1]);
        let (ms, mib) = ((first.milliseconds, last.milliseconds), (first.mebibytes, last.mebibytes));
        writeln!(
            out,
            "| {sweep} | {from} | {to} | {threads} | {:.2} to {:.1} | {:.0} to {:.0} | {time_exponent:.2} | {memory_exponent:.2} |",
            ms.0, ms.1, mib.0, mib.1
        )
        .expect("a string takes all");
    }
    out
}

/// Puts the table where the last one was.
fn replace_table(path: &Path, table: &str) -> Result<()> {
    let (begin, end) = ("<!-- table of the example scaling -->\n", "<!-- end of the table -->");
    let text = fs::read_to_string(path)?;
    let parts = text.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?.1)));
    let (head, tail) = parts.with_context(|| format!("{}: the place of the table is not there", path.display()))?;
    write_beside(path, format!("{head}{begin}{table}{end}{tail}").as_bytes())?;
    Ok(())
}

/// A line of /proc/self/status, in KiB.
fn status(name: &str) -> Result<f64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(name)).context("no such line")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}
