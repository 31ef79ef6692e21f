//! What a trainer keeps of itself, on disk and in memory, and how it goes back to that.

use std::collections::BTreeMap;
use std::path::Path;

use flow_core::rng::{derive_seed, with_seed};
use flow_models::{ModelCard, Prepared, file};
use serde_json::json;
use tch::Tensor;

use super::Trainer;
use crate::diagnose::{broken_parameters, replay};
use crate::folder::{RunFolder, model_file, state_file};
use crate::gradients::gradients;
use crate::rewind::Snapshot;
use crate::state::{self, DataRows, Progress};
use crate::{Divergence, Error, Event, OnDivergence, Result};

/// The name of the averaged weights.
const AVERAGE: &str = "average";

impl Trainer {
    /// Keeps the run as it is, in its folder and in memory, so far as each is asked for; nothing is that is not good.
    pub(super) fn save(&mut self) -> Result<()> {
        if self.folder.is_none() && self.config.train.on_divergence == OnDivergence::Stop {
            return Ok(());
        }
        self.require_good()?;
        let written = self.write();
        let (step, kept) = (self.progress.step, self.kept);
        written.map_err(|source| Error::NotSaved { step, kept, source: Box::new(source) })?;
        self.remember();
        Ok(())
    }

    /// Refuses weights that are not finite, or are finite but give the next batch no finite likelihood or gradient: what is
    /// saved must be worth going back to. A step's work a save.
    fn require_good(&mut self) -> Result<()> {
        let step = self.progress.step;
        if step == 0 {
            return Ok(());
        }
        let wrong =
            |what: &str, place| Err(Error::NotFinite(Box::new(Divergence { step, what: what.to_owned(), place })));
        let moments = self.adam.moments();
        let buffers = [self.parameters.buffer(), &moments.first, &moments.second];
        let buffers: Vec<&Tensor> = buffers.into_iter().chain(&self.average).collect();
        if let Some(place) = broken_parameters(&self.parameters, &buffers) {
            return wrong("the parameters, or the optimizer's moments of them, are not finite", place);
        }
        let pick = self.batches.pick(step);
        let flow = self.model.flow();
        let train = &self.config.train;
        let seed = derive_seed(self.config.seed, "good", step);
        let found = with_seed(seed, || gradients(train, flow, &pick.batch(), &self.parameters, &mut 0.0));
        self.parameters.zero_gradients();
        if found.is_ok() {
            return Ok(());
        }
        let place = with_seed(seed, || replay(flow, &pick.batch(), &self.parameters.named(), train.rebuild));
        wrong("with the weights after it the next batch has no finite likelihood and gradient", place)
    }

