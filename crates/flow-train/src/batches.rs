//! Batches as tensors: gathered where the rows lie, dequantized on the device.

use std::sync::Mutex;

use flow_core::dense::{numbers_mut, threads};
use flow_core::rng::{derive_seed, with_seed};
use flow_data::{Rows, Source, Split, Toy, Values};
use flow_dense::in_parallel;
use flow_models::class_context;
use ndarray::{Array2, Axis};
use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// The largest number below 1 whose sum with any byte is an f32.
const LARGEST_NOISE: f32 = 1.0 - 1.0 / 65_536.0;

/// The most bytes of a split that are copied to a device other than the processor: of larger ones, every batch is.
const ON_DEVICE: usize = 2 << 30;
/// Numbers of a batch from which on threads share it.
const WORTH_SHARING: usize = 1 << 13;
/// Rows copied to a device at a time.
const COPIED: usize = 1 << 16;

/// Rows for a device, `[n, D]`: levels stay bytes until a batch is made of them.
#[derive(Debug)]
pub struct DeviceRows {
    rows: Held,
    device: Device,
    levels: Option<u32>,
    classes: Option<Classes>,
}

/// Where the rows are.
#[derive(Debug)]
enum Held {
    /// Where they were loaded to, in memory or in a file that is mapped; gathered a batch at a time.
    Host(Split),
    /// All on the device.
    Device(Tensor),
}

/// The class of each row, `[n]` of kind i64, of so many.
#[derive(Debug)]
struct Classes {
    labels: Tensor,
    number: usize,
}

/// Rows as a model sees them.
#[derive(Debug)]
pub struct Batch {
    /// `[n, D]`.
    pub x: Tensor,
    /// The classes of the rows, one-hot, `[n, classes]`; for a model that is conditioned on them.
    pub context: Option<Tensor>,
}

impl DeviceRows {
    /// The rows of `split` for `device`. On the processor they stay where they are; they are copied to another device,
    /// unless they are more than 2 GiB.
    pub fn new(split: &Split, device: Device) -> Self {
        let (dim, size) = (split.event_shape().iter().product::<usize>(), if split.levels().is_some() { 1 } else { 4 });
        if device != Device::Cpu && split.len().saturating_mul(dim * size) <= ON_DEVICE {
            return Self::copied(split, device);
        }
        DeviceRows { rows: Held::Host(split.clone()), device, levels: split.levels(), classes: None }
    }

    /// The same, but copied to `device` in any case. Batches are those of [`DeviceRows::new`], to the bit.
    pub fn copied(split: &Split, device: Device) -> Self {
        let dim = split.event_shape().iter().product::<usize>() as i64;
        let kind = if split.levels().is_some() { Kind::Uint8 } else { Kind::Float };
        let rows = Tensor::empty([split.len() as i64, dim], (kind, device));
        for start in (0..split.len()).step_by(COPIED) {
            let part: Vec<usize> = (start..(start + COPIED).min(split.len())).collect();
            rows.narrow(0, start as i64, part.len() as i64).copy_(&tensor(&split.gather(&part), Device::Cpu));
        }
        DeviceRows { rows: Held::Device(rows), device, levels: split.levels(), classes: None }
    }

    /// The same with the rows' labels as context, for a model of `classes` classes; for 0 they are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where `split` has no labels, or one that is no class.
    pub fn with_classes(split: &Split, classes: usize, device: Device) -> Result<Self> {
        let rows = Self::new(split, device);
        if classes == 0 {
            return Ok(rows);
        }
        let wrong = |why: String| Err(Error::Config(format!("model.classes is {classes}, but {why}")));
        let Some(labels) = &split.labels else {
            return wrong("the data has no labels; set it to 0".to_owned());
        };
        if let Some(label) = labels.iter().find(|&&label| usize::from(label) >= classes) {
            return wrong(format!("the data has a label {label}"));
        }
        let labels: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
        let labels = Tensor::from_slice(&labels).to_device(device);
        Ok(DeviceRows { classes: Some(Classes { labels, number: classes }), ..rows })
    }

