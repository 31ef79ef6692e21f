//! One model with its data, as it is trained: what is timed.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use flow_core::product::{Precision, processor_multiplies_bf16};
use flow_core::rng::with_seed;
use flow_cuda::Recorded;
use flow_data::{DataSet, LoadOptions, Preprocessing, Source, Spec, Split, Values};
use flow_models::{Model, ModelCard, Preset, file};
use flow_train::{Event, RunConfig, Trainer};
use ndarray::Array2;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::card::finish;
use crate::operations::Operations;

/// Names, models and presets: the original's four configurations, and image models for two cores.
const WORK: [(&str, &str, Preset); 6] = [
    ("nice-moons", "nice", Preset::Seed),
    ("realnvp-moons", "realnvp", Preset::Seed),
    ("nice-mnist", "nice", Preset::Seed),
    ("realnvp-mnist", "realnvp", Preset::Seed),
    ("glow-mnist", "glow", Preset::Cpu),
    ("realnvp-image-mnist", "realnvp-image", Preset::Cpu),
];
/// Rows of a batch whose likelihood or samples are asked for.
const MANY: i64 = 1_000;
/// Rows by which peers are checked.
const CHECKED: i64 = 16;

pub struct Work {
    trainer: Trainer,
    /// On a processor: the model as it is used for one row, and where it does not multiply bf16 for many rows of it.
    frozen: Option<Model>,
    /// What log-densities are asked of: 1,000 rows, and one.
    many: Tensor,
    one: Tensor,
    /// Recorded on a GPU, called as they are elsewhere.
    log_prob: Recorded,
    inverse: Recorded,
    seed: u64,
    device: Device,
}

impl Work {
    pub fn new(name: &str, threads: usize, precision: Option<&str>, device: flow_train::Device) -> Result<Self> {
        let Some((_, model, preset)) = WORK.into_iter().find(|work| work.0 == name) else {
            bail!("no work is called {name:?}; there are {}", WORK.map(|work| work.0).join(", "));
        };
        let data = if name.ends_with("moons") { moons()? } else { like_mnist()? };
        let mut config = RunConfig::preset(model, preset, data.spec.clone(), &data)?;
        config.set(&format!("device={device}"))?;
        config.set(&format!("threads={threads}"))?;
        if let Some(precision) = precision {
            config.set(&format!("train.precision={precision}"))?;
        }
        if preset == Preset::Cpu {
            // Its rate is for a schedule, and for data that can be learned.
            config.train.learning_rate = 1e-4;
        }
        // Steps alone: neither validation nor an end.
        config.set("train.schedule=constant")?;
        config.train.steps = 1 << 40;
        config.train.validate_every = 1 << 40;
        let device = device.resolve()?;
        let many = rows(&data, MANY).to_device(device);
        let one = many.narrow(0, 0, 1).copy();
        Ok(Work {
            trainer: Trainer::new(config, data)?,
            frozen: None,
            many,
            one,
            log_prob: Recorded::default(),
            inverse: Recorded::default(),
            seed: 0,
            device,
        })
    }

    /// What the other end wants to know: parameters, operations, versions.
    pub fn about(&self) -> Value {
        let operations = Operations::of(self.trainer.model());
        json!({
            "parameters": self.trainer.model().parameters(),
            "operations_per_row": operations.per_row,
            "without_gradient_per_row": operations.of_the_first_layer,
            "versions": { "flow": env!("CARGO_PKG_VERSION"), "libtorch": "2.11.0" },
        })
    }

    pub fn device(&self) -> Device {
        self.device
    }

    pub fn threads(&self) -> usize {
        self.trainer.config().threads
    }

    /// Bytes of the trained parameters.
    pub fn weight_bytes(&self) -> usize {
        4 * self.trainer.model().parameters()
    }

