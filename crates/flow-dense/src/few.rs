//! Nets of dense layers on a few rows, where nothing takes time but reading the weights.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::few_packed;
use crate::forward::{Slope, worth};
use crate::packed::{GROUP, Packed};
use crate::pool::{Shared, in_team, share};
use crate::stored::Stored;
use crate::weight::{Bf16, Weight};

/// A layer of a net: `a(W h + b)`, plus `h` where it is residual.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// `W`.
    pub weight: Held<'a>,
    /// `b`.
    pub bias: &'a [f32],
    /// `a`, `max(y, slope y)`; the identity where there is none.
    pub activation: Option<Slope>,
    /// Whether what comes in is added to what comes out.
    pub residual: bool,
}

/// How a weight is held. Products and sums are of f32 in any case.
#[derive(Clone, Copy, Debug)]
pub enum Held<'a> {
    /// In f32.
    Full(Weight<'a>),
    /// In bf16: half as much to read.
    Half(Weight<'a, Bf16>),
    /// The numbers of either in fewer bytes. Of an input that is infinite, or above some 1e36, there may come an infinity or what is not a
    /// number where these give something else.
    Packed(&'a Packed),
}

impl<'a> From<Weight<'a>> for Held<'a> {
    fn from(weight: Weight<'a>) -> Self {
        Held::Full(weight)
    }
}

impl<'a> From<Weight<'a, Bf16>> for Held<'a> {
    fn from(weight: Weight<'a, Bf16>) -> Self {
        Held::Half(weight)
    }
}

impl<'a> From<&'a Packed> for Held<'a> {
    fn from(weight: &'a Packed) -> Self {
        Held::Packed(weight)
    }
}

impl Held<'_> {
    /// Number of rows.
    pub fn outputs(&self) -> usize {
        match self {
            Held::Full(weight) => weight.outputs(),
            Held::Half(weight) => weight.outputs(),
            Held::Packed(weight) => weight.outputs(),
        }
    }

    /// Number of columns.
    pub fn inputs(&self) -> usize {
        match self {
            Held::Full(weight) => weight.inputs(),
            Held::Half(weight) => weight.inputs(),
            Held::Packed(weight) => weight.inputs(),
        }
    }

    /// The outputs of a thread: whole groups, as packed weights have them, for a layer and its skip may be held in two ways.
    fn share(&self, member: usize, members: usize) -> Range<usize> {
        let groups = share(self.outputs().div_ceil(GROUP), member, members);
        groups.start * GROUP..self.outputs().min(groups.end * GROUP)
    }

    /// Writes some outputs of a product.
    ///
    /// # Safety
    ///
    /// The input has as many columns as this, nobody else writes these outputs, and they are those of a [`Held::share`].
    unsafe fn multiply(&self, product: &Product, own: Range<usize>) {
        // SAFETY: the same contract.
        unsafe {
            match self {
                Held::Full(weight) => f32::multiply(weight, product, own),
                Held::Half(weight) => Bf16::multiply(weight, product, own),
                Held::Packed(weight) => few_packed::multiply(weight, product, own),
            }
        }
    }
}

