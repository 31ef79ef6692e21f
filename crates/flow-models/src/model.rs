//! A model: a configuration, the parameters and the flow built from both.

use std::collections::BTreeMap;

use flow_core::Flow;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

use crate::{
    Error, GlowConfig, MultiscaleRealNvpConfig, NiceConfig, Norm, RealNvpConfig, Result, SplineConfig, mlp_bf16,
};

/// Any model of the zoo; in files `{"kind": "nice", ...}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ModelConfig {
    /// NICE.
    Nice(NiceConfig),
    /// RealNVP for vectors.
    #[serde(rename = "realnvp")]
    RealNvp(RealNvpConfig),
    /// Glow.
    Glow(GlowConfig),
    /// RealNVP for images, multi-scale and convolutional.
    #[serde(rename = "realnvp-image")]
    RealNvpImage(MultiscaleRealNvpConfig),
}

impl ModelConfig {
    /// The name on the command line and in files.
    pub fn name(&self) -> &'static str {
        match self {
            ModelConfig::Nice(_) => "nice",
            ModelConfig::RealNvp(_) => "realnvp",
            ModelConfig::Glow(_) => "glow",
            ModelConfig::RealNvpImage(_) => "realnvp-image",
        }
    }

    /// The first step.
    pub fn head_mut(&mut self) -> &mut crate::Head {
        match self {
            ModelConfig::Nice(config) => &mut config.head,
            ModelConfig::RealNvp(config) => &mut config.head,
            ModelConfig::Glow(config) => &mut config.head,
            ModelConfig::RealNvpImage(config) => &mut config.head,
        }
    }

    /// The spline behind the head, where there is one.
    pub fn spline_mut(&mut self) -> Option<&mut SplineConfig> {
        match self {
            ModelConfig::Nice(_) | ModelConfig::RealNvp(_) => None,
            ModelConfig::Glow(config) => config.spline.as_mut(),
            ModelConfig::RealNvpImage(config) => config.spline.as_mut(),
        }
    }

    /// Width of the context that the conditioners are given, 0 for none; the number of classes where it is a class.
    pub fn context(&self) -> usize {
        match self {
            ModelConfig::Nice(config) => config.context,
            ModelConfig::RealNvp(config) => config.context,
            ModelConfig::Glow(config) => config.classes,
            ModelConfig::RealNvpImage(config) => config.classes,
        }
    }

    /// Number of classes that the model is conditioned on, given to it one-hot ([`class_context`]); 0 for none.
    pub fn classes(&self) -> usize {
        match self {
            ModelConfig::Nice(_) | ModelConfig::RealNvp(_) => 0,
            ModelConfig::Glow(config) => config.classes,
            ModelConfig::RealNvpImage(config) => config.classes,
        }
    }

    /// Whether rows of a batch know nothing of each other in training and nothing is drawn for them, so that a step can be
    /// taken back from its latent alone, or its rows apart: not with dropout, nor with batch normalisation.
    pub fn can_rebuild(&self) -> bool {
        match self {
            ModelConfig::Nice(config) => config.conditioner.dropout == 0.0,
            ModelConfig::RealNvp(config) => config.conditioner.dropout == 0.0,
            ModelConfig::Glow(config) => config.vector_net.dropout == 0.0 && !self.has_running_moments(),
            ModelConfig::RealNvpImage(_) => !self.has_running_moments(),
        }
    }

    /// Whether training moves numbers that are no parameters: the running moments of batch normalisation.
    pub fn has_running_moments(&self) -> bool {
        match self {
            ModelConfig::Nice(_) | ModelConfig::RealNvp(_) => false,
            ModelConfig::Glow(config) => config.net.norm == Norm::Batch || config.checker_net.norm == Norm::Batch,
            ModelConfig::RealNvpImage(config) => config.net.norm == Norm::Batch,
        }
    }

    /// Which level of a multi-scale model lets go of each coordinate of the latent, in the order of the flattened event,
    /// 0 for the finest; all 0 for a model of one level.
    pub fn latent_levels(&self, event: &[usize]) -> Vec<usize> {
        match self {
            ModelConfig::Nice(_) | ModelConfig::RealNvp(_) => vec![0; event.iter().product()],
            ModelConfig::Glow(config) => config.latent_levels(event),
            ModelConfig::RealNvpImage(config) => config.latent_levels(event),
        }
    }

    /// How many numbers a model file of this configuration holds; known without building anything.
    ///
    /// # Errors
    ///
    /// A field outside its range.
    pub fn saved_numbers(&self, event: &[usize]) -> Result<u128> {
        match self {
            ModelConfig::Nice(config) => config.saved_numbers(event),
            ModelConfig::RealNvp(config) => config.saved_numbers(event),
            ModelConfig::Glow(config) => config.saved_numbers(event),
            ModelConfig::RealNvpImage(config) => config.saved_numbers(event),
        }
    }

    /// Builds the flow under `path`.
    ///
    /// # Errors
    ///
    /// A field outside its range.
    pub fn build(&self, path: &nn::Path, event: &[usize], seed: u64) -> Result<Flow> {
        match self {
            ModelConfig::Nice(config) => config.build(path, event, seed),
            ModelConfig::RealNvp(config) => config.build(path, event, seed),
            ModelConfig::Glow(config) => config.build(path, event, seed),
            ModelConfig::RealNvpImage(config) => config.build(path, event, seed),
        }
    }

    /// The same for numbers that are known, whatever the seed: a file may hold a model of a kind that none is begun of
    /// any more.
    fn build_saved(&self, path: &nn::Path, event: &[usize]) -> Result<Flow> {
        match self {
            ModelConfig::Nice(config) => config.build_saved(path, event, 0),
            ModelConfig::RealNvp(config) => config.build_saved(path, event, 0),
            ModelConfig::Glow(_) | ModelConfig::RealNvpImage(_) => self.build(path, event, 0),
        }
    }
}

