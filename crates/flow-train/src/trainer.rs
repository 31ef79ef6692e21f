//! The training loop.

mod saving;
mod start;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use flow_core::rng::{derive_seed, with_seed};
use flow_data::DataSet;
use flow_models::Model;
use serde_json::{Value, json};
use tch::Tensor;

use self::start::{adam, check_data, require_memory, start_from_data};
use crate::adam::Adam;
use crate::batches::{Batches, DeviceRows};
use crate::diagnose::{layer_with, likelihood_fault, replay, validation_row};
use crate::error::named;
use crate::evaluate::{Mean, log_probs};
use crate::flat::FlatParameters;
use crate::folder::{self, RunFolder, state_file};
use crate::gradients::{Stepper, Taken};
use crate::memory;
use crate::recorder::Recorder;
use crate::rewind::Snapshot;
use crate::state::{self, Progress, State};
use crate::twins::Twins;
use crate::{Divergence, Error, Event, Observer, OnDivergence, Origin, Place, Result, RunConfig};

/// Steps between updates of the moving average, which decays by `ema` to this power: a pass over all parameters saved.
const AVERAGE_EVERY: u64 = 8;
/// What the error of rebuilt activations should stay below, in standard deviations of the batch: f32 keeps seven digits,
/// and a gradient is worth following with three.
const REBUILD_BOUND: f64 = 1e-3;

/// Rows that a report gives at most.
const NAMED: usize = 3;

/// Trains one model. Everything is a function of the configuration and the step, so a run that was stopped anywhere and
/// goes on from its last save ends as an unbroken one would have, to the bit (same machine, same number of threads).
#[derive(Debug)]
pub struct Trainer {
    config: RunConfig,
    data: DataSet,
    model: Model,
    parameters: FlatParameters,
    adam: Adam,
    /// Where the weights are averaged.
    average: Option<Tensor>,
    best: Tensor,
    batches: Batches,
    recorder: Recorder,
    twins: Twins,
    validation: DeviceRows,
    progress: Progress,
    /// That activations were rebuilt inexactly, until it is told.
    warning: Option<Event>,
    /// The running moments that a forward pass in training moves.
    moving: Vec<Tensor>,
    folder: Option<RunFolder>,
    /// Whether the folder holds the state as it is now.
    saved: bool,
    /// The step of the save in the folder.
    kept: Option<u64>,
    /// The last good save, where training may go back to it.
    good: Option<Snapshot>,
}

/// Why a training returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All steps were taken.
    Finished,
    /// Validation stopped getting better.
    EarlyStop,
    /// The observer asked for it; the run can go on later.
    Interrupted,
}

impl Trainer {
    /// A training from the start, that keeps everything in memory.
    ///
    /// # Errors
    ///
    /// The configuration, or the device, is not sound.
    pub fn new(config: RunConfig, data: DataSet) -> Result<Self> {
        config.validate()?;
        check_data(&config, &data)?;
        let device = config.device.resolve()?;
        tch::set_num_threads(config.threads as i32);
        require_memory(&config, &data.event_shape, device)?;
        let model = Model::new(&config.model, &data.event_shape, config.seed, device)?;
        start_from_data(&model, &data, config.seed)?;
        let parameters = FlatParameters::new(&model);
        memory::give_back();
        let adam = adam(&config, &parameters);
        let copy = || parameters.buffer().copy();
        let classes = config.model.classes();
        Ok(Trainer {
            average: (config.train.ema > 0.0).then(copy),
            best: copy(),
            adam,
            batches: Batches::new(&data.train, config.train.batch, classes, config.seed, device)?,
            recorder: Recorder::new(device, config.train.graphs),
            twins: Twins::new(&config, &model, &parameters)?,
            validation: DeviceRows::with_classes(&data.validation, classes, device)?,
            progress: Progress::default(),
            warning: None,
            moving: moving(&model),
            folder: None,
            saved: false,
            kept: None,
            good: None,
            config,
            data,
            model,
            parameters,
        })
    }

