//! Matrix products and convolutions with what follows them, and the gradients of many at once: `products.cu`.

use std::ffi::c_int;

use tch::{Device, Kind, Tensor};

use super::arguments::{int, read, read_if, whole_rows};
use super::launch::{Source, THREADS, launch, room};

/// How factors are rounded before they are multiplied; sums are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounding {
    /// Not at all.
    #[default]
    None,
    /// To TF32, 11 bits of mantissa.
    Tf32,
    /// To bf16, 8 bits of mantissa.
    Bf16,
}

/// What follows a product, in the order of the fields.
#[derive(Debug, Clone, Copy, Default)]
pub struct Then<'a> {
    /// Added to every row, or pixel: `[outputs]`.
    pub bias: Option<&'a Tensor>,
    /// Added to every pixel of an image, `[n, outputs]`; of convolutions alone.
    pub shift: Option<&'a Tensor>,
    /// `max(v, 0) + slope min(v, 0)`.
    pub activate: bool,
    /// Multiplied by 1 where this is above 0 and by the slope elsewhere: an activation's way back, from what it gave. Of the result's
    /// shape; with [`Second::Gated`] it is for the second result alone.
    pub gate: Option<&'a Tensor>,
    /// Added, of the result's shape.
    pub added: Option<&'a Tensor>,
    /// What is wanted beside the result.
    pub second: Second,
    /// Of the activation, below 0.
    pub slope: f32,
}

/// A second result of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Second {
    /// None.
    #[default]
    None,
    /// The result before `added` is added.
    Early,
    /// The activation of the result.
    Activated,
    /// The result by the gate.
    Gated,
}

pub(super) const SOURCE: Source = Source {
    text: concat!(include_str!("sums.cuh"), include_str!("products.cu")),
    options: &["OF_KIND", "OF_ROWS", "OF_COLUMNS", "OF_PRECISION", "OF_TAPS"],
    number: 0,
};

/// `enum Kind` of `products.cu`, and what is numbered behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Layer,
    LayerBack,
    LayerGradient,
    Filter,
    FilterBack,
    FilterGradient,
    Parts,
    ShortSums,
    SumsByWarps,
}

/// Rows and columns of a block's tile, and which part of its time goes into multiplying: a large one reads each number fewer
/// times.
const TILES: [(usize, usize, f64); 4] = [(64, 64, 1.0), (64, 32, 0.9), (32, 32, 0.75), (16, 32, 0.5)];
/// Blocks that are computed at once, one on each processor of a large GPU.
const AT_ONCE: f64 = 132.0;

/// The tile by which products of these rows and columns take the least time, of those that a block on `device` has room for.
pub(super) fn tile(of: Of, products: &[(usize, usize)], rounding: Rounding, device: Device) -> (usize, usize) {
    let room = room(device);
    let fits = |&&(rows, columns, _): &&(usize, usize, f64)| shared(of, (rows, columns), rounding) <= room;
    let cost = |&(rows, columns, share): &(usize, usize, f64)| {
        let blocks: usize = products.iter().map(|&(m, n)| m.div_ceil(rows) * n.div_ceil(columns)).sum();
        (blocks as f64 / AT_ONCE).max(1.0) * (rows * columns) as f64 / share
    };
    let least = tiles().filter(fits).min_by(|a, b| cost(a).total_cmp(&cost(b)));
    least.map(|&(rows, columns, _)| (rows, columns)).expect("the smallest fits everywhere")
}

/// Those to choose from.
fn tiles() -> impl Iterator<Item = &'static (usize, usize, f64)> {
    #[cfg(test)]
    let only = tests::ONLY.get();
    #[cfg(not(test))]
    let only: Option<usize> = None;
    TILES.iter().enumerate().filter(move |(i, _)| only.is_none_or(|only| only == *i)).map(|(_, tile)| tile)
}

