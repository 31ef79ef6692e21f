//! The gradients of many layers or convolutions at once: `products.cu`.

use std::ffi::c_int;

use tch::{Device, Kind, Tensor};

use super::arguments::{int, read, whole_rows, write_if};
use super::launch::{THREADS, launch};
use super::products::{Of, Rounding, SOURCE, images, matrix, precision, shared, taps, tile};

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
    // Of no inputs there is still a bias.
    let tiles = |job: &Job| (job.m as usize).div_ceil(rows) * (job.n as usize).div_ceil(columns).max(1);
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
        launch(device, &SOURCE, &options, blocks, shared(of, tile, rounding), &argument);
    }
    if added.is_empty() {
        return;
    }
    let mut argument = Parts { jobs: [NO_PARTS; MOST], count: int(added.len()) };
    argument.jobs[..added.len()].copy_from_slice(&added);
    #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
    // SAFETY: the parts are as large as the jobs say, and so are gradients.
    unsafe {
        launch(device, &SOURCE, &[Of::Parts as c_int, 0, 0, 0, 0], blocks_behind, 0, &argument);
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
        let Some(first) = layers.first() else { return };
        // Kept until all is started.
        let whole: Vec<_> = layers.iter().map(|layer| [layer.grad, layer.input].map(whole_rows)).collect();
        let mut jobs: Vec<Job> = layers.iter().zip(&whole).map(|(layer, whole)| layer_job(layer, whole)).collect();
        let sizes: Vec<_> = jobs.iter().map(|job| (job.m as usize, job.n as usize)).collect();
        let long = jobs.iter().all(|job| job.k as usize >= 2 * LEAST_OF_A_PART);
        // Of long sums there are enough blocks by splits.
        let tile = if long { (64, 64) } else { tile(Of::LayerGradient, &sizes, rounding, first.grad.device()) };
        gradients(Of::LayerGradient, &mut jobs, tile, rounding, first.grad.device());
    }
}

fn layer_job(layer: &Layer, [(grad, grads_apart), (input, inputs_apart)]: &[(Tensor, usize); 2]) -> Job {
    let ((k, m), (rows, n)) = (matrix(grad), matrix(input));
    assert_eq!(k, rows, "as many inputs as gradients");
    Job {
        grad: grad.data_ptr().cast_const().cast(),
        input: input.data_ptr().cast_const().cast(),
        weight: read(&layer.weight, m * n, grad.device()).cast_mut(),
        bias: write_if(layer.bias.as_ref(), m, grad.device()),
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
        let whole: Vec<_> = filters.iter().map(|filter| [filter.grad, filter.input].map(whole_rows)).collect();
        let mut jobs: Vec<Job> = filters.iter().zip(&whole).map(|(filter, whole)| filter_job(filter, whole)).collect();
        let Some(first) = filters.first() else { return };
        gradients(Of::FilterGradient, &mut jobs, FILTER_TILE, rounding, first.grad.device());
    }
}

fn filter_job(filter: &Layer, [(grad, grads_apart), (input, inputs_apart)]: &[(Tensor, usize); 2]) -> Job {
    let taps = taps(&filter.weight);
    let ([count, m, height, width], [_, channels, ..]) = (images(grad), images(input));
    assert_eq!(images(input), [count, channels, height, width], "as many images as gradients");
    Job {
        grad: grad.data_ptr().cast_const().cast(),
        input: input.data_ptr().cast_const().cast(),
        weight: read(&filter.weight, m * channels * taps, grad.device()).cast_mut(),
        bias: write_if(filter.bias.as_ref(), m, grad.device()),
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
