//! A small matrix by its LU decomposition, as plain numbers.

/// `W`, whose row `i` is row `order[i]` of `L (U + diag(diagonal))`: `L` with ones on its diagonal, of both given matrices the strict
/// triangles alone; sizes `[c, c]` in rows. Sums are taken in f64.
pub(crate) struct PlainLu<'a> {
    pub order: Vec<i64>,
    pub lower: &'a [f32],
    pub upper: &'a [f32],
    pub diagonal: Vec<f64>,
    /// `ln|det W|`.
    pub log_det: f64,
}

/// The gradients of what [`PlainLu`] is made of.
pub(crate) struct PlainLuGradients {
    pub lower: Vec<f32>,
    pub upper: Vec<f32>,
    /// With respect to the logarithms of the diagonal's magnitudes.
    pub log_diagonal: Vec<f32>,
}

impl PlainLu<'_> {
    /// `c`.
    pub fn size(&self) -> usize {
        self.diagonal.len()
    }

    fn l(&self, i: usize, j: usize) -> f64 {
        if i == j { 1.0 } else { f64::from(self.lower[i * self.size() + j]) }
    }

    fn u(&self, i: usize, j: usize) -> f64 {
        if i == j { self.diagonal[i] } else { f64::from(self.upper[i * self.size() + j]) }
    }

    /// `W`.
    pub fn matrix(&self) -> Vec<f32> {
        let c = self.size();
        let row = |&i: &i64| {
            let i = i as usize;
            (0..c).map(move |j| (0..=i.min(j)).map(|k| self.l(i, k) * self.u(k, j)).sum::<f64>() as f32)
        };
        self.order.iter().flat_map(row).collect()
    }

    /// `W⁻¹`, by two substitutions for each column; numbers that are not finite where there is none.
    pub fn inverse(&self) -> Vec<f32> {
        let c = self.size();
        let mut inverse = vec![0.0; c * c];
        let mut x = vec![0.0; c];
        for (column, &place) in self.order.iter().enumerate() {
            // W x = e says that L U x is 1 at `place` and 0 elsewhere.
            for i in 0..c {
                let right = if i as i64 == place { 1.0 } else { 0.0 };
                x[i] = right - (0..i).map(|k| self.l(i, k) * x[k]).sum::<f64>();
            }
            for i in (0..c).rev() {
                let rest: f64 = (i + 1..c).map(|k| self.u(i, k) * x[k]).sum();
                x[i] = (x[i] - rest) / self.diagonal[i];
            }
            (0..c).for_each(|i| inverse[i * c + column] = x[i] as f32);
        }
        inverse
    }

    /// From the gradients of a loss with respect to `W` and to `ln|det W|`. With `G` the former in the order of `L U`:
    ///
    /// ```text
    /// g_L = G Uᵀ,   g_U = Lᵀ G,   g_log_diagonal = diag(g_U) diagonal + g_log_det
    /// ```
    pub fn gradients(&self, of_matrix: &[f32], of_log_det: f64) -> PlainLuGradients {
        let c = self.size();
        let mut g = vec![0.0; c * c];
        for (row, &place) in of_matrix.chunks_exact(c).zip(&self.order) {
            g[place as usize * c..][..c].iter_mut().zip(row).for_each(|(g, &of)| *g = f64::from(of));
        }
        let mut gradients =
            PlainLuGradients { lower: vec![0.0; c * c], upper: vec![0.0; c * c], log_diagonal: Vec::new() };
        for i in 0..c {
            for j in 0..i {
                gradients.lower[i * c + j] = (j..c).map(|k| g[i * c + k] * self.u(j, k)).sum::<f64>() as f32;
            }
            let of_u = |j: usize| (i..c).map(|k| self.l(k, i) * g[k * c + j]).sum::<f64>();
            gradients.log_diagonal.push((of_u(i) * self.diagonal[i] + of_log_det) as f32);
            for j in i + 1..c {
                gradients.upper[i * c + j] = of_u(j) as f32;
            }
        }
        gradients
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Kind, Tensor};

    const C: usize = 5;

    fn numbers(seed: f32) -> Vec<f32> {
        (0..C * C).map(|i| ((i as f32 + seed) * 1.7).sin()).collect()
    }

    fn lu<'a>(lower: &'a [f32], upper: &'a [f32]) -> PlainLu<'a> {
        PlainLu { order: vec![2, 0, 4, 1, 3], lower, upper, diagonal: vec![0.7, -1.3, 0.2, 2.0, -0.9], log_det: 0.0 }
    }

    fn square(numbers: &[f32]) -> Tensor {
        Tensor::from_slice(numbers).view([C as i64, C as i64]).to_kind(Kind::Double)
    }

    /// By libtorch in f64: `W` of the parameters, taped.
    fn taped(lu: &PlainLu, lower: &Tensor, upper: &Tensor, log_diagonal: &Tensor) -> Tensor {
        let eye = Tensor::eye(C as i64, (Kind::Double, tch::Device::Cpu));
        let signs = Tensor::from_slice(&lu.diagonal).sign();
        let u = upper.triu(1) + (signs * log_diagonal.exp()).diag_embed(0, 0, 1);
        (lower.tril(-1) + eye).matmul(&u).index_select(0, &Tensor::from_slice(&lu.order))
    }

    fn close(own: &[f32], right: &Tensor) {
        let most = (Tensor::from_slice(own) - right.flatten(0, -1)).abs().max().double_value(&[]);
        assert!(most < 1e-5, "{most}: {own:?}");
    }

    #[test]
    fn matrix_inverse_and_gradients_are_libtorchs() {
        let (lower, upper) = (numbers(0.3), numbers(8.1));
        let lu = lu(&lower, &upper);
        let logs: Vec<f64> = lu.diagonal.iter().map(|d| d.abs().ln()).collect();
        let parameters = [square(&lower), square(&upper), Tensor::from_slice(&logs)];
        let [l, u, d] = parameters.map(|t| t.set_requires_grad(true));
        let w = taped(&lu, &l, &u, &d);
        close(&lu.matrix(), &w);
        close(&lu.inverse(), &w.inverse());
        let of_matrix = numbers(2.6);
        ((&w * square(&of_matrix)).sum(Kind::Double) + d.sum(Kind::Double) * 0.4).backward();
        let own = lu.gradients(&of_matrix, 0.4);
        close(&own.lower, &l.grad());
        close(&own.upper, &u.grad());
        close(&own.log_diagonal, &d.grad());
    }

    #[test]
    fn without_an_inverse_its_numbers_are_not_finite() {
        let (lower, upper) = (numbers(0.3), numbers(8.1));
        let lu = PlainLu { diagonal: vec![0.7, -1.3, 0.0, 2.0, -0.9], ..lu(&lower, &upper) };
        assert!(lu.inverse().iter().any(|x| !x.is_finite()));
    }
}
