//! Matrix products and convolutions with what follows them, and the gradients of many at once: `products.cu`.

use std::ffi::c_int;

use tch::{Device, Kind, Tensor};

use super::launch::{Source, THREADS, launch};

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

/// A layer or a convolution whose gradients are wanted: of `weight: [outputs, inputs]`, or `[outputs, inputs, k, k]` with k 1 or 3,
/// and of `bias: [outputs]`.
#[derive(Debug)]
pub struct Layer<'a> {
    /// The gradient of its output, `[n, outputs, ..]`.
    pub grad: &'a Tensor,
    /// Its input, `[n, inputs, ..]`.
    pub input: &'a Tensor,
    /// The weight's gradient, to be added to.
    pub weight: Tensor,
    /// The bias's, likewise.
    pub bias: Option<Tensor>,
}

const SOURCE: Source = Source {
    text: include_str!("products.cu"),
    options: &["OF_KIND", "OF_ROWS", "OF_COLUMNS", "OF_PRECISION", "OF_TAPS"],
    number: 0,
};

/// `enum Kind` of `products.cu`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Layer,
    LayerBack,
    LayerGradient,
    Filter,
    FilterBack,
    FilterGradient,
    Parts,
}

/// Rows and columns of a block's tile, large ones first: a large one reads each number fewer times.
const TILES: [(usize, usize); 4] = [(64, 64), (64, 32), (32, 32), (16, 32)];
/// Blocks with which most of the processors of a large GPU have one.
const ENOUGH_BLOCKS: usize = 100;

fn tile(blocks: impl Fn((usize, usize)) -> usize) -> (usize, usize) {
    let enough = TILES.into_iter().find(|&tile| blocks(tile) >= ENOUGH_BLOCKS);
    enough.unwrap_or(TILES[TILES.len() - 1])
}

/// Bytes of shared memory, as `Shape` in `products.cu` has it.
fn shared(of: Of, (rows, columns): (usize, usize)) -> usize {
    let groups = THREADS * 16 / (rows * columns);
    let (depth, stages) = if groups >= 4 { (64, 4) } else { (32, 3) };
    let size = |rows: usize, along_k: bool| if along_k { rows * (depth + 4) } else { depth * (rows + 8) };
    let a_along_k = matches!(of, Of::Layer | Of::LayerBack | Of::FilterGradient);
    let b_along_k = !matches!(of, Of::LayerBack | Of::LayerGradient);
    let stage = size(rows, a_along_k) + size(columns, b_along_k);
    4 * (stages * stage).max(groups * rows * (columns + 1))
}

fn precision(rounding: Rounding) -> c_int {
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
    images_apart: c_int,
    after: c_int,
    slope: f32,
}

const MOST: usize = 24;

