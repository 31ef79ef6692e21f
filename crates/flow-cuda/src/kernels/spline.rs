//! The spline law of a coupling in one kernel each way: `spline.cu`.

use std::ffi::c_int;

use tch::{Kind, Tensor};

use super::arguments::{int, read, whole_rows};
use super::launch::{Source, THREADS, launch};

const SOURCE: Source = Source { text: include_str!("spline.cu"), options: &["OF_WAY", "OF_BINS"], number: 1 };

/// Bins that a thread holds in its registers.
const MOST_BINS: usize = 16;

/// Whether there are kernels for so many bins; emulated ones are for 8 alone.
pub fn spline_has(bins: usize, x: &Tensor) -> bool {
    if x.device().is_cuda() { (1..=MOST_BINS).contains(&bins) } else { bins == 8 }
}

/// `struct Spline` of `spline.cu`.
#[repr(C)]
struct Spline {
    x: *const f32,
    parameters: *const f32,
    z: *mut f32,
    log_slope: *mut f32,
    grad_z: *const f32,
    grad_log_slope: *const f32,
    grad_x: *mut f32,
    grad_parameters: *mut f32,
    rows: c_int,
    changed: c_int,
    places: c_int,
    x_apart: c_int,
    grad_z_apart: c_int,
    log_slopes_apart: c_int,
    of_rows: c_int,
}

/// What the way back of the law needs beside its input.
#[derive(Debug, Clone, Copy)]
pub struct SplineGradients<'a> {
    /// The gradient of z, of its shape.
    pub z: &'a Tensor,
    /// That of ln dz/dx, of the same shape or with one number for each row, `[n, 1, ..]`.
    pub log_slope: &'a Tensor,
}

/// `(z, ln dz/dx)` for `x: [n, changed, ..]` and `parameters: [n, (3 bins + 1) * changed, ..]`.
pub fn spline_forward(x: &Tensor, parameters: &Tensor, bins: usize) -> (Tensor, Tensor) {
    either_way(0, x, parameters, bins)
}

/// `(x, ln dz/dx)` for `z: [n, changed, ..]`.
pub fn spline_inverse(z: &Tensor, parameters: &Tensor, bins: usize) -> (Tensor, Tensor) {
    either_way(1, z, parameters, bins)
}

fn either_way(way: c_int, x: &Tensor, parameters: &Tensor, bins: usize) -> (Tensor, Tensor) {
    let [z, log_slope] = [(); 2].map(|()| Tensor::empty(x.size(), (Kind::Float, x.device())));
    let pointers = |spline: &mut Spline| {
        spline.z = z.data_ptr().cast();
        spline.log_slope = log_slope.data_ptr().cast();
    };
    run(way, x, parameters, bins, pointers);
    (z, log_slope)
}

/// The gradients of `x` and of `parameters`.
pub fn spline_backward(x: &Tensor, parameters: &Tensor, bins: usize, grads: SplineGradients) -> (Tensor, Tensor) {
    let grad_x = Tensor::empty(x.size(), (Kind::Float, x.device()));
    let grad_parameters = Tensor::empty(parameters.size(), (Kind::Float, x.device()));
    let (grad_z, grad_z_apart) = whole_rows(grads.z);
    let of_rows = grads.log_slope.numel() == x.size()[0] as usize && x.numel() != grads.log_slope.numel();
    let (grad_log_slope, log_slopes_apart) = whole_rows(grads.log_slope);
    assert_eq!(grad_z.size(), x.size(), "a gradient of the result's size");
    assert!(of_rows || grad_log_slope.size() == x.size(), "a gradient of each slope, or of each row");
    let pointers = |spline: &mut Spline| {
        spline.grad_z = grad_z.data_ptr().cast_const().cast();
        spline.grad_log_slope = grad_log_slope.data_ptr().cast_const().cast();
        spline.grad_x = grad_x.data_ptr().cast();
        spline.grad_parameters = grad_parameters.data_ptr().cast();
        spline.grad_z_apart = int(grad_z_apart);
        spline.log_slopes_apart = int(log_slopes_apart);
        spline.of_rows = c_int::from(of_rows);
    };
    run(2, x, parameters, bins, pointers);
    (grad_x, grad_parameters)
}

fn run(way: c_int, x: &Tensor, parameters: &Tensor, bins: usize, pointers: impl Fn(&mut Spline)) {
    let size = x.size();
    let [rows, changed] = [size[0], size[1]].map(|n| n as usize);
    let places: usize = size[2..].iter().map(|&n| n as usize).product();
    assert_eq!(parameters.numel(), x.numel() * (3 * bins + 1), "as many parameters as the law takes");
    let ((x, x_apart), parameters) = (whole_rows(x), parameters.contiguous());
    let mut spline = Spline {
        x: x.data_ptr().cast_const().cast(),
        parameters: read(&parameters, x.numel() * (3 * bins + 1), x.device()),
        z: std::ptr::null_mut(),
        log_slope: std::ptr::null_mut(),
        grad_z: std::ptr::null(),
        grad_log_slope: std::ptr::null(),
        grad_x: std::ptr::null_mut(),
        grad_parameters: std::ptr::null_mut(),
        rows: int(rows),
        changed: int(changed),
        places: int(places),
        x_apart: int(x_apart),
        grad_z_apart: 0,
        log_slopes_apart: 0,
        of_rows: 0,
    };
    pointers(&mut spline);
    let blocks = x.numel().div_ceil(THREADS);
    if blocks == 0 {
        return;
    }
    #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
    // SAFETY: every tensor is as large as the sizes say, which was checked.
    unsafe {
        launch(x.device(), &SOURCE, &[way, int(bins)], blocks, 0, &spline);
    }
}