/// Writes to `y` what comes of the rows of `x`, one after the other, through one layer after another; with a `skip` its product with
/// `x` is part of the last one's. Each thread reads its own part of every weight, and they wait for each other between layers.
///
/// # Panics
///
/// If sizes do not go together.
pub fn through_layers(layers: &[Layer], skip: Option<Held>, x: &[f32], y: &mut [f32], threads: usize) {
    let inputs = layers[0].weight.inputs();
    assert!(x.len().is_multiple_of(inputs), "{} numbers in rows of {inputs}", x.len());
    let rows = x.len() / inputs;
    let mut width = inputs;
    for layer in layers {
        let (outputs, residual) = (layer.weight.outputs(), layer.residual);
        assert_eq!(layer.weight.inputs(), width, "inputs of a layer");
        assert!(layer.bias.len() == outputs && (!residual || outputs == width), "a layer of {outputs} outputs");
        width = outputs;
    }
    let fits = |skip: Held| (skip.outputs(), skip.inputs()) == (width, inputs);
    assert!(skip.is_none_or(fits), "a skip from {inputs} to {width}");
    assert_eq!(y.len(), rows * width, "room for {rows} rows of {width}");
    // What comes of each layer but the last, one after the other.
    let hidden = &layers[..layers.len() - 1];
    let mut between = vec![0.0; hidden.iter().map(|layer| rows * layer.weight.outputs()).sum()];
    let start = Shared(x.as_ptr().cast_mut());
    let (all, end) = (Shared(between.as_mut_ptr()), Shared(y.as_mut_ptr()));
    let met = Meeting::default();
    let operations: usize = layers.iter().map(|layer| layer.weight.inputs() * layer.weight.outputs()).sum();
    in_team(worth(operations * rows, threads), &|member, members| {
        let (mut input, mut at) = (start, 0);
        for (i, layer) in layers.iter().enumerate() {
            let last = i + 1 == layers.len();
            // SAFETY: sizes were compared above; members share no output, and all have written the input.
            let out = unsafe {
                let out = if last { end } else { Shared(all.at(at)) };
                let own = layer.weight.share(member, members);
                layer
                    .weight
                    .multiply(&Product { x: input, rows, out, width: layer.weight.outputs(), add: false }, own.clone());
                if let Some(skip) = skip.filter(|_| last) {
                    skip.multiply(&Product { x: start, rows, out, width, add: true }, own.clone());
                }
                finish(layer, input, rows, out, own);
                out
            };
            if !last {
                met.wait(members);
            }
            (input, at) = (out, at + rows * layer.weight.outputs());
        }
    });
}

/// Where threads wait for each other, again and again.
#[derive(Default)]
struct Meeting {
    come: AtomicUsize,
    times: AtomicUsize,
}

impl Meeting {
    /// Returns when all `members` have called it as often as this one.
    fn wait(&self, members: usize) {
        let times = self.times.load(Ordering::Acquire);
        if self.come.fetch_add(1, Ordering::AcqRel) + 1 == members {
            self.come.store(0, Ordering::Relaxed);
            self.times.store(times + 1, Ordering::Release);
            return;
        }
        let mut turns = 0u32;
        while self.times.load(Ordering::Acquire) == times {
            // Awake, as long as the others can be: where they have to wait for a processor this one is let go.
            turns += 1;
            if turns < AWAKE { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

/// Turns that a thread waits awake: some tens of microseconds.
const AWAKE: u32 = 1 << 12;

/// The product of a weight and some rows.
pub(crate) struct Product {
    /// The rows, one after the other.
    pub x: Shared,
    pub rows: usize,
    /// Where what comes of each is, one after the other.
    pub out: Shared,
    /// Outputs of a row.
    pub width: usize,
    /// Whether it is added to what is there.
    pub add: bool,
}

impl Product {
    /// Writes the sums of some outputs of a row.
    ///
    /// # Safety
    ///
    /// They are there, and nobody else writes them.
    #[inline(always)]
    pub(crate) unsafe fn give(&self, row: usize, outputs: Range<usize>, sums: &[f32]) {
        for (output, &sum) in outputs.zip(sums) {
            // SAFETY: by the contract.
            unsafe {
                let to = self.out.at(row * self.width + output);
                *to = if self.add { *to + sum } else { sum };
            }
        }
    }
}

/// All that follows the product.
///
/// # Safety
///
/// Numbers are as many as the layer says, and nobody else writes these outputs.
unsafe fn finish(layer: &Layer, input: Shared, rows: usize, out: Shared, own: Range<usize>) {
    let width = layer.weight.outputs();
    for row in 0..rows {
        for output in own.clone() {
            let at = row * width + output;
            // SAFETY: by the contract.
            unsafe {
                let mut y = *out.at(at) + layer.bias.get_unchecked(output);
                if let Some(slope) = layer.activation {
                    // What is not a number stays so.
                    y = if y > 0.0 || y.is_nan() { y } else { below(y, slope) };
                }
                if layer.residual {
                    y += *input.at(at);
                }
                *out.at(at) = y;
            }
        }
    }
}

/// `slope y`, also where y is infinite and the slope 0.
fn below(y: f32, Slope(slope): Slope) -> f32 {
    if slope == 0.0 { 0.0 } else { y * slope }
}