/// `labels: [n]` of kind i64 as the context of a model of `classes` classes: one-hot, `[n, classes]` in f32.
///
/// # Panics
///
/// If a label is not below `classes`.
pub fn class_context(labels: &Tensor, classes: usize) -> Tensor {
    labels.onehot(classes as i64)
}

/// Refuses a device that libtorch cannot reach, which would panic when the first tensor is made there.
fn require_device(device: Device) -> Result<()> {
    let there = match device {
        Device::Cuda(index) => {
            tch::Cuda::is_available() && i64::try_from(index).is_ok_and(|index| index < tch::Cuda::device_count())
        }
        Device::Mps => tch::utils::has_mps(),
        Device::Cpu | Device::Vulkan => true,
    };
    if there { Ok(()) } else { Err(Error::Device(device)) }
}

/// A flow together with what it was built from and the store of its parameters.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    event: Vec<usize>,
    flow: Flow,
    vs: nn::VarStore,
}

impl Model {
    /// A new model for data of shape `event` (`[2]`, `[1, 28, 28]`), its starting weights drawn by `seed`.
    ///
    /// # Errors
    ///
    /// A field of the configuration outside its range, or a device that is not there.
    pub fn new(config: &ModelConfig, event: &[usize], seed: u64, device: Device) -> Result<Self> {
        Self::built(config, event, device, |path| config.build(path, event, seed))
    }

    /// A model whose numbers are to be those of another, or of a file.
    pub(crate) fn saved(config: &ModelConfig, event: &[usize], device: Device) -> Result<Self> {
        Self::built(config, event, device, |path| config.build_saved(path, event))
    }

    fn built(
        config: &ModelConfig,
        event: &[usize],
        device: Device,
        build: impl FnOnce(&nn::Path) -> Result<Flow>,
    ) -> Result<Self> {
        require_device(device)?;
        let vs = nn::VarStore::new(device);
        let flow = build(&vs.root())?;
        Ok(Model { config: config.clone(), event: event.to_vec(), flow, vs })
    }