    /// Milliseconds of each training step, for about so many seconds. The first does not count.
    pub fn steps(&mut self, seconds: f64) -> Result<Vec<f64>> {
        let mut times = Vec::new();
        let mut begun: Option<(Instant, Instant)> = None;
        let device = self.device;
        self.trainer.run(&mut |event: &Event| {
            if !matches!(event, Event::Step { .. }) {
                return ControlFlow::Continue(());
            }
            finish(device);
            let now = Instant::now();
            let (start, last) = begun.get_or_insert((now, now));
            if now > *last {
                times.push((now - *last).as_secs_f64() * 1e3);
                *last = now;
            }
            match !times.is_empty() && (now - *start).as_secs_f64() >= seconds {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        Ok(times)
    }

    /// Likelihood or samples, once, by products of the precision that is trained with; one row on a processor by a frozen model, in bf16 by
    /// one whose weights are in bf16, as are many rows where it does not multiply such.
    pub fn infer(&mut self, what: &str) -> Result<()> {
        self.seed += 1;
        let trained = self.trainer.config().train.precision;
        let halved = trained == Precision::Bf16;
        let frozen = self.device == Device::Cpu && (what.ends_with("_1") || halved && !processor_multiplies_bf16());
        if frozen && self.frozen.is_none() {
            let model = self.trainer.model();
            self.frozen = Some(if halved { model.to_bf16()?.to_frozen()? } else { model.to_frozen()? });
        }
        let precision = if frozen { Precision::F32 } else { trained };
        let inferred = std::hint::black_box(precision.scope(|| self.inferred(what, frozen))?);
        finish(self.device);
        drop(inferred);
        Ok(())
    }

    fn inferred(&mut self, what: &str, frozen: bool) -> Result<Tensor> {
        let model = self.frozen.as_ref().filter(|_| frozen).unwrap_or(self.trainer.model());
        let flow = model.flow();
        let log_prob = |x: &Tensor| flow.log_prob(x, None);
        // As `Flow::sample` has it, of which the draw cannot be recorded.
        let latent = |n| flow.base().sample(n, 1.0, self.seed, self.device);
        let inverse = |z: &Tensor| flow.bijection().inverse(z, None).0;
        Ok(match what {
            "log_prob" => self.log_prob.call(&self.many, log_prob),
            "log_prob_1" => self.log_prob.call(&self.one, log_prob),
            "sample" => self.inverse.call(&latent(MANY as usize), inverse),
            "sample_1" => self.inverse.call(&latent(1), inverse),
            _ => bail!("{what:?} is nothing to measure"),
        })
    }

    /// Writes the model as it is, and rows with their log-densities.
    pub fn save(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (model, seed) = (self.trainer.model(), self.trainer.config().seed);
        let card = ModelCard::new(model, Value::Null, seed, Value::Null);
        file::save(&folder.join("model.safetensors"), &model.variables(), &card)?;
        let x = self.many.narrow(0, 0, CHECKED).contiguous();
        let log_prob = tch::no_grad(|| model.flow().log_prob(&x, None)).to_kind(Kind::Float);
        let tensors = BTreeMap::from([("x".to_owned(), x), ("log_prob".to_owned(), log_prob)]);
        Ok(file::write_tensors(&folder.join("check.safetensors"), &tensors, "{}")?)
    }
}

/// As many points as the original trains on.
fn moons() -> Result<DataSet> {
    Ok(flow_data::load(&Spec::Moons, &LoadOptions { fixed: Some(1_000), ..LoadOptions::default() })?)
}

/// Images as large as MNIST's, a fifth of whose pixels are of some grey: speed does not depend on what they show.
fn like_mnist() -> Result<DataSet> {
    let images = |rows: usize| -> Result<Split> {
        let grey = |(i, j): (usize, usize)| {
            let hash = (i * 784 + j).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            if hash.is_multiple_of(5) { (hash >> 8) as u8 } else { 0 }
        };
        let data = Array2::from_shape_fn((rows, 784), grey);
        Ok(Split::new(Values::Levels { data, levels: 256 }, vec![1, 28, 28], None)?)
    };
    Ok(DataSet {
        spec: Spec::Mnist,
        event_shape: vec![1, 28, 28],
        preprocessing: Preprocessing::Levels { levels: 256, height: 28, width: 28, channels: 1 },
        train: Source::Fixed(images(10_000)?),
        validation: images(1)?,
        test: images(1)?,
        notes: Vec::new(),
    })
}

/// Rows in the unit of the model's input.
fn rows(data: &DataSet, n: i64) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    with_seed(1, || match data.preprocessing.levels() {
        Some(_) => {
            let grey = Tensor::randint(256, [n, 784], options) * Tensor::rand([n, 784], options).lt(0.2);
            (grey + Tensor::rand([n, 784], options)) / 256.0
        }
        None => Tensor::randn([n, data.dim() as i64], options),
    })
}
