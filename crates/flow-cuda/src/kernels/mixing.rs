//! ActNorm, and the matrix of a 1x1 convolution by its LU decomposition, in one kernel each way: `mixing.cu`.

use std::ffi::c_int;

use tch::{Device, Kind, Tensor};

use super::arguments::{int, read, write_if};
use super::launch::{Source, THREADS, launch};

const SOURCE: Source =
    Source { text: concat!(include_str!("sums.cuh"), include_str!("mixing.cu")), options: &["OF_MIXING"], number: 4 };

/// Bytes of a sum over a block.
const SHARED: usize = 64;
/// Numbers of a thread.
const OF_A_THREAD: usize = 4;

/// A scale and a shift a channel.
#[derive(Debug, Clone, Copy)]
pub struct ActNorm<'a> {
    /// `[channels]`.
    pub log_scale: &'a Tensor,
    /// `[channels]`.
    pub shift: &'a Tensor,
}

/// The gradients of a [`ActNorm`], to be added to.
#[derive(Debug)]
pub struct ActNormGradients {
    /// `[channels]`.
    pub log_scale: Option<Tensor>,
    /// `[channels]`.
    pub shift: Option<Tensor>,
}

#[repr(C)]
struct ActNormArgument {
    x: *const f32,
    log_scale: *const f32,
    shift: *const f32,
    z: *mut f32,
    log_det: *mut f32,
    grad_z: *const f32,
    grad_log_det: *const f32,
    grad_x: *mut f32,
    grad_log_scale: *mut f32,
    grad_shift: *mut f32,
    rows: c_int,
    channels: c_int,
    places: c_int,
}

/// Of `x: [n, channels, ..]`.
fn sizes(x: &Tensor) -> [usize; 3] {
    let size = x.size();
    [size[0] as usize, size[1] as usize, size[2..].iter().map(|&n| n as usize).product()]
}

impl ActNorm<'_> {
    fn argument(&self, x: &Tensor) -> ActNormArgument {
        let [rows, channels, places] = sizes(x);
        // What a channel has is counted together.
        let _ = int(rows * places);
        ActNormArgument {
            x: read(x, x.numel(), x.device()),
            log_scale: read(self.log_scale, channels, x.device()),
            shift: read(self.shift, channels, x.device()),
            z: std::ptr::null_mut(),
            log_det: std::ptr::null_mut(),
            grad_z: std::ptr::null(),
            grad_log_det: std::ptr::null(),
            grad_x: std::ptr::null_mut(),
            grad_log_scale: std::ptr::null_mut(),
            grad_shift: std::ptr::null_mut(),
            rows: int(rows),
            channels: int(channels),
            places: int(places),
        }
    }

    /// `((x + shift) exp(log_scale), log-determinant [n])` of `x: [n, channels, ..]`, in rows.
    pub fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
        self.either_way(0, x)
    }

    /// The way back to data.
    pub fn inverse(&self, z: &Tensor) -> (Tensor, Tensor) {
        self.either_way(1, z)
    }

    fn either_way(&self, way: c_int, x: &Tensor) -> (Tensor, Tensor) {
        let options = (Kind::Float, x.device());
        let (z, log_det) = (Tensor::empty(x.size(), options), Tensor::empty([x.size()[0]], options));
        let mut argument = self.argument(x);
        argument.z = z.data_ptr().cast();
        argument.log_det = log_det.data_ptr().cast();
        start(x.device(), way, x.numel().div_ceil(OF_A_THREAD * THREADS), &argument);
        (z, log_det)
    }

    /// The gradient of `x`, from those of z, of its size, and of the log-determinant, `[n]`, all in rows; the parameters' are added
    /// to `gradients`.
    pub fn backward(&self, x: &Tensor, grad_z: &Tensor, grad_log_det: &Tensor, gradients: &ActNormGradients) -> Tensor {
        let [rows, channels, _] = sizes(x);
        let grad_x = Tensor::empty(x.size(), (Kind::Float, x.device()));
        let mut argument = self.argument(x);
        argument.grad_z = read(grad_z, x.numel(), x.device());
        argument.grad_log_det = read(grad_log_det, rows, x.device());
        argument.grad_x = grad_x.data_ptr().cast();
        argument.grad_log_scale = write_if(gradients.log_scale.as_ref(), channels, x.device());
        argument.grad_shift = write_if(gradients.shift.as_ref(), channels, x.device());
        start(x.device(), 2, channels, &argument);
        grad_x
    }
}