/// `struct Gradients` of `products.cu`.
#[repr(C)]
struct Gradients {
    jobs: [Job; MOST],
    count: c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Job {
    grad: *const f32,
    input: *const f32,
    weight: *mut f32,
    bias: *mut f32,
    m: c_int,
    n: c_int,
    k: c_int,
    height: c_int,
    width: c_int,
    taps: c_int,
    grads_apart: c_int,
    inputs_apart: c_int,
    splits: c_int,
    first_block: c_int,
}

/// `struct Parts` of `products.cu`.
#[repr(C)]
struct Parts {
    jobs: [PartsJob; MOST],
    count: c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct PartsJob {
    parts: *const f32,
    weight: *mut f32,
    bias: *mut f32,
    m: c_int,
    n: c_int,
    splits: c_int,
    first_block: c_int,
}

fn int(n: usize) -> c_int {
    c_int::try_from(n).expect("sizes that a kernel counts to")
}

fn numbers(t: &Tensor) -> *const f32 {
    assert!(t.kind() == Kind::Float && t.is_contiguous(), "a kernel reads f32 in rows: {t:?}");
    t.data_ptr().cast_const().cast()
}

fn numbers_if(t: Option<&Tensor>, len: usize) -> *const f32 {
    let check = |t: &Tensor| assert_eq!(t.numel(), len, "as many numbers as are read of {t:?}");
    t.inspect(|t| check(t)).map_or(std::ptr::null(), numbers)
}

/// What a product is of, in the kernel's terms.
struct Sizes {
    of: Of,
    m: usize,
    n: usize,
    k: usize,
    /// Of convolutions: height, width, taps, images apart.
    images: [usize; 4],
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
    let Sizes { of, m, n, k, images: [height, width, taps, images_apart] } = *sizes;
    let new = || Tensor::empty(result, (Kind::Float, a.device()));
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
        b: numbers(b),
        bias: numbers_if(then.bias, n),
        shift: numbers_if(then.shift, images * n),
        added: numbers_if(then.added, all),
        gate: numbers_if(then.gate, all),
        first: first.data_ptr().cast(),
        second: second.as_ref().map_or(std::ptr::null_mut(), |t| t.data_ptr().cast()),
        m: int(m),
        n: int(n),
        k: int(k),
        height: int(height),
        width: int(width),
        taps: int(taps),
        images_apart: int(images_apart),
        after: flags.iter().map(|&(on, bit)| if on { bit } else { 0 }).sum(),
        slope: then.slope,
    };
    let blocks = |(rows, columns): (usize, usize)| m.div_ceil(rows) * n.div_ceil(columns);
    let (rows, columns) = tile(blocks);
    let options = [of as c_int, int(rows), int(columns), precision(rounding), int(taps)];
    let grid = (m.div_ceil(rows), n.div_ceil(columns));
    #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
    // SAFETY: every tensor is as large as the sizes say: checked here and by the callers.
    unsafe {
        launch(a.device(), &SOURCE, &options, grid, shared(of, (rows, columns)), &argument);
    }
    (first, second)
}

fn matrix(t: &Tensor) -> (usize, usize) {
    let (rows, columns) = t.size2().expect("a matrix");
    (rows as usize, columns as usize)
}

/// `x Wᵀ` and what follows, for contiguous `x: [n, inputs]` and `weight: [outputs, inputs]`.
pub fn layer(x: &Tensor, weight: &Tensor, then: &Then, rounding: Rounding) -> (Tensor, Option<Tensor>) {
    let ((m, k), (n, inputs)) = (matrix(x), matrix(weight));
    assert_eq!(k, inputs, "as many inputs as the layer has");
    let _ = numbers(x);
    let sizes = Sizes { of: Of::Layer, m, n, k, images: [0, 0, 1, 0] };
    product(x, weight, then, rounding, &sizes, &[m as i64, n as i64])
}

/// `grad W` and what follows, for contiguous `grad: [n, outputs]`.
pub fn layer_back(grad: &Tensor, weight: &Tensor, then: &Then, rounding: Rounding) -> (Tensor, Option<Tensor>) {
    let ((m, k), (outputs, n)) = (matrix(grad), matrix(weight));
    assert_eq!(k, outputs, "as many outputs as the layer has");
    let _ = numbers(grad);
    let sizes = Sizes { of: Of::LayerBack, m, n, k, images: [0, 0, 1, 0] };
    product(grad, weight, then, rounding, &sizes, &[m as i64, n as i64])
}

/// Count, channels, height, width.
fn images(t: &Tensor) -> [usize; 4] {
    let size = t.size();
    <[i64; 4]>::try_from(size).expect("images [n, channels, h, w]").map(|n| n as usize)
}

fn taps(weight: &Tensor) -> usize {
    let [_, _, height, width] = images(weight);
    assert!(height == width && (height == 1 || height == 3), "filters of 1 x 1 or 3 x 3, not of {height} x {width}");
    height * width
}

/// Images whose numbers are neighbours, with how many there are from one to the next: some channels of larger images are such.
fn whole_images(t: &Tensor) -> (Tensor, usize) {
    let [n, channels, height, width] = images(t);
    let stride = t.stride();
    let within = [(channels, height * width), (height, width), (width, 1)];
    let neighbours =
        within.iter().zip(&stride[1..]).all(|(&(size, whole), &stride)| size <= 1 || stride == whole as i64);
    let each = channels * height * width;
    if neighbours && (n <= 1 || stride[0] >= each as i64) {
        return (t.shallow_clone(), if n <= 1 { each } else { stride[0] as usize });
    }
    (t.contiguous(), each)
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
    let (x, apart) = whole_images(x);
    assert_eq!(x.kind(), Kind::Float, "a kernel reads f32");
    let sizes = Sizes { of, m: count * height * width, n: to, k: from * taps, images: [height, width, taps, apart] };
    product(&x, weight, then, rounding, &sizes, &[count, to, height, width].map(|n| n as i64))
}

fn gradient_of(t: &Tensor, len: usize) -> *mut f32 {
    assert_eq!(t.numel(), len, "a gradient of its parameter's size");
    numbers(t).cast_mut()
}

const NO_JOB: Job = Job {
    grad: std::ptr::null(),
    input: std::ptr::null(),
    weight: std::ptr::null_mut(),
    bias: std::ptr::null_mut(),
    m: 0,
    n: 0,
    k: 0,
    height: 0,
    width: 0,
    taps: 1,
    grads_apart: 0,
    inputs_apart: 0,
    splits: 1,
    first_block: 0,
};

/// Numbers the jobs' blocks, and starts all of them.
fn gradients(of: Of, jobs: &mut [Job], tile: (usize, usize), rounding: Rounding, device: Device) {
    let (rows, columns) = tile;
    let mut blocks = 0;
    for job in jobs.iter_mut() {
        job.first_block = int(blocks);
        blocks += (job.m as usize).div_ceil(rows) * (job.n as usize).div_ceil(columns) * job.splits as usize;
    }
    let mut argument = Gradients { jobs: [NO_JOB; MOST], count: int(jobs.len()) };
    argument.jobs[..jobs.len()].copy_from_slice(jobs);
    if blocks == 0 {
        return;
    }
    let options = [of as c_int, int(rows), int(columns), precision(rounding), 1];
    #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
    // SAFETY: every tensor is as large as the job says: checked where jobs are made.
    unsafe {
        launch(device, &SOURCE, &options, (blocks, 1), shared(of, tile), &argument);
    }
}

/// Adds every layer's gradients to where they belong: `gradᵀ input`, and the sum of `grad` over rows. No two of them the same.
pub fn layer_gradients(layers: &[Layer], rounding: Rounding) {
    for layers in layers.chunks(MOST) {
        let job = |layer: &Layer| {
            let ((k, m), (rows, n)) = (matrix(layer.grad), matrix(layer.input));
            assert_eq!(k, rows, "as many inputs as gradients");
            let (grad, input) = (numbers(layer.grad), numbers(layer.input));
            let bias = layer.bias.as_ref().map_or(std::ptr::null_mut(), |bias| gradient_of(bias, m));
            let weight = gradient_of(&layer.weight, m * n);
            Job { grad, input, weight, bias, m: int(m), n: int(n), k: int(k), ..NO_JOB }
        };
        let mut jobs: Vec<Job> = layers.iter().map(job).collect();
        let tile = tile(|(rows, columns)| {
            jobs.iter().map(|job| (job.m as usize).div_ceil(rows) * (job.n as usize).div_ceil(columns)).sum()
        });
        let Some(first) = layers.first() else { return };
        gradients(Of::LayerGradient, &mut jobs, tile, rounding, first.grad.device());
    }
}

/// The tile of filters' gradients, which have few rows and columns and many pixels.
const FILTER_TILE: (usize, usize) = (32, 32);
/// Pixels of a part at least.
const LEAST_PIXELS: usize = 256;
/// Blocks that several of a GPU's processors share.
const MANY_BLOCKS: usize = 400;

/// Adds every convolution's gradients to where they belong. No two of them the same.
pub fn filter_gradients(filters: &[Layer], rounding: Rounding) {
    for filters in filters.chunks(MOST) {
        some_filter_gradients(filters, rounding);
    }
}

fn some_filter_gradients(filters: &[Layer], rounding: Rounding) {
    let Some(device) = filters.first().map(|filter| filter.grad.device()) else { return };
    // Kept until all is started.
    let whole: Vec<_> = filters.iter().map(|filter| [filter.grad, filter.input].map(whole_images)).collect();
    let mut jobs: Vec<Job> = Vec::new();
    for (filter, [(grad, grads_apart), (input, inputs_apart)]) in filters.iter().zip(&whole) {
        let taps = taps(&filter.weight);
        let ([count, m, height, width], [_, channels, ..]) = (images(grad), images(input));
        assert_eq!(images(input), [count, channels, height, width], "as many images as gradients");
        let (grad, input) = (grad.data_ptr().cast_const().cast(), input.data_ptr().cast_const().cast());
        jobs.push(Job {
            grad,
            input,
            m: int(m),
            n: int(channels * taps),
            k: int(count * height * width),
            height: int(height),
            width: int(width),
            taps: int(taps),
            grads_apart: int(*grads_apart),
            inputs_apart: int(*inputs_apart),
            ..NO_JOB
        });
    }
    let (rows, columns) = FILTER_TILE;
    let tiles = |job: &Job| (job.m as usize).div_ceil(rows) * (job.n as usize).div_ceil(columns);
    let all: usize = jobs.iter().map(tiles).sum();
    let mut parts = Vec::new();
    for job in &mut jobs {
        let most = (job.k as usize).div_ceil(LEAST_PIXELS).max(1);
        let splits = (MANY_BLOCKS / all.max(1)).clamp(1, most);
        let part = Tensor::empty([splits as i64, i64::from(job.m), i64::from(job.n) + 1], (Kind::Float, device));
        job.splits = int(splits);
        job.weight = part.data_ptr().cast();
        // In a column of the parts, whether it is wanted or not.
        job.bias = job.weight;
        parts.push(part);
    }
    gradients(Of::FilterGradient, &mut jobs, FILTER_TILE, rounding, device);
    let mut argument = Parts {
        jobs: [PartsJob {
            parts: std::ptr::null(),
            weight: std::ptr::null_mut(),
            bias: std::ptr::null_mut(),
            m: 0,
            n: 0,
            splits: 0,
            first_block: 0,
        }; MOST],
        count: int(jobs.len()),
    };
    let mut blocks = 0;
    for ((to, job), filter) in argument.jobs.iter_mut().zip(&jobs).zip(filters) {
        let (m, n) = (job.m as usize, job.n as usize);
        *to = PartsJob {
            parts: job.weight,
            weight: gradient_of(&filter.weight, m * n),
            bias: filter.bias.as_ref().map_or(std::ptr::null_mut(), |bias| gradient_of(bias, m)),
            m: job.m,
            n: job.n,
            splits: job.splits,
            first_block: int(blocks),
        };
        blocks += (m * (n + 1)).div_ceil(THREADS);
    }
    #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
    // SAFETY: the parts are as large as the jobs say, and so are gradients, which was checked.
    unsafe {
        launch(device, &SOURCE, &[Of::Parts as c_int, 0, 0, 0, 0], (blocks, 1), 0, &argument);
    }
}