/// Bytes of shared memory, as `Shape` in `products.cu` has it.
pub(super) fn shared(of: Of, (rows, columns): (usize, usize), rounding: Rounding) -> usize {
    let group_threads = match rounding {
        Rounding::None => {
            let (own_rows, own_columns) = (if rows == 16 { 4 } else { 8 }, if rows <= 32 { 4 } else { 8 });
            rows / own_rows * (columns / own_columns)
        }
        Rounding::Tf32 | Rounding::Bf16 => rows / if rows == 16 { 16 } else { 32 } * columns,
    };
    let groups = THREADS / group_threads;
    let depth = if of == Of::LayerGradient && groups <= 4 { 32 } else { 64 };
    let stages = if rows == 64 && depth == 64 { 3 } else { 4 };
    let size = |rows: usize, along_k: bool| if along_k { rows * (depth + 4) } else { depth * (rows + 8) };
    let a_along_k = matches!(of, Of::Layer | Of::LayerBack | Of::FilterGradient);
    let b_along_k = !matches!(of, Of::LayerBack | Of::LayerGradient);
    let stage = size(rows, a_along_k) + size(columns, b_along_k);
    4 * (stages * stage).max(groups * rows * (columns + 1))
}

pub(super) fn precision(rounding: Rounding) -> c_int {
    match rounding {
        Rounding::None => 0,
        Rounding::Tf32 => 1,
        Rounding::Bf16 => 2,
    }
}

/// `struct Product` of `products.cu`.
#[repr(C)]
struct Product {
    a: *const f32,
    b: *const f32,
    bias: *const f32,
    shift: *const f32,
    added: *const f32,
    gate: *const f32,
    first: *mut f32,
    second: *mut f32,
    m: c_int,
    n: c_int,
    k: c_int,
    height: c_int,
    width: c_int,
    taps: c_int,
    apart: c_int,
    after: c_int,
    slope: f32,
}

/// What a product is of, in the kernel's terms.
struct Sizes {
    of: Of,
    m: usize,
    n: usize,
    k: usize,
    /// Numbers from one row of A, or one image of it, to the next.
    apart: usize,
    /// Of convolutions: height, width, taps.
    images: [usize; 3],
}

/// Starts a product into a new tensor of size `result`, and a second of it if that is wanted.
fn product(
    a: &Tensor,
    b: &Tensor,
    then: &Then,
    rounding: Rounding,
    sizes: &Sizes,
    result: &[i64],
) -> (Tensor, Option<Tensor>) {
    let Sizes { of, m, n, k, apart, images: [height, width, taps] } = *sizes;
    let device = a.device();
    let new = || Tensor::empty(result, (Kind::Float, device));
    let first = new();
    let second = (then.second != Second::None).then(new);
    let all = m * n;
    assert_eq!(first.numel(), all, "a result of the product's size");
    if all == 0 {
        return (first, second);
    }
    let images = m / (height * width).max(1);
    let late = then.second == Second::Gated;
    assert!(!late || then.gate.is_some(), "what is gated has a gate");
    let flags = [(then.activate, 1), (then.gate.is_some() && !late, 2), (then.second == Second::Early, 4), (late, 8)];
    let argument = Product {
        a: a.data_ptr().cast_const().cast(),
        b: read(b, b.numel(), device),
        bias: read_if(then.bias, n, device),
        shift: read_if(then.shift, images * n, device),
        added: read_if(then.added, all, device),
        gate: read_if(then.gate, all, device),
        first: first.data_ptr().cast(),
        second: second.as_ref().map_or(std::ptr::null_mut(), |t| t.data_ptr().cast()),
        m: int(m),
        n: int(n),
        k: int(k),
        height: int(height),
        width: int(width),
        taps: int(taps),
        apart: int(apart),
        after: flags.iter().map(|&(on, bit)| if on { bit } else { 0 }).sum(),
        slope: then.slope,
    };
    if let Some((thin, blocks)) = thin(sizes) {
        let options = [thin as c_int, of as c_int, 0, precision(rounding), 1];
        #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
        // SAFETY: as below.
        unsafe {
            launch(device, &SOURCE, &options, blocks, 0, &argument);
        }
        return (first, second);
    }
    let (rows, columns) = tile(of, &[(m, n)], rounding, device);
    let options = [of as c_int, int(rows), int(columns), precision(rounding), int(taps)];
    let blocks = m.div_ceil(rows) * n.div_ceil(columns);
    #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
    // SAFETY: every tensor is as large as the sizes say: checked here and by the callers.
    unsafe {
        launch(device, &SOURCE, &options, blocks, shared(of, (rows, columns), rounding), &argument);
    }
    (first, second)
}