    /// Keeps the run in `dir` from here on.
    ///
    /// # Errors
    ///
    /// There is a run in it already, or it cannot be written to.
    pub fn keep_in(&mut self, dir: &Path) -> Result<()> {
        self.folder = Some(RunFolder::create(dir, &self.config)?);
        self.save()
    }

    /// Takes up the run in `dir` where it was last saved.
    ///
    /// # Errors
    ///
    /// There is no run in it, another process is training in it, or its state is damaged.
    pub fn resume(dir: &Path) -> Result<Self> {
        state::require(dir)?;
        // Locked first: what is read must be what the last trainer left.
        let lock = folder::lock(dir)?;
        let State { config, progress, rows, tensors } = state::load(dir)?;
        config.validate()?;
        folder::require_same(dir, &config)?;
        let data = config.data.load()?;
        rows.map_or(Ok(()), |rows| rows.require(dir, &data))?;
        // Before anything is built: a forged configuration must not allocate more than the file holds.
        let expected = config.model.saved_numbers(&data.event_shape)?;
        let variables = tensors.iter().filter(|(name, _)| *name == "parameters" || name.starts_with("fixed."));
        let held: u128 = variables.map(|(_, tensor)| tensor.numel() as u128).sum();
        if expected > held {
            let why = format!("its configuration asks for {expected} numbers, its tensors hold {held}");
            return Err(Error::run(state_file(dir), why));
        }
        let mut trainer = Trainer::new(config, data)?;
        trainer.restore(dir, &tensors)?;
        trainer.folder = Some(RunFolder::open(dir, lock, progress.metrics_bytes)?);
        trainer.kept = Some(progress.step);
        trainer.progress = progress;
        Ok(trainer)
    }

    /// Chooses anew what is done where a number is not finite any more; the one thing that may change in a run that goes
    /// on.
    pub fn set_on_divergence(&mut self, choice: OnDivergence) {
        self.config.train.on_divergence = choice;
    }

    /// What was chosen at the start.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The model, with the weights of the last step.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The data.
    pub fn data(&self) -> &DataSet {
        &self.data
    }

    /// The model with the best averaged weights by validation; before the first validation, with the averaged weights as
    /// they are.
    pub fn into_best(self) -> Model {
        self.parameters.copy_from(self.for_use());
        self.model
    }

    /// What a model file of this training holds.
    fn for_use(&self) -> &Tensor {
        match self.progress.best_nats {
            Some(_) => &self.best,
            None => self.held(),
        }
    }

    /// What is held against the validation split: the average, or the weights themselves where none is taken.
    fn held(&self) -> &Tensor {
        self.average.as_ref().unwrap_or(self.parameters.buffer())
    }

