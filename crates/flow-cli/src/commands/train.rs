//! `flow train`: from a command line to a finished run folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use flow_data::{DataSet, Source, Spec};
use flow_train::{DataConfig, Outcome, RunConfig, Trainer, folder};
use serde_json::json;

use crate::args::{ModelName, TrainArgs};
use crate::interrupt;
use crate::output;
use crate::progress::{Progress, Unit};

pub fn run(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let (mut trainer, dir) = match (&args.resume, args.model, &args.data) {
        (Some(dir), ..) => (resume(args, dir)?, dir.clone()),
        (None, Some(model), Some(data)) => start(args, model, data)?,
        _ => bail!("a model and --data, or --resume, are needed"),
    };
    if trainer.progress().finished {
        output::note(&format!("{}: finished already, at step {}", dir.display(), trainer.progress().step));
        let all = trainer.progress().step >= trainer.config().train.steps;
        report(args, &trainer, &dir, if all { Outcome::Finished } else { Outcome::EarlyStop })?;
        return Ok(ExitCode::SUCCESS);
    }
    output::notes(trainer.data());
    announce(&trainer, &dir);
    let mut progress = Progress::new(trainer.progress().step, trainer.config().train.steps, unit(&trainer));
    let outcome = trainer.run(&mut progress);
    progress.finish();
    let outcome = outcome.with_context(|| format!("the run in {}", dir.display()))?;
    report(args, &trainer, &dir, outcome)?;
    Ok(if outcome == Outcome::Interrupted { ExitCode::from(interrupt::CODE) } else { ExitCode::SUCCESS })
}

fn resume(args: &TrainArgs, dir: &Path) -> anyhow::Result<Trainer> {
    let mut trainer = Trainer::resume(dir)?;
    if let Some(choice) = args.on_divergence {
        trainer.set_on_divergence(choice.into());
    }
    Ok(trainer)
}

fn start(args: &TrainArgs, model: ModelName, spec: &Spec) -> anyhow::Result<(Trainer, PathBuf)> {
    if args.classes && !matches!(model, ModelName::Glow | ModelName::RealnvpImage) {
        bail!("--classes: {} takes none; glow and realnvp-image do", model.name());
    }
    let spec = absolute(spec)?;
    let dir = args.out.clone().unwrap_or_else(|| default_folder(model, &spec));
    folder::require_free(&dir)?;
    // Its own fields first: a preset is one for the data as they will be, and a folder of images is read once.
    let mut data_config = DataConfig::new(spec.clone());
    for assignment in
        args.set.iter().filter(|assignment| assignment.starts_with("data.") || assignment.starts_with("data="))
    {
        data_config.set(assignment)?;
    }
    if data_config.name != spec {
        bail!("the data is chosen by --data, not by --set data.name");
    }
    let data = data_config.load()?;
    let preset = RunConfig::preset(model.name(), args.preset, spec.clone(), &data)?;
    let mut config = changed(RunConfig { data: data_config, ..preset }, &args.set)?;
    if args.classes {
        config.set(&format!("model.classes={}", count_classes(&data)?))?;
    }
    config.seed = args.seed.unwrap_or(config.seed);
    config.device = args.device.unwrap_or(config.device);
    config.threads = args.threads.map_or(config.threads, usize::from);
    config.train.precision = args.precision.unwrap_or(config.train.precision);
    config.train.steps = args.steps.unwrap_or(config.train.steps);
    config.train.batch = args.batch.unwrap_or(config.train.batch);
    config.train.on_divergence = args.on_divergence.map_or(config.train.on_divergence, Into::into);
    if args.classes && args.set.iter().any(|assignment| assignment.starts_with("model.classes=")) {
        bail!("the number of classes is set twice, by --classes and by --set model.classes");
    }
    if config.data.name != spec {
        bail!("the data is chosen by --data, not by --set data.name");
    }
    if config.preset != args.preset {
        bail!("the preset is chosen by --preset, not by --set preset");
    }
    if config.model.name() != model.name() {
        bail!("the model is chosen by its name, not by --set model.kind");
    }
    let mut trainer = Trainer::new(config, data)?;
    trainer.keep_in(&dir)?;
    Ok((trainer, dir))
}

