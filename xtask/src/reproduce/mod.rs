//! `cargo xtask reproduce`: from a bare clone to the gallery. [`run`] is the recipe.

pub(crate) mod build;
pub(crate) mod machine;
mod markdown;
mod plan;
pub(crate) mod process;
mod references;
mod stages;
pub(crate) mod stamps;
mod summary;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use plan::{Choice, Data};
use stages::{Report, Session};
use summary::Summary;

use crate::interrupt::{self, Stopped};
use crate::workspace::Workspace;
use crate::{fetch, text};

/// Train NICE, RealNVP and Glow on moons and MNIST and make the gallery, from nothing
///
/// Fetches MNIST, builds `flow` (and thereby fetches libtorch), trains, evaluates, draws, and writes a summary. What is
/// finished is not done again: stop it at any time with Ctrl-C, the same command goes on where it was.
///
/// Convolutional models take the preset `cpu`, minutes of training, unless `--device` names cuda.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask reproduce\n  cargo xtask reproduce --quick\n  \
                        cargo xtask reproduce --with-seed --device cuda")]
pub struct Args {
    /// Where to train: cpu, cuda, cuda:N, mps or auto
    #[arg(long, default_value = "cpu", value_parser = device)]
    device: String,
    /// A first look in a few minutes, into preview/
    #[arg(long)]
    quick: bool,
    /// Also train the original's own nets and add their rows
    #[arg(long)]
    with_seed: bool,
    /// Threads to compute with [default: all cores, 16 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    /// What all randomness is drawn from
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    /// Where the gallery goes [default: results/, or a folder in preview/ if it is quick or without MNIST]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Use this program instead of building `flow` (for the tests)
    #[arg(long, hide = true, value_name = "PATH")]
    flow_binary: Option<PathBuf>,
    /// Fetch MNIST from here (for the tests)
    #[arg(long = "mirror", hide = true, value_name = "URL")]
    mirrors: Vec<String>,
}

pub fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let started = Instant::now();
    let images = Images::find(args, workspace);
    let out = args.out_folder(images.data(), workspace)?;
    let runs = PathBuf::from(if args.quick { "runs/reproduce-quick" } else { "runs/reproduce" });
    let _lock = lock(&workspace.root().join(&runs))?;
    // As it is before anything is drawn: pictures are tracked files, and would make every commit a changed one.
    let machine = machine::describe(workspace.root(), &args.choice());
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;

    interrupt::install()?;
    let flow = build::flow(args.flow_binary.as_deref(), workspace.root(), &runs).map_err(|it| args.how_to_go_on(it))?;
    let session = Session { root: workspace.root(), runs, out, flow, mnist: images.folder(), choice: args.choice() };
    let reports = perform_all(args, &images, &session).map_err(|it| args.how_to_go_on(it))?;

    let mut summary = Summary::new(args, &images, machine, reports, started.elapsed());
    let path = summary.write(&session.out)?;
    conclude(&summary, &path, workspace)
}

/// Does job after job, each as far as it gets.
fn perform_all(args: &Args, images: &Images, session: &Session) -> Result<Vec<Report>> {
    let budget = if args.quick { plan::QUICK } else { plan::FULL };
    let jobs = plan::jobs(budget, images.data(), &session.choice);
    let mut reports: Vec<Report> = Vec::new();
    for (i, job) in jobs.iter().enumerate() {
        say!("\n[{}/{}] {}", i + 1, jobs.len(), job.name);
        let report = session.perform(job)?;
        let nothing_works = reports.iter().chain([&report]).all(|report| report.stages.is_empty());
        if let Some(failure) = report.failures.first().filter(|_| nothing_works) {
            // What broke the very first stage (no such device, a broken build) would break all others too.
            bail!("{}: {}", failure.stage, failure.message);
        }
        reports.push(report);
    }
    Ok(reports)
}

/// Says where everything is; an error if something is missing.
fn conclude(summary: &Summary, path: &Path, workspace: &Workspace) -> Result<()> {
    say!("\n{}", summary.closing());
    say!("Pictures and numbers: {}", workspace.shown(path));
    if summary.failures.is_empty() {
        return Ok(());
    }
    let stages: Vec<&str> = summary.failures.iter().map(|failure| failure.stage.as_str()).collect();
    bail!("not everything worked, see above: {}; the same command tries again what failed", stages.join(", "))
}

