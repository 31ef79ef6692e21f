//! A coupling of vectors by an additive or an affine law, in one kernel each way: `coupling.cu`.

use std::ffi::c_int;

use tch::{Kind, Tensor};

use super::arguments::{int, read};
use super::launch::{Source, THREADS, launch};

const SOURCE: Source = Source {
    text: concat!(include_str!("sums.cuh"), include_str!("coupling.cu")),
    options: &["OF_COUPLING", "OF_WIDE"],
    number: 3,
};

/// Rows of a block, where each has a warp.
const ROWS: usize = THREADS / 32;
/// Coordinates from which on a row has a block.
const WIDE: usize = 128;
/// Bytes of a sum over a block.
const SHARED: usize = 64;

/// Which coordinates are kept.
#[derive(Debug, Clone, Copy)]
pub enum Places<'a> {
    /// The first half, the larger where there are two; flipped, the others.
    Halves {
        /// Whether these are changed rather than kept.
        flipped: bool,
    },
    /// Every other one, from the first; flipped, the others.
    Alternating {
        /// Whether these are changed rather than kept.
        flipped: bool,
    },
    /// By a number for each coordinate, `[D]` of kind i64, each of 0..D once: where it is among the kept ones, and behind these the
    /// changed ones.
    Listed(&'a Tensor),
}

/// How changed coordinates are changed, by the conditioner's output.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// `z = x + t`, of `[n, changed]`.
    Additive,
    /// `z = x exp(log_s) + t` with `log_s = bound tanh(raw)`, of `[n, 2 changed]`, raw and then t.
    Bounded(f64),
    /// The same with a bound for each, `[changed]`.
    BoundedBy(&'a Tensor),
}

/// A coupling and what it is given.
#[derive(Debug, Clone, Copy)]
pub struct Coupled<'a> {
    /// Which coordinates are kept.
    pub places: Places<'a>,
    /// How many are changed.
    pub changed: usize,
    /// How.
    pub change: Change<'a>,
    /// `[n, D]`, in rows: x, or on the way back to data z.
    pub input: &'a Tensor,
    /// The conditioner's output, in rows.
    pub parameters: &'a Tensor,
}

/// `struct Coupling` of `coupling.cu`.
#[repr(C)]
struct Coupling {
    x: *const f32,
    parameters: *const f32,
    bound: *const f32,
    fixed_bound: f32,
    z: *mut f32,
    log_det: *mut f32,
    grad_z: *const f32,
    grad_log_det: *const f32,
    grad_parameters: *mut f32,
    grad_bound: *mut f32,
    grad_kept: *const f32,
    grad_x: *mut f32,
    places: *const i64,
    rows: c_int,
    dim: c_int,
    changed: c_int,
    halves: c_int,
    flipped: c_int,
    affine: c_int,
}

