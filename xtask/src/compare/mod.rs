//! `cargo xtask compare`: this workspace beside other flow libraries, timed by turns in one run. [`run`] is the recipe.

mod card;
mod contest;
mod contestants;
mod environment;
mod limits;
mod markdown;
#[cfg(test)]
mod markdown_tests;
mod plan;
mod report;
mod statistics;
mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use card::Card;
use contest::{Contest, Outcome};
use contestants::Contestant;
use environment::Environments;
use plan::{Device, PEERS, Peer, WORK, Work};
use report::{LeftOut, Machine, Report};

use crate::reproduce::{build, machine, stamps};
use crate::workspace::Workspace;
use crate::{interrupt, text};

/// Time this project beside other flow libraries, on the same work, by turns
///
/// Builds a worker, makes Python environments with pip in target/compare, checks that all compute the same, and writes
/// medians, spreads, ratios and the machine's limits to docs/benchmarks.md and docs/benchmarks.json, of a GPU to
/// docs/benchmarks-cuda.md and .json. A peer that cannot be installed is named and left out. Keep the machine quiet meanwhile.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask compare\n  cargo xtask compare --quick --only nice-mnist,torch,nflows\n  \
                        cargo xtask compare --precision bf16\n  cargo xtask compare --device cuda"
)]
pub struct Args {
    /// Only these configurations (nice-moons, realnvp-moons, nice-mnist, realnvp-mnist, glow-mnist,
    /// realnvp-image-mnist) and peers (torch, torch.compile, torch.graph, nflows, normflows, zuko, flowjax, tensorflow)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Fewer repetitions
    #[arg(long)]
    quick: bool,
    /// Where to compute, on every side; on a GPU beside peers on PyTorch, with libtorch's CUDA build (tools/libtorch.py --cuda)
    #[arg(long, value_name = "NAME", value_enum, default_value = "cpu", hide_possible_values = true)]
    device: Device,
    /// Threads to compute with, on every side [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    /// Also time this project with matrix products of these precisions (bf16, tf32)
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = ["bf16", "tf32"])]
    precision: Vec<String>,
    /// Where the report goes [default: docs/, or preview/compare/ if it is quick or of a part]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// An index of packages from which pip takes PyTorch where it can [default: one of builds without CUDA, which are
    /// gigabytes less; none with --device cuda]
    #[arg(long, value_name = "URL")]
    torch_index: Option<String>,
    /// A Python that has the peers, instead of new environments
    #[arg(long, hide = true, value_name = "PATH")]
    python: Option<PathBuf>,
    /// The worker to time instead of building it
    #[arg(long, hide = true, value_name = "PATH")]
    worker: Option<PathBuf>,
    /// The peers' worker (for the tests)
    #[arg(long, hide = true, value_name = "PATH")]
    script: Option<PathBuf>,
    /// Seconds after which a worker that says nothing is given up (for the tests)
    #[arg(long, hide = true, value_name = "N")]
    patience: Option<u64>,
}

pub fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let started = Instant::now();
    let (works, peers) = chosen(&args.only)?;
    let folder = workspace.root().join("target/compare");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    interrupt::install()?;

    let mut left_out = Vec::new();
    let parts = works.len() + peers.len();
    let peers = args.on_device(peers, &mut left_out);
    let contestants = args.contestants(&peers, &folder, workspace, &mut left_out)?;
    let threads = args.threads();
    let patience = args.patience.map_or(plan::PATIENCE, Duration::from_secs);
    let contest = Contest { effort: args.effort(), threads, device: args.device, folder, patience };
    let mut outcomes = Vec::new();
    for (i, work) in works.iter().enumerate() {
        say!("\n[{}/{}] {}", i + 1, works.len(), work.title);
        let able = args.able(&contestants, work, &mut left_out);
        outcomes.push(contest.hold(work, &able, &mut left_out)?);
    }
    let report = args.report(outcomes, left_out, workspace, started.elapsed());
    somebody(&report)?;
    let page = write(&report, &args.out_folder(parts, workspace))?;
    text::print(&markdown::ratios(&report));
    say!("The whole report: {}", workspace.shown(&page));
    Ok(())
}

