//! Everything that is chosen at the start of a run.

use std::collections::BTreeMap;

use flow_core::Precision;
use flow_data::{DataSet, ImageOptions, LoadOptions, Preprocessing, Spec};
use flow_models::{Head, ModelConfig, Preset, preset};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Device, Error, Result};

/// The models by name.
pub const MODELS: [&str; 4] = ["nice", "realnvp", "glow", "realnvp-image"];

/// A run: model, data, training. Written to `config.toml`, and inside `state.safetensors` for going on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// What starting weights, batches, noise and dropout depend on.
    pub seed: u64,
    /// Threads libtorch computes with. Results are bit-for-bit the same only for the same number.
    pub threads: usize,
    /// Where to compute.
    pub device: Device,
    /// The ready configuration this one started from.
    pub preset: Preset,
    /// The data.
    pub data: DataConfig,
    /// The training.
    pub train: TrainConfig,
    /// The model.
    pub model: ModelConfig,
}

/// Which data, and how it is split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Its name.
    pub name: Spec,
    /// What its splits and its validation and test draws depend on.
    pub seed: u64,
    /// Toys: so many fixed training points in place of fresh draws; 0 for fresh draws.
    pub fixed: usize,
    /// Images: the side in pixels, to which `images:DIR` resizes; 0 for what flow-data takes without being told. Runs
    /// and model files from before there was a choice lack this field and the next.
    #[serde(default)]
    pub size: usize,
    /// Images of 256 levels: bits a channel, 0 for all 8.
    #[serde(default)]
    pub bits: u8,
}

impl DataConfig {
    /// A data set as it is, with seed 0.
    pub fn new(name: Spec) -> Self {
        DataConfig { name, seed: 0, fixed: 0, size: 0, bits: 0 }
    }

    /// Checks what can be checked before anything is read or drawn: it may come from somebody else's model file.
    ///
    /// # Errors
    ///
    /// The first field outside its range.
    pub fn validate(&self) -> Result<()> {
        if self.fixed > 1 << 26 {
            return Err(Error::Config("data.fixed must be at most 67108864".to_owned()));
        }
        if self.size > 1024 || self.bits > 8 {
            return Err(Error::Config("data.size must be at most 1024 and data.bits at most 8".to_owned()));
        }
        Ok(())
    }

    /// Loads it.
    ///
    /// # Errors
    ///
    /// A field outside its range, or what flow-data says.
    pub fn load(&self) -> Result<DataSet> {
        self.validate()?;
        let fixed = (self.fixed > 0).then_some(self.fixed);
        let size = (self.size > 0).then_some(self.size);
        let bits = (self.bits > 0).then_some(self.bits);
        let image = ImageOptions { size, bits };
        Ok(flow_data::load(&self.name, &LoadOptions { seed: self.seed, data_dir: None, fixed, image })?)
    }

    /// Sets one field as [`RunConfig::set`] does: `data.seed=7`, `data.bits=5`.
    ///
    /// # Errors
    ///
    /// As there; fields that do not begin with `data.` are unknown.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let all = assign(json!({ "data": self }), assignment)?;
        *self = serde_json::from_value(all["data"].clone()).map_err(|e| not_of_this_type(assignment, &e))?;
        Ok(())
    }

    /// The same with the size and the bits that images of this `preprocessing` have, where `images:DIR` was resized and
    /// levels were reduced: a model file says them there, and there only.
    #[must_use]
    pub fn of_images(mut self, preprocessing: &Preprocessing) -> Self {
        if let Preprocessing::Levels { levels, height, .. } = *preprocessing {
            if matches!(self.name, Spec::Images(_)) {
                self.size = height;
            }
            // Digits have 17 levels, no power of two, and all that they had.
            if levels < 256 && levels.is_power_of_two() {
                self.bits = levels.trailing_zeros() as u8;
            }
        }
        self
    }
}

