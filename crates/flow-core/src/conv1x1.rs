//! The invertible 1x1 convolution: a learned mixing of the channels.

use flow_cuda::kernels::{Layer, Lu, LuGradients, Rounding, Then, filter, filter_back, filter_gradients};
use flow_dense::{mix_channels, mix_channels_gradient};
use tch::{Device, Kind, Tensor, nn};

use crate::backward::Taped;
use crate::dense::{self, NewTensor, numbers};
use crate::lu::PlainLu;
use crate::plain::{in_shares, is_plain};
use crate::product::conv2d_exact;
use crate::shape::{pixels, same_log_det};
use crate::{Backward, Bijection, Gradients, Inspection, Kept, Scales, gpu, rng};

/// One matrix for every pixel (Glow, section 3.2), on batches `[n, c, ..]`; on vectors `[n, c]` a linear map:
///
/// ```text
/// z[:, :, p] = W x[:, :, p]        log_det = (number of pixels) * ln|det W|
/// ```
///
/// Both forms start as a random rotation: every direction is kept in length, and `ln|det W| = 0`.
#[derive(Debug)]
pub struct Conv1x1 {
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// `W` itself, `[c, c]`.
    Plain { matrix: Tensor },
    /// `W = P L (U + diag(sign * exp(log_diagonal)))`.
    Lu { order: Tensor, lower: Tensor, upper: Tensor, log_diagonal: Tensor, sign: Tensor },
}

impl Conv1x1 {
    /// The matrix as a parameter of its own, `path/matrix`, `[c, c]`. Each step takes its determinant, and its inverse
    /// where the inverse is asked for, in O(c³).
    pub fn plain(path: &nn::Path, channels: usize, seed: u64) -> Self {
        let matrix = path.add("matrix", like(path, &rotation(channels, seed)), true);
        Conv1x1 { form: Form::Plain { matrix } }
    }

    /// The matrix by its LU decomposition (Glow, equation 10): parameters `path/lower` and `path/upper`, `[c, c]`, of
    /// which the strict triangles count, and `path/log_diagonal`, `[c]`; fixed are `path/sign`, `[c]`, and the rows'
    /// permutation `path/order`. The log-determinant is a sum, the inverse two substitutions.
    pub fn lu(path: &nn::Path, channels: usize, seed: u64) -> Self {
        let (p, lower, upper) = Tensor::linalg_lu(&rotation(channels, seed), true);
        let diagonal = upper.diagonal(0, 0, 1).copy();
        let order = p.argmax(1, false).to_device(path.device());
        Conv1x1 {
            form: Form::Lu {
                order: path.add("order", order, false),
                lower: path.add("lower", like(path, &lower.tril(-1)), true),
                upper: path.add("upper", like(path, &upper.triu(1)), true),
                log_diagonal: path.add("log_diagonal", like(path, &diagonal.abs().log()), true),
                sign: path.add("sign", like(path, &diagonal.sign()), false),
            },
        }
    }

    /// `W` and `ln|det W|`.
    fn matrix(&self) -> (Tensor, Tensor) {
        match &self.form {
            Form::Plain { matrix } => (matrix.shallow_clone(), matrix.slogdet().1),
            Form::Lu { order, log_diagonal, .. } => {
                let (lower, upper) = self.triangles();
                (lower.matmul(&upper).index_select(0, order), log_diagonal.sum(None::<Kind>))
            }
        }
    }