    /// Trains until all steps are taken, validation stops getting better, or `observer` breaks off.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`], after the rewinds that are allowed, or a file that cannot be written; the last save is kept.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Outcome> {
        let mut clock = Clock::new(self.progress.seconds);
        if self.good.is_none() {
            self.remember();
        }
        loop {
            match self.run_on(&mut clock, observer) {
                Err(Error::NotFinite(divergence)) => {
                    let event = self.rewind(divergence)?;
                    if observer.observe(&event).is_break() {
                        return Ok(Outcome::Interrupted);
                    }
                }
                other => return other,
            }
        }
    }

    /// The same, to the first number that is not finite.
    fn run_on(&mut self, clock: &mut Clock, observer: &mut dyn Observer) -> Result<Outcome> {
        let train = self.config.train.clone();
        let mut broken = ControlFlow::Continue(());
        while self.progress.step < train.steps && !self.out_of_patience() && broken.is_continue() {
            let event = self.step(clock)?;
            broken = observer.observe(&event);
            if let Some(warning) = self.warning.take() {
                let answer = observer.observe(&warning);
                broken = if broken.is_break() { broken } else { answer };
            }
            let last = self.progress.step == train.steps;
            if last || self.progress.step.is_multiple_of(train.validate_every) {
                let event = self.validate(clock)?;
                let answer = observer.observe(&event);
                broken = if broken.is_break() { broken } else { answer };
            }
            let done = last || self.out_of_patience() || broken.is_break();
            if !done && self.progress.step.is_multiple_of(train.save_every) {
                self.save()?;
                if self.folder.is_some() {
                    broken = observer.observe(&Event::Saved { step: self.progress.step });
                }
            }
        }
        let outcome = if self.progress.step >= train.steps {
            Outcome::Finished
        } else if self.out_of_patience() {
            Outcome::EarlyStop
        } else {
            Outcome::Interrupted
        };
        let finished = outcome != Outcome::Interrupted;
        if !self.saved || self.progress.finished != finished {
            self.progress.finished = finished;
            let saved = self.save();
            self.progress.finished &= saved.is_ok();
            saved?;
            if self.folder.is_some() {
                let _ = observer.observe(&Event::Saved { step: self.progress.step });
            }
        }
        Ok(outcome)
    }

    fn out_of_patience(&self) -> bool {
        let patience = self.config.train.patience;
        patience > 0 && self.progress.stale >= patience
    }

    /// One step of Adam on the mean negative log-likelihood of one batch.
    fn step(&mut self, clock: &mut Clock) -> Result<Event> {
        let train = &self.config.train;
        let step = self.progress.step;
        let pick = self.batches.pick(step);
        self.model.flow_mut().set_training(true);
        let flow = self.model.flow();
        let moments: Vec<Tensor> = self.moving.iter().map(Tensor::copy).collect();
        // Noise and dropout of a step come from one seed of its own.
        let seed = derive_seed(self.config.seed, "step", step);
        let stepper = Stepper {
            train,
            adam: &mut self.adam,
            parameters: &self.parameters,
            // Halved at every rewind; a power of two changes no digit.
            rate: train.rate(step) * 0.5f64.powi(self.progress.rewinds as i32),
            t: step + 1,
            recorder: &mut self.recorder,
            twins: &self.twins,
            rebuild_error: &mut self.progress.rebuild_error,
        };
        let rate = stepper.rate;
        let Taken { nats, norm } = match with_seed(seed, || stepper.step(flow, &pick)) {
            Ok(taken) => taken,
            Err(fault) => {
                // The same noise, dropout and moments once more.
                put_back(&self.moving, &moments);
                let seen = with_seed(seed, || replay(flow, &pick.batch(), &self.parameters.named(), train.rebuild));
                put_back(&self.moving, &moments);
                let what = fault.to_string();
                let place = fault.place(seen, |name| with_seed(seed, || layer_with(flow, &pick.batch(), name)));
                put_back(&self.moving, &moments);
                self.model.flow_mut().set_training(false);
                return Err(Error::NotFinite(Box::new(Divergence { step: step + 1, what, place })));
            }
        };
        self.model.flow_mut().set_training(false);

        self.progress.step += 1;
        self.saved = false;
        self.update_average();
        self.progress.since_log.0 += nats;
        self.progress.since_log.1 += 1;
        self.progress.seconds = clock.seconds();
        self.log_training(rate, norm)?;
        let Progress { step, seconds, .. } = self.progress;
        Ok(Event::Step { step, steps: self.config.train.steps, nats, rate, gradient_norm: norm, seconds })
    }

    fn update_average(&mut self) {
        let ema = self.config.train.ema;
        let step = self.progress.step;
        if let Some(average) = &mut self.average
            && step.is_multiple_of(AVERAGE_EVERY)
        {
            // The usual warm-up, so that the starting weights are soon forgotten.
            let decay = ema.powi(AVERAGE_EVERY as i32).min((1.0 + step as f64) / (10.0 + step as f64));
            let _ = flow_core::no_grad(|| average.lerp_(self.parameters.buffer(), 1.0 - decay));
        }
    }

    /// A line of metrics with the mean since the last one.
    fn log_training(&mut self, rate: f64, norm: f64) -> Result<()> {
        let Progress { step, seconds, since_log: (sum, count), .. } = self.progress;
        if !step.is_multiple_of(self.config.train.log_every) && step != self.config.train.steps {
            return Ok(());
        }
        self.progress.since_log = (0.0, 0);
        let mut line = json!({
            "step": step, "train_nats": sum / count as f64, "rate": rate, "gradient_norm": norm, "seconds": seconds,
        });
        if self.config.train.rebuild {
            let error = std::mem::take(&mut self.progress.rebuild_error);
            line["rebuild_error"] = json!(error);
            if error > REBUILD_BOUND {
                self.warning = Some(Event::RebuiltInexactly { step, error, bound: REBUILD_BOUND });
            }
        }
        self.log(&line)
    }

    fn log(&mut self, line: &Value) -> Result<()> {
        let (step, kept) = (self.progress.step, self.kept);
        let logged = self.folder.as_mut().map_or(Ok(()), |folder| folder.log(line));
        logged.map_err(|source| Error::NotSaved { step, kept, source: Box::new(source) })
    }

    /// Holds the averaged weights, or the weights themselves where none are averaged, against the validation split.
    fn validate(&mut self, clock: &mut Clock) -> Result<Event> {
        let flow = self.model.flow();
        let seed = derive_seed(self.config.data.seed, "validation", 0);
        let hold = || {
            let values = log_probs(flow, &self.validation, 1, seed);
            let wrong = values.iter().position(|value| !value.is_finite());
            let fault = |row| likelihood_fault(flow, &validation_row(&self.validation, row, seed));
            (values, wrong.map(|row| fault(row).unwrap_or(Place::of(Origin::Nothing))))
        };
        let (values, place) = match &self.average {
            Some(average) => self.parameters.with(average, hold),
            None => hold(),
        };
        if let Some(place) = place {
            let wrong = values.iter().enumerate().filter(|(_, value)| !value.is_finite()).map(|(row, _)| row);
            let rows: Vec<usize> = wrong.collect();
            let (count, first) = (rows.len(), named(&rows[..rows.len().min(NAMED)], rows.len()));
            let all = values.len();
            let what = format!("log p(x) is not finite for {count} of {all} validation rows, counted from 0: {first}");
            return Err(Error::NotFinite(Box::new(Divergence { step: self.progress.step, what, place })));
        }
        let nats = Mean::of(&values).mean;
        let best = self.progress.best_nats.is_none_or(|best| nats > best);
        if best {
            let held = self.average.as_ref().unwrap_or(self.parameters.buffer());
            flow_core::no_grad(|| self.best.copy_(held));
            self.progress.best_nats = Some(nats);
            self.progress.best_step = self.progress.step;
            self.progress.stale = 0;
        } else {
            self.progress.stale += 1;
        }
        self.progress.seconds = clock.seconds();
        let Progress { step, seconds, .. } = self.progress;
        self.log(&json!({"step": step, "validation_nats": nats, "best": best, "seconds": seconds}))?;
        Ok(Event::Validated { step, nats, best, seconds })
    }
}

/// What a forward pass in training moves: in a model with batch normalisation, what is saved but not trained.
fn moving(model: &Model) -> Vec<Tensor> {
    let fixed = || model.variables().into_values().filter(|variable| !variable.requires_grad());
    if model.config().has_running_moments() { fixed().filter(Tensor::is_floating_point).collect() } else { Vec::new() }
}

fn put_back(moving: &[Tensor], moments: &[Tensor]) {
    flow_core::no_grad(|| moving.iter().zip(moments).for_each(|(own, before)| own.shallow_clone().copy_(before)));
}

/// Seconds trained, over all the times the run was taken up.
struct Clock {
    before: f64,
    since: Instant,
}

impl Clock {
    fn new(before: f64) -> Self {
        Clock { before, since: Instant::now() }
    }

    fn seconds(&self) -> f64 {
        self.before + self.since.elapsed().as_secs_f64()
    }
}