/// What is so few that there are kernels without tiles for it.
const FEW: usize = 8;

/// The kernel of a layer's product that is thin, and its blocks.
fn thin(&Sizes { of, m, n, k, .. }: &Sizes) -> Option<(Of, usize)> {
    let of_layers = matches!(of, Of::Layer | Of::LayerBack);
    // On the way back neighbours of a weight are apart in a sum.
    let few = n <= FEW || (m <= FEW && of == Of::Layer);
    match of_layers {
        true if k <= FEW => Some((Of::ShortSums, (m * n).div_ceil(THREADS))),
        true if few => Some((Of::SumsByWarps, (m * n).div_ceil(THREADS / 32))),
        _ => None,
    }
}

pub(super) fn matrix(t: &Tensor) -> (usize, usize) {
    let (rows, columns) = t.size2().expect("a matrix");
    (rows as usize, columns as usize)
}

/// `x Wᵀ` and what follows, for `x: [n, inputs]` and `weight: [outputs, inputs]`.
pub fn layer(x: &Tensor, weight: &Tensor, then: &Then, rounding: Rounding) -> (Tensor, Option<Tensor>) {
    let ((m, k), (n, inputs)) = (matrix(x), matrix(weight));
    assert_eq!(k, inputs, "as many inputs as the layer has");
    let (x, apart) = whole_rows(x);
    let sizes = Sizes { of: Of::Layer, m, n, k, apart, images: [0, 0, 1] };
    product(&x, weight, then, rounding, &sizes, &[m as i64, n as i64])
}

/// `grad W` and what follows, for `grad: [n, outputs]`.
pub fn layer_back(grad: &Tensor, weight: &Tensor, then: &Then, rounding: Rounding) -> (Tensor, Option<Tensor>) {
    let ((m, k), (outputs, n)) = (matrix(grad), matrix(weight));
    assert_eq!(k, outputs, "as many outputs as the layer has");
    let (grad, apart) = whole_rows(grad);
    let sizes = Sizes { of: Of::LayerBack, m, n, k, apart, images: [0, 0, 1] };
    product(&grad, weight, then, rounding, &sizes, &[m as i64, n as i64])
}

/// Count, channels, height, width.
pub(super) fn images(t: &Tensor) -> [usize; 4] {
    let size = t.size();
    <[i64; 4]>::try_from(size).expect("images [n, channels, h, w]").map(|n| n as usize)
}

pub(super) fn taps(weight: &Tensor) -> usize {
    let [_, _, height, width] = images(weight);
    assert!(height == width && (height == 1 || height == 3), "filters of 1 x 1 or 3 x 3, not of {height} x {width}");
    height * width
}

/// `x * W`, padded with zeros, and what follows, for `x: [n, inputs, h, w]` and `weight: [outputs, inputs, k, k]`, k 1 or 3.
pub fn filter(x: &Tensor, weight: &Tensor, then: &Then, rounding: Rounding) -> (Tensor, Option<Tensor>) {
    let [count, channels, height, width] = images(x);
    let [outputs, inputs, ..] = images(weight);
    assert_eq!(channels, inputs, "as many channels as the filters have");
    convolved(Of::Filter, x, weight, then, rounding, [count, inputs, height, width], outputs)
}

/// The gradient of `x` in [`filter`], and what follows, for `grad: [n, outputs, h, w]`.
pub fn filter_back(grad: &Tensor, weight: &Tensor, then: &Then, rounding: Rounding) -> (Tensor, Option<Tensor>) {
    let [count, channels, height, width] = images(grad);
    let [outputs, inputs, ..] = images(weight);
    assert_eq!(channels, outputs, "as many channels as there are filters");
    convolved(Of::FilterBack, grad, weight, then, rounding, [count, outputs, height, width], inputs)
}

