//! Rows of the data as a model sees them, and what it is told of them: their classes, where it is conditioned on classes.

use anyhow::bail;
use flow_data::{Rows, Source, Split};
use flow_models::class_context;
use flow_viz::ImageRow;
use ndarray::ArrayD;
use tch::Tensor;

use crate::arrays::{matrix, shown, tensor, with_event};
use crate::latent::decode;
use crate::loaded::Loaded;

/// Rows of a split, levels at the middle of their cells.
pub struct Real {
    /// `[n, D]`.
    pub x: Tensor,
    /// `[n, classes]`, for a model that is conditioned on classes.
    pub context: Option<Tensor>,
}

impl Loaded {
    /// Number of classes that the model is conditioned on; 0 for none.
    pub fn classes(&self) -> usize {
        self.card.model.classes()
    }

    /// `--class` as it was given, which must be one of the model's.
    pub fn class(&self, class: Option<usize>) -> anyhow::Result<Option<usize>> {
        match (class, self.classes()) {
            (None, _) => Ok(None),
            (Some(class), 0) => bail!(
                "--class {class}: the model is not conditioned on classes; leave --class out, or train a glow or \
                 realnvp-image with --classes"
            ),
            (Some(class), classes) if class >= classes => {
                bail!("--class {class}: the model's classes are 0 to {}", classes - 1)
            }
            (class, _) => Ok(class),
        }
    }

    /// `class` for each of `n` rows, or the model's classes in turn; none for a model without.
    pub fn class_or_in_turn(&self, class: Option<usize>, n: usize) -> Option<Vec<usize>> {
        let classes = self.classes();
        (classes > 0).then(|| (0..n).map(|i| class.unwrap_or(i % classes)).collect())
    }

    /// What the model is told of rows of these classes, `[n, classes]`.
    pub fn context(&self, labels: Option<&[usize]>) -> Option<Tensor> {
        let labels: Vec<i64> = labels?.iter().map(|&label| label as i64).collect();
        let labels = Tensor::from_slice(&labels).to_device(self.model.flow().device());
        Some(class_context(&labels, self.classes()))
    }

    /// The model's images, or that `command` has use for no other model.
    pub fn require_images(&self, command: &str) -> anyhow::Result<[usize; 3]> {
        match self.image() {
            Some(image) => Ok(image),
            None => bail!("flow {command} is for models of images; this one is of rows of {:?}", self.model.event()),
        }
    }

    /// The training rows.
    pub fn training<'a>(&self, source: &'a Source) -> anyhow::Result<&'a Split> {
        match source {
            Source::Fixed(split) => Ok(split),
            Source::Fresh(_) => bail!("{} draws its training points afresh: there are none to look at", self.data.name),
        }
    }

    /// The rows of `index` in `split`, which must have so many.
    pub fn real(&self, split: &Split, index: &[usize]) -> anyhow::Result<Real> {
        let rows = shown(&split.gather(index));
        let x = tensor(rows.view(), self.model.flow().device());
        let classes = self.classes();
        if classes == 0 {
            return Ok(Real { x, context: None });
        }
        let Some(labels) = &split.labels else {
            bail!("{} has no labels, and the model must be told the class of each row", self.data.name);
        };
        let labels: Vec<usize> = index.iter().map(|&i| usize::from(labels[i])).collect();
        match labels.iter().find(|&&label| label >= classes) {
            Some(label) => {
                bail!("{} has a label {label}; the model's classes are 0 to {}", self.data.name, classes - 1)
            }
            None => Ok(Real { x, context: self.context(Some(&labels)) }),
        }
    }

    /// `[n, D]` as `[n, c, h, w]`.
    pub fn pictures(&self, x: &Tensor) -> ArrayD<f32> {
        with_event(matrix(x), self.model.event())
    }

    /// A row of a figure: what latents `[n, D]` are images of.
    pub fn decoded(&self, label: impl Into<String>, z: &Tensor, context: Option<&Tensor>) -> ImageRow {
        ImageRow::new(label, self.pictures(&decode(self.model.flow(), z, context)))
    }
}

/// The rows of `split` that have the label `class`.
pub fn of_class(split: &Split, class: usize) -> Vec<usize> {
    let labels = split.labels.iter().flatten().enumerate();
    labels.filter(|(_, label)| usize::from(**label) == class).map(|(i, _)| i).collect()
}

/// As in "class 3" or "classes in turn", after a comma; nothing for a model without classes.
pub fn class_note(loaded: &Loaded, class: Option<usize>) -> String {
    match class {
        Some(class) => format!(", class {class}"),
        None if loaded.classes() > 0 => ", classes in turn".to_owned(),
        None => String::new(),
    }
}