/// What `--only` leaves. Without a configuration's name all of them, without a peer's all of these.
fn chosen(only: &[String]) -> Result<(Vec<Work>, Vec<Peer>)> {
    let names = || WORK.iter().map(|work| work.name).chain(PEERS.iter().map(|peer| peer.name));
    if let Some(unknown) = only.iter().find(|name| !names().any(|known| known == name.as_str())) {
        bail!("--only {unknown}: there are {}", names().collect::<Vec<_>>().join(", "));
    }
    let named = |name: &str| only.iter().any(|it| it == name);
    let works: Vec<Work> = WORK.into_iter().filter(|work| named(work.name)).collect();
    let peers: Vec<Peer> = PEERS.into_iter().filter(|peer| named(peer.name)).collect();
    let works = if works.is_empty() { WORK.to_vec() } else { works };
    Ok((works, if peers.is_empty() { PEERS.to_vec() } else { peers }))
}

/// An error where no peer counts: nothing would be left of a page that was measured before.
fn somebody(report: &Report) -> Result<()> {
    if !report.ratios.is_empty() {
        return Ok(());
    }
    let entries = report.configurations.iter().flat_map(|configuration| &configuration.entries);
    let others = entries.filter(|entry| !entry.ours).map(|entry| format!("{}: it computes something else", entry.name));
    bail!("there was nobody to compare with, and nothing is written: {}", why(&report.left_out, others))
}

/// Why some are not counted, on a line.
fn why(left_out: &[LeftOut], others: impl IntoIterator<Item = String>) -> String {
    let out = left_out.iter().map(|it| format!("{}: {}", it.name, it.why));
    out.chain(others).collect::<Vec<_>>().join("; ")
}

/// Both files, each replaced in one move; the path of the one to read.
fn write(report: &Report, out: &Path) -> Result<PathBuf> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let file = |ending: &str| out.join(format!("{}.{ending}", report.machine.device.file_name()));
    let page = file("md");
    let json = serde_json::to_string_pretty(report)? + "\n";
    stamps::write_beside(&file("json"), json.as_bytes())?;
    stamps::write_beside(&page, markdown::page(report).as_bytes())?;
    Ok(page)
}

impl Args {
    /// Those that compute on the device; the others join `left_out`.
    fn on_device(&self, peers: Vec<Peer>, left_out: &mut Vec<LeftOut>) -> Vec<Peer> {
        let (able, absent): (Vec<Peer>, Vec<Peer>) =
            peers.into_iter().partition(|peer| peer.absence_on(self.device).is_none());
        left_out.extend(absent.iter().filter_map(|peer| {
            let why = peer.absence_on(self.device)?.to_owned();
            Some(LeftOut { name: peer.name.to_owned(), configuration: None, why })
        }));
        able
    }