fn convolved(
    of: Of,
    x: &Tensor,
    weight: &Tensor,
    then: &Then,
    rounding: Rounding,
    [count, from, height, width]: [usize; 4],
    to: usize,
) -> (Tensor, Option<Tensor>) {
    let taps = taps(weight);
    let (x, apart) = whole_rows(x);
    let sizes = Sizes { of, m: count * height * width, n: to, k: from * taps, apart, images: [height, width, taps] };
    product(&x, weight, then, rounding, &sizes, &[count, to, height, width].map(|n| n as i64))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::kernels::{Layer, emulated, layer_gradients};

    thread_local! {
        /// The only tile that there is, where a test wants one.
        pub(super) static ONLY: Cell<Option<usize>> = const { Cell::new(None) };
    }

    fn draw(size: &[i64]) -> Tensor {
        let len: i64 = size.iter().product();
        ((Tensor::arange(len, (Kind::Float, Device::Cpu)) * 12.9898 + 78.233).sin() * 43_758.547).frac().reshape(size)
    }

    fn close(what: &str, got: &Tensor, expected: &Tensor, rounding: Rounding) {
        let most = if rounding == Rounding::None { 1e-5 } else { 2e-2 };
        let off = (got.to_kind(Kind::Double) - expected).abs().max() / (expected.abs().max() + 1.0);
        assert!(off.double_value(&[]) < most, "{what} by tile {:?} is off by {}", ONLY.get(), off.double_value(&[]));
    }

    /// Sizes that no tile divides, and whole ones.
    #[test]
    fn every_tile_gives_the_same() {
        let double = |t: &Tensor| t.to_kind(Kind::Double);
        for (only, rounding) in (0..TILES.len()).flat_map(|only| [(only, Rounding::None), (only, Rounding::Tf32)]) {
            ONLY.set(Some(only));
            emulated(|| {
                for (m, n, k) in [(70, 75, 37), (64, 128, 128), (130, 66, 300)] {
                    let (x, w, g) = (draw(&[m, k]), draw(&[n, k]), draw(&[m, n]));
                    let (y, _) = layer(&x, &w, &Then::default(), rounding);
                    close("a layer", &y, &double(&x).mm(&double(&w).tr()), rounding);
                    let (back, _) = layer_back(&g, &w, &Then::default(), rounding);
                    close("its way back", &back, &double(&g).mm(&double(&w)), rounding);
                    let own = Layer { grad: &g, input: &x, weight: w.zeros_like(), bias: None };
                    layer_gradients(std::slice::from_ref(&own), rounding);
                    close("its gradient", &own.weight, &double(&g).tr().mm(&double(&x)), rounding);
                }
                for size in [1, 3] {
                    let (x, g) = (draw(&[2, 9, 7, 6]), draw(&[2, 70, 7, 6]));
                    let w = draw(&[70, 9, size, size]);
                    let (y, _) = filter(&x, &w, &Then::default(), rounding);
                    let exact = double(&x).conv2d(&double(&w), None::<&Tensor>, 1, size / 2, 1, 1);
                    close("a convolution", &y, &exact, rounding);
                    let (back, _) = filter_back(&g, &w, &Then::default(), rounding);
                    let exact = double(&g).conv_transpose2d(&double(&w), None::<&Tensor>, 1, size / 2, 0, 1, 1);
                    close("its way back", &back, &exact, rounding);
                }
            });
        }
        ONLY.set(None);
    }

    #[allow(unsafe_code, reason = "a function of another language")]
    // SAFETY: this is the function of emulated.cpp, by its type there.
    unsafe extern "C" {
        fn flow_cuda_emulate_shared(options: *const c_int) -> c_int;
    }

    #[test]
    fn shared_memory_is_as_much_as_the_kernels_use() {
        let all = [Of::Layer, Of::LayerBack, Of::LayerGradient, Of::Filter, Of::FilterBack, Of::FilterGradient];
        for of in all {
            for (rows, columns, _) in TILES {
                for rounding in [Rounding::None, Rounding::Tf32, Rounding::Bf16] {
                    let options = [of as c_int, int(rows), int(columns), precision(rounding), 1];
                    #[allow(unsafe_code, reason = "a function of another language")]
                    // SAFETY: it reads five options.
                    let numbers = unsafe { flow_cuda_emulate_shared(options.as_ptr()) };
                    let bytes = shared(of, (rows, columns), rounding);
                    assert_eq!(bytes, 4 * numbers as usize, "{options:?}");
                    // 99 KiB is what GPUs for players have for a block.
                    assert!(bytes <= 99 << 10 || (rows, columns) == (64, 64), "{options:?} wants {bytes}");
                }
            }
        }
    }
}
