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
    text: concat!(include_str!("sums.cuh"), include_str!("products.cu")),
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
    ShortSums,
    SumsByWarps,
}

/// Rows and columns of a block's tile, and which part of its time goes into multiplying: a large one reads each number fewer
/// times.
const TILES: [(usize, usize, f64); 4] = [(64, 64, 1.0), (64, 32, 0.9), (32, 32, 0.75), (16, 32, 0.5)];
/// Blocks that are computed at once, one on each processor of a large GPU.
const AT_ONCE: f64 = 132.0;

/// The tile by which products of these rows and columns take the least time.
fn tile(products: &[(usize, usize)]) -> (usize, usize) {
    let cost = |&(rows, columns, share): &(usize, usize, f64)| {
        let blocks: usize = products.iter().map(|&(m, n)| m.div_ceil(rows) * n.div_ceil(columns)).sum();
        (blocks as f64 / AT_ONCE).max(1.0) * (rows * columns) as f64 / share
    };
    let least = TILES.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)));
    least.map(|&(rows, columns, _)| (rows, columns)).expect("there are some")
}

/// Bytes of shared memory, as `Shape` in `products.cu` has it.
fn shared(of: Of, (rows, columns): (usize, usize), rounding: Rounding) -> usize {
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
    apart: c_int,
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
        apart: int(apart),
        after: flags.iter().map(|&(on, bit)| if on { bit } else { 0 }).sum(),
        slope: then.slope,
    };
    if let Some((thin, blocks)) = thin(sizes) {
        let options = [thin as c_int, of as c_int, 0, precision(rounding), 1];
        #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
        // SAFETY: as below.
        unsafe {
            launch(a.device(), &SOURCE, &options, (blocks, 1), 0, &argument);
        }
        return (first, second);
    }
    let (rows, columns) = tile(&[(m, n)]);
    let options = [of as c_int, int(rows), int(columns), precision(rounding), int(taps)];
    let grid = (m.div_ceil(rows), n.div_ceil(columns));
    #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
    // SAFETY: every tensor is as large as the sizes say: checked here and by the callers.
    unsafe {
        launch(a.device(), &SOURCE, &options, grid, shared(of, (rows, columns), rounding), &argument);
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

fn matrix(t: &Tensor) -> (usize, usize) {
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
fn images(t: &Tensor) -> [usize; 4] {
    let size = t.size();
    <[i64; 4]>::try_from(size).expect("images [n, channels, h, w]").map(|n| n as usize)
}

fn taps(weight: &Tensor) -> usize {
    let [_, _, height, width] = images(weight);
    assert!(height == width && (height == 1 || height == 3), "filters of 1 x 1 or 3 x 3, not of {height} x {width}");
    height * width
}

/// Rows whose numbers are neighbours, with how many there are from one to the next: some columns of a wider matrix are such.
fn whole_rows(t: &Tensor) -> (Tensor, usize) {
    let ((rows, columns), stride) = (matrix(t), t.stride());
    assert_eq!(t.kind(), Kind::Float, "a kernel reads f32");
    if (columns <= 1 || stride[1] == 1) && (rows <= 1 || stride[0] >= columns as i64) {
        return (t.shallow_clone(), if rows <= 1 { columns } else { stride[0] as usize });
    }
    (t.contiguous(), columns)
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
    let sizes = Sizes { of, m: count * height * width, n: to, k: from * taps, apart, images: [height, width, taps] };
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

/// Of a part of a sum that is split: so many rows or pixels at least.
const LEAST_OF_A_PART: usize = 256;
/// Blocks that a sum is cut into parts for, with tiles and parts together: of layers, and of filters, whose parts are many and short.
const MANY_BLOCKS: usize = 400;
const MANY_OF_FILTERS: usize = 264;

/// Starts all jobs, those with long sums in parts that are added up behind, and these where they belong.
fn gradients(of: Of, jobs: &mut [Job], tile: (usize, usize), rounding: Rounding, device: Device) {
    let (rows, columns) = tile;
    let tiles = |job: &Job| (job.m as usize).div_ceil(rows) * (job.n as usize).div_ceil(columns);
    let all: usize = jobs.iter().map(tiles).sum();
    let many = if of == Of::FilterGradient { MANY_OF_FILTERS } else { MANY_BLOCKS };
    let mut added: Vec<PartsJob> = Vec::new();
    // Kept until all is started.
    let mut parts = Vec::new();
    let (mut blocks, mut blocks_behind) = (0, 0);
    for job in jobs.iter_mut() {
        let (m, n) = (job.m as usize, job.n as usize);
        let splits = (many / all.max(1)).clamp(1, (job.k as usize / LEAST_OF_A_PART).max(1));
        job.splits = int(splits);
        job.first_block = int(blocks);
        blocks += tiles(job) * splits;
        if splits > 1 {
            let part = Tensor::empty([splits, m, n + 1].map(|n| n as i64), (Kind::Float, device));
            let first_block = int(blocks_behind);
            blocks_behind += (m * (n + 1)).div_ceil(THREADS);
            let (weight, bias) = (job.weight, job.bias);
            job.weight = part.data_ptr().cast();
            // In a column of the parts, whether it is wanted or not.
            job.bias = job.weight;
            added.push(PartsJob {
                parts: job.weight,
                weight,
                bias,
                m: job.m,
                n: job.n,
                splits: job.splits,
                first_block,
            });
            parts.push(part);
        }
    }
    if blocks == 0 {
        return;
    }
    let mut argument = Gradients { jobs: [NO_JOB; MOST], count: int(jobs.len()) };
    argument.jobs[..jobs.len()].copy_from_slice(jobs);
    let options = [of as c_int, int(rows), int(columns), precision(rounding), 1];
    #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
    // SAFETY: every tensor is as large as the job says: checked where jobs are made.
    unsafe {
        launch(device, &SOURCE, &options, (blocks, 1), shared(of, tile, rounding), &argument);
    }
    if added.is_empty() {
        return;
    }
    let mut argument = Parts { jobs: [NO_PARTS; MOST], count: int(added.len()) };
    argument.jobs[..added.len()].copy_from_slice(&added);
    #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
    // SAFETY: the parts are as large as the jobs say, and so are gradients.
    unsafe {
        launch(device, &SOURCE, &[Of::Parts as c_int, 0, 0, 0, 0], (blocks_behind, 1), 0, &argument);
    }
}

const NO_PARTS: PartsJob = PartsJob {
    parts: std::ptr::null(),
    weight: std::ptr::null_mut(),
    bias: std::ptr::null_mut(),
    m: 0,
    n: 0,
    splits: 0,
    first_block: 0,
};

/// Adds every layer's gradients to where they belong: `gradᵀ input`, and the sum of `grad` over rows. No two of them the same.
pub fn layer_gradients(layers: &[Layer], rounding: Rounding) {
    for layers in layers.chunks(MOST) {
        // Kept until all is started.
        let whole: Vec<_> = layers.iter().map(|layer| [layer.grad, layer.input].map(whole_rows)).collect();
        let mut jobs: Vec<Job> = layers.iter().zip(&whole).map(|(layer, whole)| layer_job(layer, whole)).collect();
        let sizes: Vec<_> = jobs.iter().map(|job| (job.m as usize, job.n as usize)).collect();
        let long = jobs.iter().all(|job| job.k as usize >= 2 * LEAST_OF_A_PART);
        // Of long sums there are enough blocks by splits.
        let tile = if long { (64, 64) } else { tile(&sizes) };
        let Some(first) = layers.first() else { return };
        gradients(Of::LayerGradient, &mut jobs, tile, rounding, first.grad.device());
    }
}

fn layer_job(layer: &Layer, [(grad, grads_apart), (input, inputs_apart)]: &[(Tensor, usize); 2]) -> Job {
    let ((k, m), (rows, n)) = (matrix(grad), matrix(input));
    assert_eq!(k, rows, "as many inputs as gradients");
    Job {
        grad: grad.data_ptr().cast_const().cast(),
        input: input.data_ptr().cast_const().cast(),
        weight: gradient_of(&layer.weight, m * n),
        bias: layer.bias.as_ref().map_or(std::ptr::null_mut(), |bias| gradient_of(bias, m)),
        m: int(m),
        n: int(n),
        k: int(k),
        grads_apart: int(*grads_apart),
        inputs_apart: int(*inputs_apart),
        ..NO_JOB
    }
}

/// The tile of filters' gradients, which have few rows and columns and many pixels.
const FILTER_TILE: (usize, usize) = (32, 32);

/// Adds every convolution's gradients to where they belong. No two of them the same.
pub fn filter_gradients(filters: &[Layer], rounding: Rounding) {
    for filters in filters.chunks(MOST) {
        // Kept until all is started.
        let whole: Vec<_> = filters.iter().map(|filter| [filter.grad, filter.input].map(whole_images)).collect();
        let mut jobs: Vec<Job> = filters.iter().zip(&whole).map(|(filter, whole)| filter_job(filter, whole)).collect();
        let Some(first) = filters.first() else { return };
        gradients(Of::FilterGradient, &mut jobs, FILTER_TILE, rounding, first.grad.device());
    }
}

fn filter_job(filter: &Layer, [(grad, grads_apart), (input, inputs_apart)]: &[(Tensor, usize); 2]) -> Job {
    let taps = taps(&filter.weight);
    let ([count, m, height, width], [_, channels, ..]) = (images(grad), images(input));
    assert_eq!(images(input), [count, channels, height, width], "as many images as gradients");
    assert!(grad.kind() == Kind::Float && input.kind() == Kind::Float, "a kernel reads f32");
    Job {
        grad: grad.data_ptr().cast_const().cast(),
        input: input.data_ptr().cast_const().cast(),
        weight: gradient_of(&filter.weight, m * channels * taps),
        bias: filter.bias.as_ref().map_or(std::ptr::null_mut(), |bias| gradient_of(bias, m)),
        m: int(m),
        n: int(channels * taps),
        k: int(count * height * width),
        height: int(height),
        width: int(width),
        taps: int(taps),
        grads_apart: int(*grads_apart),
        inputs_apart: int(*inputs_apart),
        ..NO_JOB
    }
}