    /// Writes the model and the state. Without a folder there is nothing to do.
    fn write(&mut self) -> Result<()> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        self.progress.metrics_bytes = folder.sync_metrics()?;
        let dir = folder.dir().to_owned();
        let (model_path, state_path) = (model_file(&dir), state_file(&dir));
        let card = self.card();
        // Both, before one takes its place: a disk may have room for the model and not for the state.
        let model =
            self.parameters.with(self.for_use(), || file::prepare(&model_path, &self.model.variables(), &card))?;
        let state = self.prepare_state(&dir)?;
        let put = |file: Prepared, path: &Path| file.put().map_err(Error::io(path));
        // The state comes last, for a state that says "finished" is not looked at again; the first one comes first, for
        // without a state there is no run.
        if self.kept.is_none() {
            put(state, &state_path)?;
            self.kept = Some(self.progress.step);
            put(model, &model_path)?;
        } else {
            put(model, &model_path)?;
            put(state, &state_path)?;
        }
        self.saved = true;
        self.kept = Some(self.progress.step);
        Ok(())
    }

    fn prepare_state(&self, dir: &Path) -> Result<Prepared> {
        state::prepare(dir, &self.config, &self.progress, DataRows::of(&self.data), &self.state_tensors())
    }

    /// Keeps a copy of what was saved, where training may go back to it.
    pub(super) fn remember(&mut self) {
        self.good = match self.config.train.on_divergence {
            OnDivergence::Stop => None,
            OnDivergence::Rewind => Some(Snapshot::of(&self.state_tensors(), &self.progress)),
        };
    }

    /// Goes back to the last good save, at half the learning rate, or gives `divergence` back where it must not.
    pub(super) fn rewind(&mut self, divergence: Box<Divergence>) -> Result<Event> {
        let (rewinds, most) = (self.progress.rewinds + 1, self.config.train.rewinds);
        let good = self.good.take().filter(|_| rewinds <= most);
        let Some(good) = good else {
            let line = json!({"event": "diverged", "divergence": divergence, "advice": divergence.place.advice()});
            // The last line of the metrics, beyond what was saved: it is cut off when the run goes on. Where it cannot be
            // written, the error still tells.
            let _ = self.log(&line).and_then(|()| self.folder.as_mut().map_or(Ok(0), RunFolder::sync_metrics));
            return Err(Error::NotFinite(divergence));
        };
        good.put_into(&self.state_tensors());
        self.progress = Progress { rewinds, ..good.progress };
        self.warning = None;
        self.saved = false;
        let step = self.progress.step;
        if let Some(folder) = &mut self.folder {
            folder.cut_metrics(self.progress.metrics_bytes)?;
        }
        self.log(&json!({
            "event": "rewound", "step": step, "rewinds": rewinds, "most": most, "divergence": divergence,
        }))?;
        self.save()?;
        Ok(Event::Rewound { step, divergence, rewinds, most })
    }

    fn state_tensors(&self) -> BTreeMap<String, Tensor> {
        let moments = self.adam.moments();
        let flat = [
            ("parameters", self.parameters.buffer()),
            ("first_moment", &moments.first),
            ("second_moment", &moments.second),
            ("best", &self.best),
        ];
        let average = self.average.iter().map(|average| (AVERAGE, average));
        let flat = flat.into_iter().chain(average).map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone()));
        flat.chain(self.fixed()).collect()
    }

    /// Variables that are saved but not trained, under `fixed.`.
    fn fixed(&self) -> impl Iterator<Item = (String, Tensor)> {
        let fixed = self.model.variables().into_iter().filter(|(_, variable)| !variable.requires_grad());
        fixed.map(|(name, variable)| (format!("fixed.{name}"), variable))
    }

    /// Takes over what a state holds, after a look at the name, the shape and the kind of all of it.
    pub(super) fn restore(&mut self, dir: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let wrong = |why: String| Error::run(state_file(dir), why);
        let own = self.state_tensors();
        // Formats up to 3 held an average where none was taken, too.
        let known = |name: &String| own.contains_key(name) || name == AVERAGE;
        if let Some(name) = tensors.keys().find(|name| !known(name)) {
            return Err(wrong(format!("tensor {name:?} belongs to no training of its configuration")));
        }
        for (name, tensor) in &own {
            let saved = tensors.get(name).ok_or_else(|| wrong(format!("tensor {name:?} is missing")))?;
            if saved.size() != tensor.size() || saved.kind() != tensor.kind() {
                let (got, want) = ((saved.kind(), saved.size()), (tensor.kind(), tensor.size()));
                return Err(wrong(format!("tensor {name:?} is {got:?}, its configuration asks for {want:?}")));
            }
        }
        // The variables by way of the model's own check of their values; the rest as it is.
        let trained = self.parameters.places().iter().zip(self.parameters.variables()).map(|(place, variable)| {
            let part = tensors["parameters"].narrow(0, place.offset, place.len).reshape(variable.size());
            (place.name.clone(), part)
        });
        let fixed = self.fixed().map(|(key, _)| (key["fixed.".len()..].to_owned(), tensors[&key].shallow_clone()));
        file::copy_into(&self.model, &trained.chain(fixed).collect()).map_err(wrong)?;
        let others = own.iter().filter(|(name, _)| *name != "parameters" && !name.starts_with("fixed."));
        flow_core::no_grad(|| others.for_each(|(name, tensor)| tensor.shallow_clone().copy_(&tensors[name])));
        Ok(())
    }

    /// What the model file says of the run.
    fn card(&self) -> ModelCard {
        let data = json!({
            "name": self.config.data.name,
            "seed": self.config.data.seed,
            "fixed": self.config.data.fixed,
            "preprocessing": self.data.preprocessing,
        });
        let reached = json!({
            "preset": self.config.preset,
            "batch": self.config.train.batch,
            "steps": self.progress.step,
            "best_step": self.progress.best_step,
            "validation_nats": self.progress.best_nats,
            "threads": self.config.threads,
            "device": self.config.device,
        });
        ModelCard::new(&self.model, data, self.config.seed, reached)
    }
}