    /// The decomposition as plain numbers, where [`flow_dense`] computes on images `x: [n, c, h, w]` of so few channels that products of
    /// `[c, c]` matrices are little beside the images.
    fn plain_lu(&self, x: &Tensor) -> Option<PlainLu<'_>> {
        let Form::Lu { order, lower, upper, log_diagonal, sign } = &self.form else { return None };
        let channels = sign.size()[0];
        let fits = channels <= MOST_CHANNELS && x.dim() == 4 && x.size()[1] == channels;
        if !(fits && dense::applies(x) && [lower, upper, log_diagonal, sign].into_iter().all(is_plain)) {
            return None;
        }
        let order = Vec::<i64>::try_from(order).expect("a list of rows");
        let diagonal =
            numbers(sign).iter().zip(numbers(log_diagonal)).map(|(&s, &log)| f64::from(s) * f64::from(log).exp());
        let log_det = numbers(log_diagonal).iter().map(|&log| f64::from(log)).sum();
        Some(PlainLu { order, lower: numbers(lower), upper: numbers(upper), diagonal: diagonal.collect(), log_det })
    }

    /// The decomposition in the terms of kernels, where they compute on images `x: [n, c, h, w]`.
    fn on_gpu(&self, x: &Tensor) -> Option<Lu<'_>> {
        let Form::Lu { order, lower, upper, log_diagonal, sign } = &self.form else { return None };
        let fits = x.dim() == 4 && x.size()[1] == sign.size()[0] && gpu::applies(x);
        fits.then_some(Lu { lower, upper, log_diagonal, sign, order })
    }

    /// `W⁻¹` and `-ln|det W|`; numbers that are not finite where there is no inverse.
    fn inverse_matrix(&self) -> (Tensor, Tensor) {
        match &self.form {
            Form::Plain { matrix } => {
                // Without an inverse the numbers would be those of a decomposition left half done.
                let (inverse, fault) = Tensor::linalg_inv_ex(matrix, false);
                (inverse.masked_fill(&fault.ne(0), f64::NAN), matrix.slogdet().1.neg())
            }
            Form::Lu { order, log_diagonal, .. } => {
                let (lower, upper) = self.triangles();
                // Pᵀ: the rows of the identity where `order` has taken them from.
                let eye = Tensor::eye(order.size()[0], (lower.kind(), lower.device()));
                let transposed = eye.index_select(0, &order.argsort(0, false));
                let half = Tensor::linalg_solve_triangular(&lower, &transposed, false, true, true);
                let inverse = Tensor::linalg_solve_triangular(&upper, &half, true, true, false);
                (inverse, log_diagonal.sum(None::<Kind>).neg())
            }
        }
    }

    /// `(L, U)` with their diagonals.
    fn triangles(&self) -> (Tensor, Tensor) {
        let Form::Lu { lower, upper, log_diagonal, sign, .. } = &self.form else {
            unreachable!("asked for in the LU form alone")
        };
        let eye = Tensor::eye(sign.size()[0], (lower.kind(), lower.device()));
        let diagonal = (sign * log_diagonal.exp()).diag_embed(0, 0, 1);
        (lower.tril(-1) + eye, upper.triu(1) + diagonal)
    }
}

/// `x: [n, c, ..]` with `matrix: [c, c]` at every pixel, and `log_det` times the number of pixels, `[n]`.
fn apply(x: &Tensor, (matrix, log_det): (Tensor, Tensor)) -> (Tensor, Tensor) {
    let size = x.size();
    let (n, channels) = (size[0], matrix.size()[0]);
    assert!(size[1] == channels, "a 1x1 convolution of {channels} channels was given a batch {size:?}");
    let pixels: i64 = size[2..].iter().product();
    let z = match size.len() {
        2 => x.matmul(&matrix.tr()),
        4 => conv2d_exact(x, &matrix.reshape([channels, channels, 1, 1]), None),
        _ => matrix.matmul(&x.reshape([n, channels, pixels])).reshape(&size),
    };
    (z, (log_det * pixels as f64).unsqueeze(0).expand([n], false))
}

fn as_filters(matrix: &Tensor) -> Tensor {
    let c = matrix.size()[0];
    matrix.reshape([c, c, 1, 1])
}

/// Channels up to which images are mixed by [`flow_dense`], and the matrix made and inverted by [`PlainLu`] in O(c³) plain steps.
const MOST_CHANNELS: i64 = 64;

/// `x: [n, c, h, w]` with a matrix at every pixel.
fn mix(x: &Tensor, matrix: &[f32]) -> Tensor {
    let (x, pixels) = (x.contiguous(), pixels(x));
    let each = x.size()[1] as usize * pixels;
    let mut z = NewTensor::empty(&x.size());
    let from = numbers(&x);
    in_shares(x.size()[0] as usize, [(z.numbers_mut(), each)], |first, [to]| {
        mix_channels(&from[first * each..][..to.len()], pixels, matrix, each / pixels, to);
    });
    z.done()
}

struct PlainBack<'a> {
    form: &'a Form,
    lu: PlainLu<'a>,
    matrix: Vec<f32>,
    x: Tensor,
}