/// `W = P L (U + diag(sign * exp(log_diagonal)))`.
#[derive(Debug, Clone, Copy)]
pub struct Lu<'a> {
    /// `[c, c]`, of which the strict triangle counts.
    pub lower: &'a Tensor,
    /// Likewise.
    pub upper: &'a Tensor,
    /// `[c]`.
    pub log_diagonal: &'a Tensor,
    /// `[c]`.
    pub sign: &'a Tensor,
    /// `[c]` of kind i64, each of 0..c once: row i of `W` is row `order[i]` of the product of the triangles.
    pub order: &'a Tensor,
}

/// The gradients of a [`Lu`], to be added to.
#[derive(Debug)]
pub struct LuGradients {
    /// `[c, c]`.
    pub lower: Option<Tensor>,
    /// `[c, c]`.
    pub upper: Option<Tensor>,
    /// `[c]`.
    pub log_diagonal: Option<Tensor>,
}

#[repr(C)]
struct LuArgument {
    lower: *const f32,
    upper: *const f32,
    log_diagonal: *const f32,
    sign: *const f32,
    order: *const i64,
    matrix: *mut f32,
    log_det: *mut f32,
    grad_matrix: *const f32,
    grad_log_det: *const f32,
    grad_lower: *mut f32,
    grad_upper: *mut f32,
    grad_log_diagonal: *mut f32,
    channels: c_int,
    rows: c_int,
    places: c_int,
}

impl Lu<'_> {
    fn channels(&self) -> usize {
        self.sign.numel()
    }

    fn argument(&self, rows: usize, places: usize) -> LuArgument {
        let c = self.channels();
        let (order, device) = (self.order, self.sign.device());
        let right = order.kind() == Kind::Int64 && order.is_contiguous() && order.numel() == c;
        assert!(right && order.device() == device, "an order of rows, not {order:?}");
        LuArgument {
            lower: read(self.lower, c * c, device),
            upper: read(self.upper, c * c, device),
            log_diagonal: read(self.log_diagonal, c, device),
            sign: read(self.sign, c, device),
            order: order.data_ptr().cast_const().cast(),
            matrix: std::ptr::null_mut(),
            log_det: std::ptr::null_mut(),
            grad_matrix: std::ptr::null(),
            grad_log_det: std::ptr::null(),
            grad_lower: std::ptr::null_mut(),
            grad_upper: std::ptr::null_mut(),
            grad_log_diagonal: std::ptr::null_mut(),
            channels: int(c),
            rows: int(rows),
            places: int(places),
        }
    }

    /// `W: [c, c]`, and `ln|det W|` times `places` for each of `rows`, `[rows]`.
    pub fn matrix(&self, rows: usize, places: usize) -> (Tensor, Tensor) {
        let (c, options) = (self.channels(), (Kind::Float, self.sign.device()));
        let matrix = Tensor::empty([c as i64, c as i64], options);
        let log_det = Tensor::empty([rows as i64], options);
        let mut argument = self.argument(rows, places);
        argument.matrix = matrix.data_ptr().cast();
        argument.log_det = log_det.data_ptr().cast();
        start(self.sign.device(), 3, (c * c).div_ceil(THREADS), &argument);
        (matrix, log_det)
    }

    /// Adds the parameters' gradients to `gradients`, from that of `W: [c, c]` and those of the log-determinants, `[rows]`.
    pub fn backward(&self, grad_matrix: &Tensor, grad_log_det: &Tensor, places: usize, gradients: &LuGradients) {
        let (c, rows) = (self.channels(), grad_log_det.numel());
        let mut argument = self.argument(rows, places);
        argument.grad_matrix = read(grad_matrix, c * c, self.sign.device());
        argument.grad_log_det = read(grad_log_det, rows, self.sign.device());
        argument.grad_lower = write_if(gradients.lower.as_ref(), c * c, self.sign.device());
        argument.grad_upper = write_if(gradients.upper.as_ref(), c * c, self.sign.device());
        argument.grad_log_diagonal = write_if(gradients.log_diagonal.as_ref(), c, self.sign.device());
        start(self.sign.device(), 4, (c * c).div_ceil(THREADS), &argument);
    }
}

fn start<A>(device: Device, way: c_int, blocks: usize, argument: &A) {
    if blocks == 0 {
        return;
    }
    #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
    // SAFETY: every tensor is as large as the sizes say, which was checked.
    unsafe {
        launch(device, &SOURCE, &[way], blocks, SHARED, argument);
    }
}
