//! The log-determinant of a Jacobian too large to write down, from its products with random directions.
//!
//! Stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017, algorithm 1):
//!
//! ```text
//! ln|det J| = tr ln(JᵀJ) / 2 ≈ D/2 · mean over probes of Σ_k τ_k² ln θ_k
//! ```
//!
//! A probe v has random signs as coordinates; θ_k are the eigenvalues, and τ_k the first coordinates of the eigenvectors, of
//! the tridiagonal matrix that m steps of Lanczos' recurrence make of JᵀJ and v.

use tch::{Device, Kind, Tensor};

use super::Config;
use crate::rng::with_seed;
use crate::shape::flat;

/// ln|det J|, and what differences from it cannot be told from chance, both in nats.
pub(super) struct Estimate {
    pub log_det: f64,
    pub resolution: f64,
}

/// Of the Jacobian of `f` at one row `x: [1, ..event]` in f64. `f` is given copies of the row and how many.
pub(super) fn estimate(x: &Tensor, config: &Config, f: impl Fn(&Tensor, i64) -> Tensor) -> Estimate {
    let products = Products::new(x, config.probes, f);
    let (diagonal, off) = lanczos(&products, config);
    let half = (config.lanczos / 2).max(1);
    let coarse = quadrature(&diagonal.narrow(1, 0, half), &off.narrow(1, 0, half - 1), products.dim);
    let fine = quadrature(&diagonal, &off, products.dim);
    let log_det = fine.mean(None::<Kind>).double_value(&[]);
    let error = fine.std(true).double_value(&[]) / (config.probes as f64).sqrt();
    let moved = (log_det - coarse.mean(None::<Kind>).double_value(&[])).abs();
    Estimate { log_det, resolution: 6.0 * error + 3.0 * moved }
}

/// `JᵀJ` times a direction a probe, through one graph.
struct Products {
    x: Tensor,
    y: Tensor,
    /// Where `grad = Jᵀu` is linear in `u`, its derivative in direction of q is `J q`.
    u: Tensor,
    grad: Tensor,
    dim: i64,
    probes: i64,
}

impl Products {
    fn new(x: &Tensor, probes: i64, f: impl Fn(&Tensor, i64) -> Tensor) -> Self {
        let dim = x.numel() as i64;
        let x = x.detach().repeat_interleave_self_int(probes, 0, None::<i64>).set_requires_grad(true);
        let y = flat(&f(&x, probes));
        let u = y.zeros_like().detach().set_requires_grad(true);
        let grad = gradient(&(&y * &u).sum(None::<Kind>), &x, true);
        Products { grad: flat(&grad), x, y, u, dim, probes }
    }

    /// `q: [probes, D]` to the same.
    fn times(&self, q: &Tensor) -> Tensor {
        let along = gradient(&(&self.grad * q).sum(None::<Kind>), &self.u, false).detach();
        flat(&gradient(&(&self.y * along).sum(None::<Kind>), &self.x, false)).detach()
    }
}

/// The gradient of `of` with respect to `with`, 0 where there is none.
fn gradient(of: &Tensor, with: &Tensor, create_graph: bool) -> Tensor {
    if !of.requires_grad() {
        return with.zeros_like();
    }
    let gradient = Tensor::run_backward(&[of], &[with], true, create_graph).remove(0);
    if gradient.defined() { gradient } else { with.zeros_like() }
}

/// The tridiagonal matrices of all probes: `[probes, m]` and, beside the diagonal, `[probes, m - 1]`.
fn lanczos(products: &Products, config: &Config) -> (Tensor, Tensor) {
    let size = [products.probes, products.dim];
    let signs = with_seed(config.seed, || Tensor::randint(2, size, (Kind::Double, Device::Cpu))) * 2.0 - 1.0;
    let mut q = signs.to_device(products.x.device()) / (products.dim as f64).sqrt();
    let (mut basis, mut diagonal, mut off): (Vec<Tensor>, Vec<Tensor>, Vec<Tensor>) = Default::default();
    for step in 0..config.lanczos {
        let mut w = products.times(&q);
        diagonal.push((&w * &q).sum_dim_intlist(1i64, false, None::<Kind>));
        basis.push(q);
        if step + 1 == config.lanczos {
            break;
        }
        // Twice is enough (Parlett): without it, directions already taken come back with the rounding.
        let taken = Tensor::stack(&basis, 1);
        for _ in 0..2 {
            w = &w - taken.transpose(1, 2).matmul(&taken.matmul(&w.unsqueeze(2))).squeeze_dim(2);
        }
        let norm = w.square().sum_dim_intlist(1i64, false, None::<Kind>).sqrt();
        // Where all directions are taken nothing but rounding is left: the matrix falls apart there.
        let over = norm.le_tensor(&(Tensor::stack(&diagonal, 1).abs().amax(1i64, false) * 1e-12));
        off.push(norm.masked_fill(&over, 0.0));
        q = (w / norm.unsqueeze(1)).masked_fill(&over.unsqueeze(1), 0.0);
    }
    let off =
        if off.is_empty() { diagonal[0].zeros_like().unsqueeze(1).narrow(1, 0, 0) } else { Tensor::stack(&off, 1) };
    (Tensor::stack(&diagonal, 1), off)
}

/// `D/2 Σ_k τ_k² ln θ_k` of each probe, `[probes]`.
fn quadrature(diagonal: &Tensor, off: &Tensor, dim: i64) -> Tensor {
    let matrix = diagonal.diag_embed(0, -2, -1) + off.diag_embed(1, -2, -1) + off.diag_embed(-1, -2, -1);
    let Ok((theta, vectors)) = matrix.to_device(Device::Cpu).f_linalg_eigh("L") else {
        // Numbers that are not finite have no eigenvalues.
        return Tensor::full([matrix.size()[0]], f64::NAN, (Kind::Double, Device::Cpu));
    };
    let weight = vectors.select(1, 0).square();
    // A direction without weight says nothing, whatever its eigenvalue.
    let log = theta.clamp_min(f64::MIN_POSITIVE).log().masked_fill(&weight.lt(1e-28), 0.0);
    (weight * log).sum_dim_intlist(1i64, false, None::<Kind>) * (0.5 * dim as f64)
}