/// How a model is trained: Adam on the mean negative log-likelihood of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Number of steps. Default 10,000.
    pub steps: u64,
    /// Rows a step. Default 128.
    pub batch: usize,
    /// The highest learning rate. Default 1e-3.
    pub learning_rate: f64,
    /// Steps over which the rate rises linearly from 0. Default 100.
    pub warmup: u64,
    /// What the rate does then. Default cosine.
    pub schedule: Schedule,
    /// Factors on the rate of the variables whose names begin so: `{"scaling": 10}`. Several that fit are multiplied,
    /// one that fits no variable does nothing.
    pub rates: BTreeMap<String, f64>,
    /// Adam's β1. Default 0.9.
    pub beta1: f64,
    /// Adam's β2. Default 0.999.
    pub beta2: f64,
    /// Adam's ε. Default 1e-8.
    pub epsilon: f64,
    /// Decoupled weight decay (AdamW) of the conditioners' weights, per unit of learning rate. Default 0.
    pub weight_decay: f64,
    /// Largest norm of the gradient; longer ones are shortened to it. 0 for none. Default 0.
    pub clip: f64,
    /// Decay of the moving average of the weights a step, 0 for none. Default 0.999.
    pub ema: f64,
    /// Whether activations are rebuilt in the backward pass instead of kept, so that memory does not grow with depth, for
    /// about a third more time. Default false.
    pub rebuild: bool,
    /// Whether autograd tapes the whole flow, rather than each map finding its own gradient where it knows it by hand: the
    /// same gradients to round-off, more slowly. Default false.
    pub taped: bool,
    /// Whether, on a CUDA GPU, what a step starts there is recorded once and then started by one call (a CUDA graph), rather
    /// than kernel by kernel: the same numbers, sooner. Steps that rebuild activations or are taped are not recorded, nor
    /// those on data that does not fit on the GPU. Default true.
    pub graphs: bool,
    /// How the factors of the conditioners' products are rounded in training; validation and evaluation are in f32. Default
    /// f32.
    #[serde(with = "crate::by_name")]
    pub precision: Precision,
    /// Steps between validations. Default 500.
    pub validate_every: u64,
    /// Validations without a better one after which training stops, 0 for never. Default 0.
    pub patience: u64,
    /// Steps between saves. Default 1,000.
    pub save_every: u64,
    /// Steps between lines of metrics. Default 20.
    pub log_every: u64,
    /// What is done where a number is not finite any more. Default stop.
    pub on_divergence: OnDivergence,
    /// How many times training goes back to a save, at most. Default 3.
    pub rewinds: u32,
}

/// What is done where a likelihood, a gradient or a parameter is not finite any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDivergence {
    /// The run ends with a report; the last good save is kept.
    Stop,
    /// Training goes back to the last good save and on from there at half the learning rate, up to
    /// [`TrainConfig::rewinds`] times.
    Rewind,
}

/// The learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls to 0 along half a cosine.
    Cosine,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            steps: 10_000,
            batch: 128,
            learning_rate: 1e-3,
            warmup: 100,
            schedule: Schedule::Cosine,
            rates: BTreeMap::new(),
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip: 0.0,
            ema: 0.999,
            rebuild: false,
            taped: false,
            graphs: true,
            precision: Precision::F32,
            validate_every: 500,
            patience: 0,
            save_every: 1_000,
            log_every: 20,
            on_divergence: OnDivergence::Stop,
            rewinds: 3,
        }
    }
}

impl TrainConfig {
    /// The learning rate of a step, counted from 0, before a variable's own factor.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.learning_rate * (step + 1) as f64 / self.warmup as f64;
        }
        match self.schedule {
            Schedule::Constant => self.learning_rate,
            Schedule::Cosine => {
                let done = (step - self.warmup) as f64 / self.steps.saturating_sub(self.warmup).max(1) as f64;
                self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
            }
        }
    }

    fn validate(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let fraction = |x: f64| (0.0..1.0).contains(&x);
        let factors = self.rates.values().all(|&x| x.is_finite() && x >= 0.0);
        let rules = [
            (self.steps <= 1 << 40, "train.steps must be at most 1099511627776"),
            (self.batch > 0 && self.batch <= 1 << 20, "train.batch must be between 1 and 1048576"),
            (positive(self.learning_rate), "train.learning_rate must be finite and positive"),
            (
                fraction(self.beta1) && fraction(self.beta2),
                "train.beta1 and train.beta2 must be at least 0 and below 1",
            ),
            (positive(self.epsilon), "train.epsilon must be finite and positive"),
            (
                self.weight_decay.is_finite() && self.weight_decay >= 0.0,
                "train.weight_decay must be finite and at least 0",
            ),
            (self.clip.is_finite() && self.clip >= 0.0, "train.clip must be finite and at least 0"),
            (fraction(self.ema), "train.ema must be at least 0 and below 1"),
            (factors, "every factor in train.rates must be finite and at least 0"),
            (self.validate_every > 0, "train.validate_every must be at least 1"),
            (self.save_every > 0, "train.save_every must be at least 1"),
            (self.log_every > 0, "train.log_every must be at least 1"),
            (self.rewinds <= 100, "train.rewinds must be at most 100"),
        ];
        match rules.iter().find(|(ok, _)| !ok) {
            Some((_, rule)) => Err(Error::Config((*rule).to_owned())),
            None => Ok(()),
        }
    }
}