impl Args {
    fn choice(&self) -> Choice {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Choice {
            device: self.device.clone(),
            // These nets are too small to keep more threads busy than that.
            threads: self.threads.map_or(cores.min(16), usize::from),
            seed: self.seed,
            with_seed: self.with_seed,
        }
    }

    /// `results/` is for a full run on MNIST alone, so that a first look never overwrites the gallery by accident.
    fn out_folder(&self, images: Data, workspace: &Workspace) -> Result<PathBuf> {
        let preview = match (self.quick, images) {
            (false, Data::Mnist) => None,
            (false, images) => Some(images.name().to_owned()),
            (true, images) => Some(format!("quick-{}", images.name())),
        };
        let usual = match &preview {
            None => workspace.results(),
            Some(name) => workspace.root().join("preview").join(name),
        };
        let Some(out) = &self.out else { return Ok(usual) };
        let out = std::path::absolute(out).with_context(|| format!("what folder is {}?", out.display()))?;
        let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => a == b,
        };
        if preview.is_some() && same(&out, &workspace.results()) {
            bail!("results/ is kept for a full run on MNIST, which this is not; choose another folder for --out");
        }
        Ok(out)
    }

    /// The command as it would be typed to get these numbers again.
    fn command(&self) -> String {
        let mut words = vec!["cargo".to_owned(), "xtask".into(), "reproduce".into()];
        words.extend(self.quick.then(|| "--quick".into()));
        words.extend(self.with_seed.then(|| "--with-seed".into()));
        if self.device != "cpu" {
            words.extend(["--device".into(), self.device.clone()]);
        }
        if let Some(threads) = self.threads {
            words.extend(["--threads".into(), threads.to_string()]);
        }
        if self.seed != 0 {
            words.extend(["--seed".into(), self.seed.to_string()]);
        }
        text::command_line(words)
    }

    fn how_to_go_on(&self, error: anyhow::Error) -> anyhow::Error {
        if !error.is::<Stopped>() {
            return error;
        }
        let mut command = self.command();
        if let Some(out) = &self.out {
            command = format!("{command} {}", text::command_line(["--out", &out.to_string_lossy()]));
        }
        Stopped(format!("Stopped; what is done so far is kept. To go on from here:\n  {command}")).into()
    }
}

/// What the image part runs on.
enum Images {
    Mnist { folder: PathBuf },
    Digits { why: String },
}

impl Images {
    /// MNIST, if it can be had in any way.
    fn find(args: &Args, workspace: &Workspace) -> Self {
        match fetch::mnist_folder(&args.mirrors, workspace) {
            Ok(folder) => Self::Mnist { folder },
            Err(error) => {
                say!("{error:#}");
                say!(
                    "\nNO MNIST: the image part runs on `digits` instead (1,797 small digits that come with a crate).\n\
                     Every picture and number of it is named after digits.\n"
                );
                // The first line is the reason; what each mirror said belongs on the screen.
                let why = error.root_cause().to_string();
                Self::Digits { why: why.lines().next().unwrap_or_default().to_owned() }
            }
        }
    }

    fn data(&self) -> Data {
        match self {
            Self::Mnist { .. } => Data::Mnist,
            Self::Digits { .. } => Data::Digits,
        }
    }

    fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Mnist { folder } => Some(folder.clone()),
            Self::Digits { .. } => None,
        }
    }
}

fn device(text: &str) -> Result<String, String> {
    let numbered = text.strip_prefix("cuda:").is_some_and(|number| number.parse::<u8>().is_ok());
    if numbered || ["cpu", "cuda", "mps", "auto"].contains(&text) {
        return Ok(text.to_owned());
    }
    Err("one of cpu, cuda, cuda:N, mps, auto".into())
}

/// Makes the folder and holds it: two runs at once would train over each other.
fn lock(runs: &Path) -> Result<fs::File> {
    fs::create_dir_all(runs).with_context(|| format!("cannot create {}", runs.display()))?;
    let file = fs::File::create(runs.join(".lock")).with_context(|| format!("cannot write in {}", runs.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!("another `reproduce` is at work in {}", runs.display()),
        Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", runs.display())),
    }
}