    /// The same model in f64, on the same device, with the same numbers: for checks. This one stays as it is. Metal has
    /// no f64: what is on it has its double on the processor.
    ///
    /// The double draws no samples, for a base draws in f32.
    ///
    /// # Errors
    ///
    /// None that a model which was built does not have.
    pub fn to_double(&self) -> Result<Self> {
        let device = if self.vs.device() == Device::Mps { Device::Cpu } else { self.vs.device() };
        let mut double = Model::saved(&self.config, &self.event, device)?;
        let own = self.variables();
        flow_core::no_grad(|| {
            for (name, variable) in double.variables() {
                variable.shallow_clone().copy_(&own[&name]);
            }
        });
        double.vs.double();
        Ok(double)
    }

    /// The same model for use alone, on a processor, with the weights of its fully connected nets rounded to bf16 and held so:
    /// nearly half the memory, and a few rows take half the time where reading these weights is what takes it. This one stays
    /// as it is. What weights are multiplied with, sums, and everything else stay f32, so the other is a flow as exact as any,
    /// whose densities are its own.
    ///
    /// That is so of ReLU and LeakyReLU where [`flow_dense::available`]; elsewhere, and from 16 rows on, weights are widened
    /// again for each call, which takes a little longer than f32 and its memory meanwhile. Convolutional nets stay as they are.
    /// The rounded weights have no gradients, and the model cannot be saved.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] where the model is not in f32, or not on a processor.
    pub fn to_bf16(&self) -> Result<Self> {
        let (kind, device) = (self.kind(), self.vs.device());
        if (kind, device) != (Kind::Float, Device::Cpu) {
            let given = format!("{kind:?} on {device:?}");
            return Err(Error::Input(format!("weights are rounded of models in f32 on a processor, not {given}")));
        }
        let halved = Model::saved(&self.config, &self.event, device)?;
        let own = self.variables();
        flow_core::no_grad(|| {
            for (name, variable) in halved.variables() {
                match mlp_bf16::is_weight(&name, &variable) {
                    true => mlp_bf16::set_rounded(variable, &own[&name]),
                    false => variable.shallow_clone().copy_(&own[&name]),
                };
            }
        });
        Ok(halved)
    }

    /// The same model for use alone, with the weights of its fully connected nets packed too, without losing a bit of them: beside what they
    /// are they lie once more in 7/8 of their bytes (of [`Model::to_bf16`]'s in 3/4), for one row, and with AVX-512 two, where reading
    /// weights is what takes time. This one stays as it is. What is computed is the same but for the order of sums.
    ///
    /// That is so of ReLU and LeakyReLU on a processor where [`flow_dense::available`]; elsewhere it is a copy. Weights that packing would not
    /// make smaller, or by AVX2 those of bf16, are copied as they are. Its variables have no gradients, and must not be written: what
    /// was packed would not follow. It is saved as the other is; what is loaded, or made of it by [`Model::to_bf16`], is not frozen.
    ///
    /// # Errors
    ///
    /// None that a model which was built does not have.
    pub fn to_frozen(&self) -> Result<Self> {
        let mut frozen = Model::saved(&self.config, &self.event, self.vs.device())?;
        let own = self.variables();
        for (name, mut variable) in frozen.variables() {
            let _ = variable.set_requires_grad(false);
            variable.set_data(&own[&name].detach().copy());
        }
        frozen.flow.freeze();
        Ok(frozen)
    }

    /// A model whose numbers are this one's, in the same memory, and whose gradients are its own: for another thread, with
    /// other rows. It is in training mode. Numbers of this one must be written where they lie from here on, not moved elsewhere.
    ///
    /// # Errors
    ///
    /// None that a model which was built does not have.
    pub fn twin(&self) -> Result<Self> {
        let mut twin = Model::saved(&self.config, &self.event, self.vs.device())?;
        let own = self.variables();
        for (name, mut variable) in twin.variables() {
            variable.set_data(&own[&name]);
        }
        twin.flow.set_training(true);
        Ok(twin)
    }