    /// This workspace first, then the peers that can be had.
    fn contestants(
        &self,
        peers: &[Peer],
        folder: &Path,
        workspace: &Workspace,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<Vec<Contestant>> {
        let given = self.python.as_deref();
        let (environments, usual) = match self.device {
            Device::Cpu => (folder.to_owned(), Some(environment::WITHOUT_CUDA)),
            // A PyTorch without CUDA may be in the others.
            Device::Cuda => (folder.join("cuda"), None),
        };
        let torch_index = self.torch_index.as_deref().or(usual);
        let environments = Environments { folder: environments, torch_index, given };
        let ready = environments.prepare(peers, left_out)?;
        if ready.is_empty() {
            bail!("there is nobody to compare with: {}", why(left_out, None));
        }
        let program = match &self.worker {
            Some(program) => std::path::absolute(program).context("the worker that was named")?,
            None => build::example(workspace.root(), "flow-train", "bench_worker", &folder.join("build.json"))?,
        };
        let compiled = contest::compiled(folder);
        if compiled.exists() {
            fs::remove_dir_all(&compiled).with_context(|| format!("cannot remove {}", compiled.display()))?;
        }
        let script = self.script.clone().unwrap_or_else(|| workspace.root().join("xtask/compare/worker.py"));
        let precisions = std::iter::once(None).chain(self.precision.iter().cloned().map(Some));
        let ours = precisions.map(|precision| Contestant::Ours { program: program.clone(), precision });
        let theirs = ready.into_iter().map(|(peer, python)| Contestant::Peer { peer, python, script: script.clone() });
        Ok(ours.chain(theirs).collect())
    }

    /// Those who can do `work`; the others join `left_out`.
    fn able(&self, contestants: &[Contestant], work: &Work, left_out: &mut Vec<LeftOut>) -> Vec<Contestant> {
        let absence = |contestant: &Contestant| match contestant {
            Contestant::Ours { .. } => None,
            Contestant::Peer { peer, .. } => {
                let named = self.only.iter().any(|name| name == peer.name);
                peer.absence(work, named, self.quick).map(|why| (peer.name, why))
            }
        };
        let (absent, able): (Vec<_>, Vec<_>) = contestants.iter().partition(|it| absence(it).is_some());
        left_out.extend(absent.into_iter().filter_map(absence).map(|(name, why)| LeftOut {
            name: name.to_owned(),
            configuration: Some(work.name.to_owned()),
            why: why.to_owned(),
        }));
        able.into_iter().cloned().collect()
    }

    fn effort(&self) -> plan::Effort {
        if self.quick { plan::QUICK } else { plan::FULL }
    }

    fn threads(&self) -> usize {
        self.threads.map_or_else(cores, usize::from)
    }

    fn report(&self, outcomes: Vec<Outcome>, left_out: Vec<LeftOut>, workspace: &Workspace, took: Duration) -> Report {
        let mut versions: BTreeMap<String, String> =
            outcomes.iter().flat_map(|outcome| outcome.versions.clone()).collect();
        // Last, for it says of this workspace which commit it was.
        versions.extend(machine::versions(workspace.root()).by_name());
        let best = |value: fn(&limits::Speed) -> f64| outcomes.iter().map(|it| value(&it.speed)).fold(0.0, f64::max);
        let best_of_all = outcomes.iter().max_by(|a, b| a.speed.flops.total_cmp(&b.speed.flops));
        let machine = Machine {
            device: self.device,
            card: if self.device == Device::Cuda { Card::found() } else { None },
            cpu: machine::cpu().unwrap_or_else(|| "unknown".into()),
            cores: cores(),
            threads: self.threads(),
            os: machine::os(),
            instructions: machine::instructions(&["avx2", "avx512f", "avx512_bf16", "amx_bf16"]),
            flops: best(|speed| speed.flops),
            how: best_of_all.map(|outcome| outcome.speed.how.clone()).unwrap_or_default(),
            bf16_flops: outcomes.iter().filter_map(|it| it.speed.bf16_flops).reduce(f64::max),
            copy: best(|speed| speed.copy),
        };
        // All limits are those of one machine, the one that the page names.
        let configurations: Vec<_> = outcomes.into_iter().map(|outcome| outcome.configuration(&machine)).collect();
        Report {
            format: 1,
            date: text::today(),
            command: self.command(),
            machine,
            effort: self.effort(),
            versions,
            ratios: configurations.iter().flat_map(report::Configuration::ratios).collect(),
            configurations,
            left_out,
            seconds: took.as_secs_f64(),
        }
    }

    /// docs/ is for a full run, so that a first look never overwrites it by accident.
    fn out_folder(&self, parts: usize, workspace: &Workspace) -> PathBuf {
        let whole = !self.quick && parts == WORK.len() + PEERS.len();
        let usual = if whole { "docs" } else { "preview/compare" };
        self.out.clone().unwrap_or_else(|| workspace.root().join(usual))
    }

    /// What to type for the same again.
    fn command(&self) -> String {
        let mut words = vec!["cargo".to_owned(), "xtask".into(), "compare".into()];
        if !self.only.is_empty() {
            words.extend(["--only".to_owned(), self.only.join(",")]);
        }
        if self.quick {
            words.push("--quick".into());
        }
        words.extend(self.device.arguments().iter().map(|word| word.to_string()));
        words.extend(["--threads".to_owned(), self.threads().to_string()]);
        if !self.precision.is_empty() {
            words.extend(["--precision".to_owned(), self.precision.join(",")]);
        }
        words.extend(self.out.iter().flat_map(|out| ["--out".to_owned(), out.display().to_string()]));
        text::command_line(words)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leaves_configurations_or_peers() {
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|it| it.to_string()).collect();
            chosen(&only).map(|(works, peers)| (works.len(), peers.len()))
        };
        assert_eq!(names(&[]).unwrap(), (6, 8));
        assert_eq!(names(&["nice-mnist"]).unwrap(), (1, 8));
        assert_eq!(names(&["zuko", "torch"]).unwrap(), (6, 2));
        assert_eq!(names(&["zuko", "glow-mnist"]).unwrap(), (1, 1));
        let error = names(&["nice"]).unwrap_err().to_string();
        assert!(error.starts_with("--only nice: there are nice-moons, realnvp-moons"), "{error}");
    }
}
