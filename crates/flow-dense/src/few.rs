//! Nets of dense layers on a few rows, where nothing takes time but reading the weights.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::forward::{Slope, worth};
use crate::lanes::{LINE, Lanes};
use crate::pool::{Shared, in_team, share};
use crate::stored::Stored;
use crate::weight::{Bf16, Weight};

/// A layer of a net: `a(W h + b)`, plus `h` where it is residual.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a, N = f32> {
    /// `W`.
    pub weight: Weight<'a, N>,
    /// `b`.
    pub bias: &'a [f32],
    /// `a`, `max(y, slope y)`; the identity where there is none.
    pub activation: Option<Slope>,
    /// Whether what comes in is added to what comes out.
    pub residual: bool,
}

/// What comes of the rows of `x`, one after the other, through one layer after another; with a `skip` its product with `x` is
/// part of the last one's. Each thread reads its own part of every weight, and they wait for each other between layers.
///
/// # Panics
///
/// If sizes do not go together.
pub fn through_layers(layers: &[Layer], skip: Option<Weight>, x: &[f32], threads: usize) -> Vec<f32> {
    through(layers, skip, x, threads)
}

/// The same by weights in bf16, and sums in f32: half as much to read.
///
/// # Panics
///
/// If sizes do not go together.
pub fn through_layers_bf16(layers: &[Layer<Bf16>], skip: Option<Weight<Bf16>>, x: &[f32], threads: usize) -> Vec<f32> {
    through(layers, skip, x, threads)
}

fn through<N: Stored>(layers: &[Layer<N>], skip: Option<Weight<N>>, x: &[f32], threads: usize) -> Vec<f32> {
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
    let fits = |skip: Weight<N>| (skip.outputs(), skip.inputs()) == (width, inputs);
    assert!(skip.is_none_or(fits), "a skip from {inputs} to {width}");
    let mut between: Vec<Vec<f32>> = layers.iter().map(|layer| vec![0.0; rows * layer.weight.outputs()]).collect();
    let places: Vec<Shared> = between.iter_mut().map(|numbers| Shared(numbers.as_mut_ptr())).collect();
    let start = Shared(x.as_ptr().cast_mut());
    let met = Meeting::default();
    let operations: usize = layers.iter().map(|layer| layer.weight.inputs() * layer.weight.outputs()).sum();
    in_team(worth(operations * rows, threads), &|member, members| {
        for (i, layer) in layers.iter().enumerate() {
            let input = if i == 0 { start } else { places[i - 1] };
            let last = i + 1 == layers.len();
            let work = Work { layer, input, skip: skip.filter(|_| last), x: start, rows, out: places[i] };
            // SAFETY: sizes were compared above; members share no output, and all have written the input.
            unsafe { N::run(&work, share(layer.weight.outputs(), member, members)) }
            if !last {
                met.wait(members);
            }
        }
    });
    between.pop().expect("a net has layers")
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

/// A layer of some rows.
pub(crate) struct Work<'a, N> {
    layer: &'a Layer<'a, N>,
    input: Shared,
    skip: Option<Weight<'a, N>>,
    x: Shared,
    rows: usize,
    out: Shared,
}