impl Backward for PlainBack<'_> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let PlainBack { form, lu, matrix, x } = *self;
        let Form::Lu { lower, upper, log_diagonal, .. } = form else { unreachable!("made of the LU form alone") };
        let (c, pixels) = (lu.size(), pixels(&x));
        let grad = grad_value.contiguous();
        let of_matrix = mix_channels_gradient(numbers(&grad), numbers(&x), pixels, c, c);
        let of_log_det = grad_log_det.sum(Kind::Double).double_value(&[]) * pixels as f64;
        let own = lu.gradients(&of_matrix, of_log_det);
        // Not before all of them was read: an optimizer may take its step on the spot.
        for (parameter, of) in [(lower, own.lower), (upper, own.upper), (log_diagonal, own.log_diagonal)] {
            gradients.give(parameter, &Tensor::from_slice(&of).view(&parameter.size()[..]));
        }
        let transposed: Vec<f32> = (0..c * c).map(|i| matrix[i % c * c + i / c]).collect();
        wanted.then(|| mix(&grad, &transposed))
    }
}

struct OnGpuBack<'a> {
    lu: Lu<'a>,
    filters: Tensor,
    x: Tensor,
}

impl Backward for OnGpuBack<'_> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let OnGpuBack { lu, filters, x } = *self;
        let of_filters = Layer { grad: grad_value, input: &x, weight: filters.zeros_like(), bias: None };
        filter_gradients(std::slice::from_ref(&of_filters), Rounding::None);
        let places = LuGradients {
            lower: gradients.place_of(lu.lower),
            upper: gradients.place_of(lu.upper),
            log_diagonal: gradients.place_of(lu.log_diagonal),
        };
        lu.backward(&of_filters.weight, &grad_log_det.contiguous(), pixels(&x), &places);
        wanted.then(|| filter_back(grad_value, &filters, &Then::default(), Rounding::None).0)
    }
}

/// A rotation drawn uniformly by `seed`, the same on every device: `[c, c]` in f64.
fn rotation(channels: usize, seed: u64) -> Tensor {
    let size = [channels as i64; 2];
    let normal = rng::with_seed(seed, || Tensor::randn(size, (Kind::Double, Device::Cpu)));
    let (q, r) = Tensor::linalg_qr(&normal, "reduced");
    // With the signs of R's diagonal moved into Q, Q is uniform over the orthogonal matrices (Mezzadri 2007).
    q * r.diagonal(0, 0, 1).sign().unsqueeze(0)
}

fn like(path: &nn::Path, values: &Tensor) -> Tensor {
    values.to_kind(path.kind()).to_device(path.device())
}

impl Bijection for Conv1x1 {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        if let Some(lu) = self.on_gpu(x) {
            let (matrix, log_det) = lu.matrix(x.size()[0] as usize, pixels(x));
            return (filter(x, &as_filters(&matrix), &Then::default(), Rounding::None).0, log_det);
        }
        match self.plain_lu(x) {
            None => apply(x, self.matrix()),
            Some(lu) => (mix(x, &lu.matrix()), same_log_det(lu.log_det * pixels(x) as f64, x)),
        }
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        if let Some(lu) = self.on_gpu(x) {
            let (matrix, log_det) = lu.matrix(x.size()[0] as usize, pixels(x));
            let filters = as_filters(&matrix);
            let (value, _) = filter(x, &filters, &Then::default(), Rounding::None);
            return Kept { value, log_det, back: Box::new(OnGpuBack { lu, filters, x: x.shallow_clone() }) };
        }
        let Some(lu) = self.plain_lu(x) else {
            return Taped::run(x, |x| self.forward(x, context));
        };
        let (matrix, x) = (lu.matrix(), x.contiguous());
        let (value, log_det) = (mix(&x, &matrix), same_log_det(lu.log_det * pixels(&x) as f64, &x));
        Kept { value, log_det, back: Box::new(PlainBack { form: &self.form, lu, matrix, x }) }
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        if let Some(lu) = self.plain_lu(z) {
            return (mix(z, &lu.inverse()), same_log_det(-lu.log_det * pixels(z) as f64, z));
        }
        apply(z, self.inverse_matrix())
    }

    fn inspect(&self, _x: &Tensor, _context: Option<&Tensor>) -> Inspection {
        Inspection { scales: Some(Scales::of_matrix(&self.matrix().0)), ..Inspection::default() }
    }
}