    /// The class of each row, `[n]` of kind i64, where they are given as context.
    pub fn labels(&self) -> Option<&Tensor> {
        self.classes.as_ref().map(|classes| &classes.labels)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match &self.rows {
            Held::Host(split) => split.len(),
            Held::Device(rows) => rows.size()[0] as usize,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many different values an integer coordinate can have, where coordinates are integers.
    pub fn levels(&self) -> Option<u32> {
        self.levels
    }

    /// The rows of `index: [k]` as the model sees them, f32: `(k + u) / levels` on the unit cube for levels, as read
    /// else. The noise `u`, uniform on `[0, 1)`, is drawn from libtorch's generator: call it inside
    /// [`with_seed`], or use [`DeviceRows::dequantized`].
    ///
    /// The sum never rounds up to the next level, and so never to 1: `u` is kept below `1 - 2^-16`, which a sum with
    /// any level holds exactly.
    pub fn batch(&self, index: &Tensor) -> Batch {
        let context = self
            .classes
            .as_ref()
            .map(|Classes { labels, number }| class_context(&labels.index_select(0, index), *number));
        let rows = match &self.rows {
            Held::Host(split) => match split.gather(&numbers(index)) {
                Values::Levels { data, levels } if self.device == Device::Cpu => {
                    return Batch { x: with_noise(&data, levels), context };
                }
                values => tensor(&values, self.device),
            },
            Held::Device(rows) => rows.index_select(0, index),
        };
        let Some(levels) = self.levels else { return Batch { x: rows, context } };
        if self.device == Device::Cpu {
            return Batch { x: with_noise(&bytes(&rows), levels), context };
        }
        let noise = Tensor::rand(rows.size(), (Kind::Float, self.device)).clamp_max_(f64::from(LARGEST_NOISE));
        Batch { x: (rows.to_kind(Kind::Float) + noise) / f64::from(levels), context }
    }

    /// Rows `start .. start + len` with noise of their own seed.
    pub fn dequantized(&self, start: usize, len: usize, seed: u64) -> Batch {
        let index = Tensor::arange_start(start as i64, (start + len) as i64, (Kind::Int64, self.device));
        with_seed(derive_seed(seed, "dequantize", start as u64), || self.batch(&index))
    }
}

/// `(k + u) / levels` of every number of `rows: [n, D]`, with noise from libtorch's generator, in one pass that threads share.
fn with_noise(rows: &Array2<u8>, levels: u32) -> Tensor {
    let (n, dim) = rows.dim();
    let mut x = Tensor::rand([n as i64, dim as i64], (Kind::Float, Device::Cpu));
    let threads = if x.numel() < WORTH_SHARING { 1 } else { threads() };
    let size = n.div_ceil(threads).max(1);
    #[allow(unsafe_code, reason = "a tensor is written to")]
    // SAFETY: it was made here.
    let parts =
        unsafe { numbers_mut(&mut x) }.chunks_mut((size * dim).max(1)).zip(rows.axis_chunks_iter(Axis(0), size));
    let parts: Vec<_> = parts.map(Mutex::new).collect();
    in_parallel(parts.len(), &|part, _| {
        let (x, rows) = &mut *parts[part].lock().expect("no other thread has it");
        for (x, level) in x.iter_mut().zip(rows.iter()) {
            *x = (f32::from(*level) + x.min(LARGEST_NOISE)) / levels as f32;
        }
    });
    drop(parts);
    x
}

/// An index as row numbers.
fn numbers(index: &Tensor) -> Vec<usize> {
    let index = Vec::<i64>::try_from(index.to_device(Device::Cpu)).expect("a vector of row numbers");
    index.into_iter().map(|row| usize::try_from(row).expect("a row number")).collect()
}

/// A matrix of levels.
fn bytes(rows: &Tensor) -> Array2<u8> {
    let shape = rows.size2().expect("a matrix");
    let bytes = Vec::<u8>::try_from(rows.flatten(0, -1)).expect("levels are bytes");
    Array2::from_shape_vec((shape.0 as usize, shape.1 as usize), bytes).expect("as many")
}

/// Values on a device, levels as bytes.
fn tensor(values: &Values, device: Device) -> Tensor {
    match values {
        Values::Levels { data, .. } => matrix(data, device),
        Values::Reals(data) => matrix(data, device),
    }
}

fn matrix<T: tch::kind::Element + Copy>(data: &Array2<T>, device: Device) -> Tensor {
    let (n, dim) = data.dim();
    let data = data.as_standard_layout();
    let slice = data.as_slice().expect("standard layout");
    Tensor::from_slice(slice).reshape([n as i64, dim as i64]).to_device(device)
}

/// Training batches as a function of seed and step alone, so that a run can go on anywhere.
#[derive(Debug)]
pub struct Batches {
    source: Rest,
    batch: usize,
    seed: u64,
    device: Device,
}

#[derive(Debug)]
enum Rest {
    /// Epoch after epoch, each in an order of its own; the current one is kept, 4 bytes a row.
    Fixed {
        rows: DeviceRows,
        epoch: Option<(u64, Vec<i32>)>,
    },
    Fresh(Toy),
}

impl Batches {
    /// Batches of `batch` rows of `source` on `device`, with their labels as context for a model of `classes` classes,
    /// unless that is 0.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where there are no such labels.
    pub fn new(source: &Source, batch: usize, classes: usize, seed: u64, device: Device) -> Result<Self> {
        let source = match source {
            Source::Fixed(split) => {
                Rest::Fixed { rows: DeviceRows::with_classes(split, classes, device)?, epoch: None }
            }
            Source::Fresh(_) if classes > 0 => {
                return Err(Error::Config("model.classes must be 0: fresh draws have no labels".to_owned()));
            }
            Source::Fresh(toy) => Rest::Fresh(*toy),
        };
        Ok(Batches { source, batch, seed, device })
    }

    /// What the batch of `step` (from 0) is made of, without noise yet.
    ///
    /// Positions `step * batch ..` of the endless row of epochs; a batch may span two of them.
    pub fn pick(&mut self, step: u64) -> Pick<'_> {
        match &mut self.source {
            Rest::Fresh(toy) => {
                let points = toy.draw_batch(self.batch, self.seed, step);
                Pick::Ready(matrix(&points, Device::Cpu), self.device)
            }
            Rest::Fixed { rows, epoch } => {
                let n = rows.len() as u64;
                let first = step * self.batch as u64;
                let index: Vec<i64> = (first..first + self.batch as u64)
                    .map(|position| {
                        let wanted = position / n;
                        if epoch.as_ref().is_none_or(|(current, _)| *current != wanted) {
                            // First the old one goes: of many rows an order is large.
                            *epoch = None;
                            *epoch = Some((wanted, order(n as usize, derive_seed(self.seed, "epoch", wanted))));
                        }
                        let (_, order) = epoch.as_ref().expect("set above");
                        i64::from(order[(position % n) as usize])
                    })
                    .collect();
                Pick::Rows(rows, Tensor::from_slice(&index))
            }
        }
    }
}

/// The order of an epoch: [`flow_core::rng::permutation`] in half the memory, for libtorch draws the same numbers for
/// either kind.
fn order(rows: usize, seed: u64) -> Vec<i32> {
    let order = with_seed(seed, || Tensor::randperm(rows as i64, (Kind::Int, Device::Cpu)));
    Vec::try_from(order).expect("a vector of row numbers")
}

/// A batch before its noise.
#[derive(Debug)]
pub enum Pick<'a> {
    /// Numbers as they are, for a device.
    Ready(Tensor, Device),
    /// Rows by index, which is on the processor.
    Rows(&'a DeviceRows, Tensor),
}

impl Pick<'_> {
    /// The batch `[n, D]`; its noise comes from libtorch's generator, as in [`DeviceRows::batch`].
    pub fn batch(&self) -> Batch {
        self.batch_of(self.own())
    }

    /// What it has of its own, on the processor: its numbers, or those of its rows.
    pub(crate) fn own(&self) -> &Tensor {
        match self {
            Pick::Ready(own, _) | Pick::Rows(_, own) => own,
        }
    }

    /// The batch that another pick of the same rows would be, with `own` wherever it is.
    pub(crate) fn batch_of(&self, own: &Tensor) -> Batch {
        match self {
            Pick::Ready(_, device) => Batch { x: own.to_device(*device), context: None },
            Pick::Rows(rows, _) => rows.batch(&own.to_device(rows.device)),
        }
    }

    /// Whether a batch is made on the device alone.
    pub(crate) fn is_on_device(&self) -> bool {
        match self {
            Pick::Ready(..) => true,
            Pick::Rows(rows, _) => matches!(rows.rows, Held::Device(_)),
        }
    }
}
