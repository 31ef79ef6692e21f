//! A training that stopped being finite: when, where first, and what was put in there.

use std::fmt;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// The first number of a training that was not finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Divergence {
    /// The step, counted from 1.
    pub step: u64,
    /// By which number it was noticed.
    pub what: String,
    /// What the replay of the step found.
    #[serde(flatten)]
    pub place: Place,
}

/// Where a number was first not finite, in the order in which a step computes: batch, layers from data to latent, base,
/// then the gradients from the latent back to the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// What it belongs to.
    pub origin: Origin,
    /// The layer, by its name.
    pub layer: Option<String>,
    /// The parameters that it belongs to, by their names: a few of them.
    pub variables: Vec<String>,
    /// What the layer was given on the way from data to latent; where a layer works on a part of an image, that part.
    pub input: Option<Range>,
}

/// What was not finite first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A number of the batch itself.
    Batch,
    /// The output of a layer.
    Output,
    /// The log-determinant of a layer, whose output is finite.
    LogDet,
    /// The base's log-density, or the sum of all: every layer is finite.
    Density,
    /// A gradient: every likelihood is finite.
    Gradient,
    /// Parameters, or what the optimizer keeps of them, after the step.
    Parameters,
    /// The gradients with rebuilt activations (`train.rebuild`), which are finite with activations that are kept.
    Rebuilding,
    /// Nothing, when the step was taken again.
    Nothing,
}

/// The range of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The least finite one.
    pub min: Option<f64>,
    /// The largest finite one.
    pub max: Option<f64>,
    /// How many are not finite.
    pub not_finite: u64,
    /// How many there are.
    pub count: u64,
}

impl Range {
    /// Of all numbers of `t`.
    pub fn of(t: &Tensor) -> Self {
        let t = t.detach();
        let finite = t.masked_select(&t.isfinite());
        let (some, count) = (finite.numel() as u64, t.numel() as u64);
        let number = |t: Tensor| t.to_device(tch::Device::Cpu).to_kind(Kind::Double).double_value(&[]);
        Range {
            min: (some > 0).then(|| number(finite.min())),
            max: (some > 0).then(|| number(finite.max())),
            not_finite: count - some,
            count,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(min), Some(max)) = (self.min, self.max) {
            write!(f, "lies between {min:.3e} and {max:.3e}, ")?;
        }
        match (self.not_finite, self.count) {
            (0, count) => write!(f, "all {count} numbers finite"),
            (wrong, count) => write!(f, "{wrong} of {count} numbers not finite"),
        }
    }
}

impl Place {
    /// Without a layer.
    pub(crate) fn of(origin: Origin) -> Self {
        Place { origin, layer: None, variables: Vec::new(), input: None }
    }

    /// In `layer`, which was given `input`.
    pub(crate) fn at(origin: Origin, layer: &str, input: &Tensor) -> Self {
        Place { layer: Some(layer.to_owned()), input: Some(Range::of(input)), ..Self::of(origin) }
    }

    /// One line on what usually helps.
    pub fn advice(&self) -> &'static str {
        const FAR: f64 = 1e6;
        let far = self.input.is_some_and(|input| {
            let outside = |end: Option<f64>| end.is_some_and(|end| end.abs() > FAR);
            outside(input.min) || outside(input.max)
        });
        match self.origin {
            Origin::Batch => {
                "look at the rows of the data: one holds a value that is no number, or is too large for f32"
            }
            Origin::Output | Origin::LogDet | Origin::Density if far => {
                "its input has come far out of the usual range already, so that the steps before were too long: a \
                 smaller train.learning_rate, a longer train.warmup or a bound on the gradient (train.clip) usually helps"
            }
            Origin::Output | Origin::LogDet | Origin::Density => {
                "a smaller train.learning_rate, a longer train.warmup or a bound on the gradient (train.clip) usually helps"
            }
            Origin::Gradient => {
                "train.clip shortens what is finite, and this is not: a smaller train.learning_rate, or smaller starting \
                 weights of the net, usually help"
            }
            Origin::Parameters => {
                "the step was too long: a smaller train.learning_rate or a longer train.warmup usually helps"
            }
            Origin::Rebuilding => "train.rebuild=false keeps activations instead of rebuilding them",
            Origin::Nothing => "a smaller train.learning_rate or a bound on the gradient (train.clip) usually helps",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layer = self.layer.as_deref().unwrap_or("none");
        match self.origin {
            Origin::Batch => write!(f, "the batch itself holds a number that is not finite")?,
            Origin::Output => write!(f, "the first layer with an output that is not finite is {layer:?}")?,
            Origin::LogDet => write!(f, "the first layer with a log-determinant that is not finite is {layer:?}")?,
            Origin::Density => write!(f, "every layer is finite, the log-density of the base is not")?,
            Origin::Gradient => match &self.layer {
                Some(layer) => write!(
                    f,
                    "every likelihood is finite, and on the way back from the latent the first gradient that is not comes from {layer:?}"
                )?,
                None => write!(f, "every likelihood is finite, a gradient is not")?,
            },
            Origin::Parameters => write!(f, "the parameters after the step are not finite")?,
            Origin::Rebuilding => write!(f, "with activations kept instead of rebuilt every gradient is finite")?,
            Origin::Nothing => write!(f, "when the step was taken again every number was finite")?,
        }
        if !self.variables.is_empty() {
            write!(f, " ({})", self.variables.join(", "))?;
        }
        match (&self.input, self.origin) {
            (Some(input), Origin::Density) => write!(f, "; the latent {input}"),
            (Some(input), _) => write!(f, "; its input {input}"),
            (None, _) => Ok(()),
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "training stopped being finite at step {}: {}; {}", self.step, self.what, self.place)
    }
}