impl Coupled<'_> {
    /// The output, and the log-determinant `[n]` where volume is not kept.
    pub fn forward(&self) -> (Tensor, Option<Tensor>) {
        self.either_way(0)
    }

    /// The same on the way back to data.
    pub fn inverse(&self) -> (Tensor, Option<Tensor>) {
        self.either_way(1)
    }

    fn either_way(&self, way: c_int) -> (Tensor, Option<Tensor>) {
        let options = (Kind::Float, self.input.device());
        let z = Tensor::empty(self.input.size(), options);
        let affine = !matches!(self.change, Change::Additive);
        let log_det = affine.then(|| Tensor::empty([self.input.size()[0]], options));
        self.run(way, |coupling| {
            coupling.z = z.data_ptr().cast();
            coupling.log_det = log_det.as_ref().map_or(std::ptr::null_mut(), |t| t.data_ptr().cast());
        });
        (z, log_det)
    }

    /// From the gradients of the output `[n, D]` and of the log-determinant `[n]`, both in rows, that of the parameters, and, where
    /// bounds are learned, what that of these is the sum of over rows, `[n, changed]`.
    pub fn parameters_back(&self, grad_z: &Tensor, grad_log_det: &Tensor) -> (Tensor, Option<Tensor>) {
        let rows = self.input.size()[0] as usize;
        let options = (Kind::Float, self.input.device());
        let grad = Tensor::empty(self.parameters.size(), options);
        let learned = matches!(self.change, Change::BoundedBy(_));
        let grad_bound = learned.then(|| Tensor::empty([rows as i64, self.changed as i64], options));
        self.run(2, |coupling| {
            coupling.grad_z = read(grad_z, self.input.numel(), self.input.device());
            coupling.grad_log_det = read(grad_log_det, rows, self.input.device());
            coupling.grad_parameters = grad.data_ptr().cast();
            coupling.grad_bound = grad_bound.as_ref().map_or(std::ptr::null_mut(), |t| t.data_ptr().cast());
        });
        (grad, grad_bound)
    }

    /// The gradient of the input `[n, D]`, from those of the output and, by the conditioner, of what is kept, `[n, kept]`.
    pub fn input_back(&self, grad_z: &Tensor, grad_kept: &Tensor) -> Tensor {
        let grad = Tensor::empty(self.input.size(), (Kind::Float, self.input.device()));
        let (rows, dim) = self.input.size2().expect("a matrix");
        self.run(3, |coupling| {
            coupling.grad_z = read(grad_z, self.input.numel(), self.input.device());
            coupling.grad_kept = read(grad_kept, rows as usize * (dim as usize - self.changed), self.input.device());
            coupling.grad_x = grad.data_ptr().cast();
        });
        grad
    }

    fn run(&self, way: c_int, pointers: impl Fn(&mut Coupling)) {
        let (rows, dim) = self.input.size2().expect("a matrix");
        let (rows, dim, device) = (rows as usize, dim as usize, self.input.device());
        let changed = match self.places {
            Places::Halves { flipped } | Places::Alternating { flipped } => dim / 2 + if flipped { dim % 2 } else { 0 },
            Places::Listed(_) => self.changed.min(dim),
        };
        assert_eq!(self.changed, changed, "as many coordinates as are changed");
        let (affine, each) = if matches!(self.change, Change::Additive) { (0, 1) } else { (1, 2) };
        let (fixed_bound, bound) = match self.change {
            Change::Additive => (0.0, std::ptr::null()),
            Change::Bounded(bound) => (bound as f32, std::ptr::null()),
            Change::BoundedBy(bound) => (0.0, read(bound, self.changed, device)),
        };
        let (halves, flipped, places) = match self.places {
            Places::Halves { flipped } => (1, flipped, std::ptr::null()),
            Places::Alternating { flipped } => (0, flipped, std::ptr::null()),
            Places::Listed(places) => {
                let right = places.kind() == Kind::Int64 && places.is_contiguous() && places.numel() == dim;
                let right = right && places.device() == device;
                assert!(right, "a place for each coordinate, not {places:?}");
                (0, false, places.data_ptr().cast_const().cast())
            }
        };
        let mut coupling = Coupling {
            x: read(self.input, rows * dim, device),
            parameters: read(self.parameters, rows * self.changed * each, device),
            bound,
            fixed_bound,
            z: std::ptr::null_mut(),
            log_det: std::ptr::null_mut(),
            grad_z: std::ptr::null(),
            grad_log_det: std::ptr::null(),
            grad_parameters: std::ptr::null_mut(),
            grad_bound: std::ptr::null_mut(),
            grad_kept: std::ptr::null(),
            grad_x: std::ptr::null_mut(),
            places,
            rows: int(rows),
            dim: int(dim),
            changed: int(self.changed),
            halves,
            flipped: c_int::from(flipped),
            affine,
        };
        pointers(&mut coupling);
        if rows * dim == 0 {
            return;
        }
        #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
        // SAFETY: every tensor is as large as the sizes say, which was checked.
        unsafe {
            let wide = dim >= WIDE;
            let blocks = if wide { rows } else { rows.div_ceil(ROWS) };
            launch(device, &SOURCE, &[way, c_int::from(wide)], blocks, SHARED, &coupling);
        }
    }
}