impl RunConfig {
    /// The ready configuration `preset` of `model`, one of [`MODELS`], for a data set, loaded by seed 0.
    ///
    /// # Errors
    ///
    /// No such model, or none of that preset, or none for such data.
    pub fn preset(model: &str, preset_name: Preset, data: Spec, data_set: &DataSet) -> Result<Self> {
        let event = &data_set.event_shape;
        let mut config = match model {
            "nice" => preset::nice(preset_name, event),
            "realnvp" => preset::realnvp(preset_name, event),
            "glow" | "realnvp-image" if preset_name == Preset::Seed => {
                return Err(Error::Config(format!("{model} has no preset seed: the original has no such model")));
            }
            "glow" => preset::glow(preset_name, event, 0),
            "realnvp-image" if event.len() == 3 => preset::realnvp_image(preset_name, event, 0),
            "realnvp-image" => {
                return Err(Error::Config(format!(
                    "realnvp-image is for images, and rows of {data} are none; take realnvp"
                )));
            }
            _ => return Err(Error::Config(format!("no model is called {model:?}; there are {}", MODELS.join(", ")))),
        };
        if let Preprocessing::Table { mean, std, .. } = &data_set.preprocessing {
            *config.head_mut() = Head::Standardize { mean: mean.clone(), std: std.clone() };
        }
        if let (Some(spline), Some(levels)) = (config.spline_mut(), data_set.preprocessing.levels()) {
            spline.background = 1.0 / f64::from(levels);
        }
        Ok(RunConfig {
            seed: 0,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            device: Device::Auto,
            preset: preset_name,
            train: crate::recipe::recipe(model, preset_name, data_set),
            data: DataConfig {
                fixed: data_set.toy().and(data_set.train.rows()).unwrap_or(0),
                ..DataConfig::new(data).of_images(&data_set.preprocessing)
            },
            model: config,
        })
    }

    /// Sets one field by its dotted name, as in `model.couplings=8` or `train.ema=0.99`. The value is read as JSON, and
    /// as text where that fails.
    ///
    /// # Errors
    ///
    /// An unknown field, with those that there are, or a value of the wrong type.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let all = serde_json::to_value(&*self).expect("a configuration is plain data");
        let all = assign(all, assignment)?;
        *self = serde_json::from_value(all).map_err(|e| not_of_this_type(assignment, &e))?;
        Ok(())
    }

    /// Checks what can be checked before the model is built.
    ///
    /// # Errors
    ///
    /// The first field outside its range.
    pub fn validate(&self) -> Result<()> {
        self.train.validate()?;
        // TOML, in which the configuration is written, has no larger ones.
        if i64::try_from(self.seed).is_err() || i64::try_from(self.data.seed).is_err() {
            return Err(Error::Config(format!("seeds must be at most {}", i64::MAX)));
        }
        if self.threads == 0 || self.threads > 4096 {
            return Err(Error::Config("threads must be between 1 and 4096".to_owned()));
        }
        self.data.validate()?;
        if self.model.context() > self.model.classes() {
            return Err(Error::Config(
                "model.context must be 0: no data set here gives a context to train on".to_owned(),
            ));
        }
        if self.train.rebuild && !self.model.can_rebuild() {
            return Err(Error::Config(
                "train.rebuild must be false for a model with dropout or batch normalisation: what they did to a batch \
                 cannot be rebuilt"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// `all` with one field set by its dotted name; its type is for the caller to check.
fn assign(mut all: Value, assignment: &str) -> Result<Value> {
    let (key, text) = assignment
        .split_once('=')
        .ok_or_else(|| Error::Config(format!("{assignment:?} is not of the form key=value")))?;
    let value: Value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    // Factors of rates are the one place where names are free, and may hold dots.
    let parts: Vec<&str> = match key.strip_prefix("train.rates.") {
        Some(prefix) if all.get("train").is_some() => {
            all["train"]["rates"][prefix] = Value::Null;
            vec!["train", "rates", prefix]
        }
        _ => key.split('.').collect(),
    };
    let mut place = &mut all;
    for part in parts {
        let known = keys(place);
        place = place.get_mut(part).ok_or_else(|| {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Error::Config(format!("there is no field {part:?} in {key:?}; there are {known}"))
        })?;
    }
    *place = value;
    Ok(all)
}

fn not_of_this_type(assignment: &str, error: &serde_json::Error) -> Error {
    Error::Config(format!("{assignment}: {error}"))
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
}
