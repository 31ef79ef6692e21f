//! A trained model with the data it was trained on.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use flow_data::{DataSet, Preprocessing, Spec};
use flow_models::{Model, ModelCard, file};
use flow_train::{DataConfig, folder, runs};
use serde_json::Value;

use crate::args::ModelArgs;
use crate::output;

/// A model, what its file says of it, and how its data is meant.
pub struct Loaded {
    pub model: Model,
    pub card: ModelCard,
    pub data: DataConfig,
    pub preprocessing: Preprocessing,
    /// The folder of the run, where the model lies in one.
    run: Option<PathBuf>,
}

impl Loaded {
    pub fn open(args: &ModelArgs) -> anyhow::Result<Self> {
        if let Some(threads) = args.threads {
            tch::set_num_threads(i32::from(threads));
        }
        Self::from_path(&args.model, args.device.resolve()?)
    }

    pub fn from_path(path: &Path, device: tch::Device) -> anyhow::Result<Self> {
        let run = path.is_dir().then(|| path.to_owned());
        let path = model_path(path)?;
        if let Some(run) = &run {
            folder::refuse_links(run)?;
        }
        let (model, mut card) = file::load(&path, device)?;
        // Wall time is no part of a model: where the model lies in a run's folder, the run knows.
        if let (Some(Ok(run)), Value::Object(reached)) = (run.as_deref().map(runs::run), &mut card.reached) {
            reached.insert("train_seconds".to_owned(), run.seconds.into());
        }
        let context = card.model.context();
        if context > card.model.classes() {
            bail!(
                "{}: the model wants {context} numbers as context, which flow has not; use the crates",
                path.display()
            );
        }
        let wrong = || format!("{}: the description of its data", path.display());
        let mut data = card.data.clone();
        let preprocessing = data.as_object_mut().and_then(|o| o.remove("preprocessing")).unwrap_or(Value::Null);
        let preprocessing: Preprocessing = serde_json::from_value(preprocessing).with_context(wrong)?;
        preprocessing.check(&card.event).map_err(|why| anyhow!("{}: {why}", wrong()))?;
        let data: DataConfig = serde_json::from_value(data).with_context(wrong)?;
        let data = data.of_images(&preprocessing);
        Ok(Loaded { model, card, data, preprocessing, run })
    }

    /// The data set it was trained on, which must be the same still: its splits are dealt anew, and among other rows those
    /// that were trained on would be evaluated as if they had not been.
    pub fn data_set(&self) -> anyhow::Result<DataSet> {
        let data = self.data.load()?;
        if data.event_shape != self.model.event() {
            let (there, wanted) = (&data.event_shape, self.model.event());
            bail!("{} has rows of shape {there:?}, the model was trained on {wanted:?}", self.data.name);
        }
        let (there, wanted) = (data.preprocessing.levels(), self.preprocessing.levels());
        if there != wanted {
            bail!("{} has {there:?} levels, the model was trained on {wanted:?}", self.data.name);
        }
        require_same_columns(&data, &self.preprocessing)?;
        if let Some(run) = &self.run {
            runs::require_same_data(run, &data)?;
        }
        output::notes(&data);
        Ok(data)
    }

    /// Channels, height and width, if the model is one of images.
    pub fn image(&self) -> Option<[usize; 3]> {
        <[usize; 3]>::try_from(self.model.event()).ok()
    }

    /// As in "RealNVP on moons".
    pub fn title(&self) -> String {
        let model = match self.card.model.name() {
            "nice" => "NICE",
            "realnvp" => "RealNVP",
            "glow" => "Glow",
            "realnvp-image" => "multi-scale RealNVP",
            other => other,
        };
        let data = match &self.data.name {
            Spec::Mnist => "MNIST".to_owned(),
            Spec::Cifar10 => "CIFAR-10".to_owned(),
            // A path would leave a caption no room.
            Spec::Csv(path) | Spec::Npy(path) | Spec::Images(path) | Spec::Idx(path) => {
                path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
            }
            other => other.to_string(),
        };
        format!("{model} on {data}")
    }
}

/// Refuses a table whose training rows have other moments than those that the model was trained on.
fn require_same_columns(data: &DataSet, trained: &Preprocessing) -> anyhow::Result<()> {
    let (Preprocessing::Table { columns, mean, std }, Preprocessing::Table { columns: names, mean: means, std: stds }) =
        (&data.preprocessing, trained)
    else {
        return Ok(());
    };
    let same = |i: &usize| (&columns[*i], mean[*i], std[*i]) == (&names[*i], means[*i], stds[*i]);
    match (0..columns.len()).find(|i| !same(i)) {
        None => Ok(()),
        Some(i) => bail!(
            "{} has changed since the model was trained: column {} was {:?}, with mean {} and deviation {} over the training \
             rows, and is {:?}, with {} and {}; put back the data it was trained on, or train a new model",
            data.spec,
            i + 1,
            names[i],
            means[i],
            stds[i],
            columns[i],
            mean[i],
            std[i]
        ),
    }
}

/// The model file in a run's folder, or the file itself.
fn model_path(path: &Path) -> anyhow::Result<PathBuf> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let inside = folder::model_file(path);
    if !inside.is_file() {
        bail!("{}: no model here: neither a model file nor a folder with model.safetensors", path.display());
    }
    folder::require_inside(path, &inside)?;
    Ok(inside)
}