fn changed(mut config: RunConfig, assignments: &[String]) -> anyhow::Result<RunConfig> {
    for assignment in assignments {
        config.set(assignment)?;
    }
    Ok(config)
}

/// One more than the largest label.
fn count_classes(data: &DataSet) -> anyhow::Result<usize> {
    let Source::Fixed(train) = &data.train else {
        bail!("--classes: {} draws its training points afresh, without labels", data.spec);
    };
    let labels = [train, &data.validation, &data.test].into_iter().filter_map(|split| split.labels.as_ref());
    match labels.flatten().max() {
        Some(largest) => Ok(usize::from(*largest) + 1),
        None => bail!("--classes: {} has no labels", data.spec),
    }
}

/// The path of a person's own data made absolute, so that the run can go on from any folder. It is stored as text.
fn absolute(spec: &Spec) -> anyhow::Result<Spec> {
    let whole = |path: &PathBuf| {
        let whole = std::path::absolute(path).with_context(|| path.display().to_string())?;
        if whole.to_str().is_none() {
            bail!("{}: not UTF-8, and a run could not find its data by it again; rename the folder", whole.display());
        }
        Ok(whole)
    };
    Ok(match spec {
        Spec::Csv(path) => Spec::Csv(whole(path)?),
        Spec::Npy(path) => Spec::Npy(whole(path)?),
        Spec::Images(path) => Spec::Images(whole(path)?),
        Spec::Idx(path) => Spec::Idx(whole(path)?),
        other => other.clone(),
    })
}

fn default_folder(model: ModelName, spec: &Spec) -> PathBuf {
    let data = match spec {
        Spec::Csv(path) | Spec::Npy(path) | Spec::Images(path) | Spec::Idx(path) => {
            path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
        }
        named => named.to_string(),
    };
    Path::new("runs").join(format!("{}-{data}", model.name()))
}

fn announce(trainer: &Trainer, dir: &Path) {
    let config = trainer.config();
    let already = match trainer.progress().step {
        0 => String::new(),
        step => format!(", going on from step {step}"),
    };
    output::note(&format!(
        "{} on {}: {} parameters, {} steps of {} on {} with {} threads, in {}{already}",
        config.model.name(),
        config.data.name,
        trainer.model().parameters(),
        config.train.steps,
        config.train.batch,
        config.device.found().unwrap_or(config.device),
        config.threads,
        dir.display(),
    ));
}

fn unit(trainer: &Trainer) -> Unit {
    let data = trainer.data();
    match data.preprocessing.levels() {
        Some(levels) => Unit::Bits { dim: data.dim() as f64, levels: f64::from(levels) },
        None => Unit::Nats,
    }
}

fn report(args: &TrainArgs, trainer: &Trainer, dir: &Path, outcome: Outcome) -> anyhow::Result<()> {
    let progress = trainer.progress();
    let outcome = match outcome {
        Outcome::Finished => "finished",
        Outcome::EarlyStop => "stopped early",
        Outcome::Interrupted => "interrupted",
    };
    if args.json {
        let report = json!({
            "run": output::path_text(dir), "outcome": outcome, "step": progress.step, "best_step": progress.best_step,
            "validation_nats": progress.best_nats, "train_seconds": progress.seconds,
            "rewinds": progress.rewinds, "parameters": trainer.model().parameters(),
            "model": output::path_text(&folder::model_file(dir)),
        });
        return output::print_json(&report);
    }
    let best = progress.best_nats.map_or("no validation yet".to_owned(), |nats| {
        format!("best validation log p {nats:.4} nats at step {}", progress.best_step)
    });
    let dir = dir.display();
    let next = match outcome {
        "interrupted" => format!("go on with: flow train --resume {dir}"),
        _ => format!("evaluate with: flow eval {dir}"),
    };
    let (step, seconds) = (progress.step, progress.seconds);
    output::print(&format!("{outcome} after {step} steps and {seconds:.0} s: {best}\n{next}\n"))
}