/// Outputs of a tile.
const WIDE: usize = 4;
/// Rows of a tile, where there are 32 registers.
const HIGH: usize = 4;
/// The same where there are 16.
const LOW: usize = 2;

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `Stored::run`")]
pub(crate) unsafe fn run_by<V: Lanes, N: Stored>(work: &Work<N>, own: Range<usize>) {
    if work.layer.weight.inputs() < V::LANES && work.skip.is_none() {
        return unsafe { narrow(work, own) };
    }
    let high = if V::REGISTERS >= 32 { HIGH } else { LOW };
    for output in own.clone().step_by(WIDE) {
        for row in (0..work.rows).step_by(high) {
            unsafe {
                match (WIDE.min(own.end - output), high.min(work.rows - row)) {
                    (WIDE, 1) => tile::<V, N, WIDE, 1>(work, output, row),
                    (WIDE, 2) => tile::<V, N, WIDE, 2>(work, output, row),
                    (WIDE, 3) if V::REGISTERS >= 32 => tile::<V, N, WIDE, 3>(work, output, row),
                    (WIDE, HIGH) if V::REGISTERS >= 32 => tile::<V, N, WIDE, HIGH>(work, output, row),
                    (outputs, rows) => {
                        for output in output..output + outputs {
                            (row..row + rows).for_each(|row| tile::<V, N, 1, 1>(work, output, row));
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `Stored::run`")]
unsafe fn tile<V: Lanes, N: Stored, const O: usize, const R: usize>(work: &Work<N>, output: usize, row: usize) {
    let weight = work.layer.weight;
    unsafe {
        let mut sums = [[V::splat(0.0); R]; O];
        products::<V, N, O, R>(&mut sums, weight, work.input, output, row);
        if let Some(skip) = work.skip {
            products::<V, N, O, R>(&mut sums, skip, work.x, output, row);
        }
        for (o, sums) in sums.into_iter().enumerate() {
            for (r, sum) in sums.into_iter().enumerate() {
                finish(work, output + o, row + r, sum.sum());
            }
        }
    }
}

/// A tile of a layer of so few inputs that they do not fill a vector.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `Stored::run`")]
unsafe fn narrow<N: Stored>(work: &Work<N>, own: Range<usize>) {
    let weight = work.layer.weight;
    let depth = weight.inputs();
    for row in 0..work.rows {
        for output in own.clone() {
            unsafe {
                let (w, x) = (weight.pointer().add(output * depth), work.input.at(row * depth));
                finish(work, output, row, (0..depth).map(|i| (*w.add(i)).to_f32() * *x.add(i)).sum());
            }
        }
    }
}

/// All that follows the sum of an output of a row.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `Stored::run`")]
unsafe fn finish<N: Stored>(work: &Work<N>, output: usize, row: usize, sum: f32) {
    let Layer { weight, bias, activation, residual } = *work.layer;
    unsafe {
        let at = row * weight.outputs() + output;
        let mut y = sum + *bias.get_unchecked(output);
        if let Some(slope) = activation {
            // What is not a number stays so.
            y = if y > 0.0 || y.is_nan() { y } else { below(y, slope) };
        }
        if residual {
            y += *work.input.at(at);
        }
        *work.out.at(at) = y;
    }
}

/// `slope y`, also where y is infinite and the slope 0.
fn below(y: f32, Slope(slope): Slope) -> f32 {
    if slope == 0.0 { 0.0 } else { y * slope }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `Stored::run`")]
unsafe fn products<V: Lanes, N: Stored, const O: usize, const R: usize>(
    sums: &mut [[V; R]; O],
    weight: Weight<N>,
    x: Shared,
    output: usize,
    row: usize,
) {
    let depth = weight.inputs();
    unsafe {
        let (w, x) = (weight.pointer().add(output * depth), x.at(row * depth).cast_const());
        let step = N::VECTORS * V::LANES;
        let whole = depth / step * step;
        // With AVX-512 nothing was gained by it.
        let asks = V::REGISTERS < 32;
        let line = LINE * size_of::<f32>() / size_of::<N>();
        for i in (0..whole).step_by(step) {
            let rows: [[V; 2]; R] = std::array::from_fn(|r| N::load_input(x.add(r * depth + i)));
            for (o, sums) in sums.iter_mut().enumerate() {
                let at = w.add(o * depth + i);
                // The same of the next tile.
                if asks && i.is_multiple_of(line) {
                    V::prefetch(at.wrapping_add(O * depth).cast());
                }
                add_products::<V, N, R>(sums, N::load(at), &rows);
            }
        }
        if whole < depth {
            let rest = depth - whole;
            let rows: [[V; 2]; R] = std::array::from_fn(|r| N::load_first_input(x.add(r * depth + whole), rest));
            for (o, sums) in sums.iter_mut().enumerate() {
                let weights = N::load_first(w.add(o * depth + whole), rest);
                add_products::<V, N, R>(sums, weights, &rows);
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract of `Lanes`")]
unsafe fn add_products<V: Lanes, N: Stored, const R: usize>(sums: &mut [V; R], weights: [V; 2], rows: &[[V; 2]; R]) {
    for (sum, row) in sums.iter_mut().zip(rows) {
        for v in 0..N::VECTORS {
            *sum = unsafe { weights[v].mul_add(row[v], *sum) };
        }
    }
}