    /// Log-density of `x: [n, D]`, flattened data, `[n]`, in nats, without gradients: for training there is
    /// [`Flow::log_prob`]. `context: [n, C]` is what a model conditioned on one is given ([`class_context`] for a class).
    ///
    /// # Errors
    ///
    /// [`Error::Input`] where a batch or a context is not of the model's shape, kind or device.
    pub fn log_prob(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let dim = self.event.iter().product();
        self.require("the batch", x, dim)?;
        self.require_context(context, x.size()[0])?;
        Ok(flow_core::no_grad(|| self.flow.log_prob(x, context)))
    }

    /// `n` draws `[n, D]`, flattened, a function of `seed`; `temperature` and the rest as for [`Flow::sample`].
    ///
    /// # Errors
    ///
    /// [`Error::Input`] where the context is not of the model's shape, kind or device, the temperature is negative or not
    /// finite, or the model is in f64.
    pub fn sample(&self, n: usize, temperature: f64, seed: u64, context: Option<&Tensor>) -> Result<Tensor> {
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(Error::Input(format!("a temperature must be finite and at least 0, not {temperature}")));
        }
        if self.kind() != Kind::Float {
            return Err(Error::Input(format!("a model draws in f32, and this one is {:?}", self.kind())));
        }
        self.require_context(context, n as i64)?;
        Ok(self.flow.sample(n, temperature, seed, context))
    }

    fn require_context(&self, context: Option<&Tensor>, rows: i64) -> Result<()> {
        match (context, self.config.context()) {
            (None, 0) => Ok(()),
            (None, width) => Err(Error::Input(format!("the model wants a context [n, {width}], none is given"))),
            (Some(_), 0) => Err(Error::Input("the model has no context, one is given".to_owned())),
            (Some(context), width) => {
                self.require("the context", context, width)?;
                let given = context.size()[0];
                let all = || format!("the context has {given} rows, {rows} are wanted: one for each");
                if given == rows { Ok(()) } else { Err(Error::Input(all())) }
            }
        }
    }

    /// Refuses what is no matrix of so many columns, of the parameters' kind, where they are.
    fn require(&self, what: &str, given: &Tensor, columns: usize) -> Result<()> {
        let (size, kind, device) = (given.size(), self.kind(), self.vs.device());
        if size.len() != 2 || size[1] != columns as i64 {
            return Err(Error::Input(format!("{what} is {size:?}, the model takes [n, {columns}]")));
        }
        if given.kind() != kind {
            let given = given.kind();
            return Err(Error::Input(format!("{what} is of kind {given:?}, the model of kind {kind:?}")));
        }
        if given.device() != device {
            let given = given.device();
            return Err(Error::Input(format!("{what} is on {given:?}, the model on {device:?}")));
        }
        Ok(())
    }

    /// What the parameters are made of.
    fn kind(&self) -> Kind {
        let variables = self.vs.variables_.lock().expect("nobody panics while holding it");
        let kinds = || variables.named_variables.values().map(Tensor::kind);
        // Whole numbers are places; and some weights may be in bf16 beside the rest.
        let rest = kinds().find(|kind| !matches!(kind, Kind::Int64 | Kind::BFloat16));
        rest.or_else(|| kinds().find(|&kind| kind == Kind::BFloat16)).unwrap_or(Kind::Float)
    }

    /// What the model was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Shape of one datum.
    pub fn event(&self) -> &[usize] {
        &self.event
    }

    /// The flow, on batches `[n, D]` of flattened data: for training, and for looking inside.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// The flow, to switch between training and evaluation.
    pub fn flow_mut(&mut self) -> &mut Flow {
        &mut self.flow
    }

    /// The store of the parameters.
    pub fn vs(&self) -> &nn::VarStore {
        &self.vs
    }

    /// The store of the parameters, to change their kind: `double()` for checks in f64. [`Flow::sample`], which draws
    /// in f32, then has no use for the model.
    pub fn vs_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    /// Variables by name, sorted; fixed ones included. The tensors share storage with the model.
    pub fn variables(&self) -> BTreeMap<String, Tensor> {
        self.vs.variables().into_iter().collect()
    }

    /// Number of trained parameters.
    pub fn parameters(&self) -> usize {
        self.vs.trainable_variables().iter().map(Tensor::numel).sum()
    }
}
