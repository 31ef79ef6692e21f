//! Couplings of vectors by this toolkit's kernels on a GPU: split, law, merge and log-determinant at once.

use flow_cuda::kernels::{Change, Coupled};
use tch::{Kind, Tensor};

use crate::law::Bound;
use crate::shape::{flat, zero_log_det};
use crate::{Backward, ConditionerBackward, Direction, Gradients, Kept, Law, Mask, gpu};

/// How `law` changes coordinates, where kernels know it and compute on `x`.
pub(crate) fn change<'a>(law: &'a Law, x: &Tensor) -> Option<Change<'a>> {
    let change = match law {
        Law::Additive => Change::Additive,
        Law::Affine { bound: Bound::Fixed(bound) } => Change::Bounded(*bound),
        Law::Affine { bound: Bound::Learned(bound) } => Change::BoundedBy(bound),
        Law::Spline { .. } => return None,
    };
    gpu::applies(x).then_some(change)
}

/// A coupling's parts, and what it was given.
pub(crate) struct OnGpu<'a> {
    pub mask: &'a Mask,
    pub change: Change<'a>,
    /// `[n, D]`, in rows.
    pub input: Tensor,
    /// The conditioner's output, in rows.
    pub parameters: Tensor,
}

impl<'a> OnGpu<'a> {
    fn coupled(&self) -> Coupled<'_> {
        let OnGpu { mask, change, input, parameters } = self;
        Coupled { places: mask.places(), changed: mask.changed().len(), change: *change, input, parameters }
    }

    /// The output of the size of `like`, and the log-determinant.
    pub(crate) fn take(&self, direction: Direction, like: &Tensor) -> (Tensor, Tensor) {
        let (output, log_det) = match direction {
            Direction::Forward => self.coupled().forward(),
            Direction::Inverse => self.coupled().inverse(),
        };
        (output.reshape(like.size()), log_det.unwrap_or_else(|| zero_log_det(like)))
    }

    /// The output, and the way back with the conditioner's.
    pub(crate) fn keep(self, like: &Tensor, conditioner: Box<dyn ConditionerBackward + 'a>) -> Kept<'a> {
        let (value, log_det) = self.take(Direction::Forward, like);
        Kept { value, log_det, back: Box::new(Back { on_gpu: self, conditioner }) }
    }
}

struct Back<'a> {
    on_gpu: OnGpu<'a>,
    conditioner: Box<dyn ConditionerBackward + 'a>,
}

impl Backward for Back<'_> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let Back { on_gpu, conditioner } = *self;
        let coupled = on_gpu.coupled();
        let grad_z = flat(grad_value).contiguous();
        let (grad_parameters, of_bound) = coupled.parameters_back(&grad_z, &grad_log_det.contiguous());
        if let (Change::BoundedBy(bound), Some(of_bound)) = (on_gpu.change, of_bound) {
            gradients.give(bound, &of_bound.sum_dim_intlist(0i64, false, None::<Kind>));
        }
        let grad_kept = conditioner.backward(&grad_parameters, wanted, gradients)?;
        wanted.then(|| coupled.input_back(&grad_z, &grad_kept.contiguous()).reshape(grad_value.size()))
    }
}

#[cfg(test)]
mod tests {
    use flow_cuda::kernels::emulated;
    use tch::{Device, nn};

    use super::*;
    use crate::rng::with_seed;
    use crate::{Bijection, Conditioner, Coupling, ToParameters, gradient_of};

    /// A linear map, by libtorch.
    #[derive(Debug)]
    struct Linear(Tensor);

    impl Conditioner for Linear {
        fn forward(&self, kept: &Tensor, _context: Option<&Tensor>) -> Tensor {
            kept.matmul(&self.0).tanh()
        }
    }

    fn draw(size: &[i64], seed: u64) -> Tensor {
        with_seed(seed, || Tensor::randn(size, (Kind::Float, Device::Cpu)))
    }

    fn close(what: &str, got: &Tensor, expected: &Tensor) {
        assert_eq!(got.size(), expected.size(), "{what}");
        let off = (got - expected).abs().max().double_value(&[]);
        assert!(off < 1e-5, "{what} is off by {off}");
    }

    fn masks(dim: usize) -> Vec<Mask> {
        let pick = |i: usize| i % 3 != 1;
        let listed: Vec<bool> = (0..dim).map(pick).collect();
        let both =
            |make: fn(usize, bool) -> crate::Result<Mask>| [false, true].map(|flipped| make(dim, flipped).unwrap());
        let mut masks: Vec<Mask> = both(Mask::halves).into_iter().chain(both(Mask::alternating)).collect();
        masks.push(Mask::from_bools(&listed, Device::Cpu).unwrap());
        masks
    }

    /// Every mask and law, both ways and back, against libtorch's operations and autograd's tape.
    #[test]
    fn couplings_are_those_of_libtorch() {
        for dim in [2, 5, 70] {
            for (i, mask) in masks(dim).into_iter().enumerate() {
                let (kept, changed) = (mask.kept().len() as i64, mask.changed().len());
                for law in 0..3 {
                    let what = format!("{dim} coordinates, mask {i}, law {law}");
                    let vs = nn::VarStore::new(Device::Cpu);
                    let law = match law {
                        0 => Law::Additive,
                        1 => Law::Affine { bound: Bound::Fixed(1.5) },
                        _ => Law::Affine { bound: Bound::learned(&vs.root(), changed, 0.7) },
                    };
                    let outputs = (law.parameters() * changed) as i64;
                    let weight = vs.root().add("weight", draw(&[kept, outputs], 1), true);
                    let coupling = Coupling::new(masks(dim).swap_remove(i), Linear(weight), law);
                    check(&what, &coupling, &vs, &draw(&[11, dim as i64], 2));
                }
            }
        }
    }

    fn check(what: &str, coupling: &Coupling<Linear>, vs: &nn::VarStore, x: &Tensor) {
        let leaf = x.copy().set_requires_grad(true);
        let (z, log_det) = coupling.forward(&leaf, None);
        let (grad_z, grad_log_det) = (draw(&z.size(), 3), draw(&log_det.size(), 4));
        ((&z * &grad_z).sum(None::<Kind>) + (&log_det * &grad_log_det).sum(None::<Kind>)).backward();
        let variables = vs.variables();
        let gradients: Vec<Tensor> = variables.values().filter_map(gradient_of).collect();
        let of_variables: Vec<Tensor> = gradients.iter().map(Tensor::copy).collect();
        emulated(|| {
            tch::no_grad(|| {
                assert!(change(&coupling.law, x).is_some());
                let (z_here, log_det_here) = coupling.forward(x, None);
                close(what, &z_here, &z.detach());
                close(what, &log_det_here, &log_det.detach());
                let (back, log_det_back) = coupling.inverse(&z_here, None);
                close(what, &back, x);
                close(what, &log_det_back, &log_det.neg().detach());
                for wanted in [true, false] {
                    gradients.iter().for_each(|gradient| drop(gradient.shallow_clone().zero_()));
                    let kept = coupling.forward_keeping(x, None);
                    close(what, &kept.value, &z.detach());
                    let grad_x = kept.back.backward(&grad_z, &grad_log_det, wanted, &mut ToParameters);
                    assert_eq!(grad_x.is_some(), wanted);
                    grad_x.iter().for_each(|grad_x| close(what, grad_x, &leaf.grad()));
                    for (here, expected) in gradients.iter().zip(&of_variables) {
                        close(what, here, expected);
                    }
                }
            });
        });
    }
}
