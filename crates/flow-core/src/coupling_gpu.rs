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
        let grad_kept = conditioner.backward(&grad_parameters, wanted, gradients);
        let grad_x = grad_kept.filter(|_| wanted).map(|grad_kept| coupled.input_back(&grad_z, &grad_kept.contiguous()));
        // Last, for it is read on the way back to the input.
        if let (Change::BoundedBy(bound), Some(of_bound)) = (on_gpu.change, of_bound) {
            gradients.give(bound, &of_bound.sum_dim_intlist(0i64, false, None::<Kind>));
        }
        grad_x.map(|grad_x| grad_x.reshape(grad_value.size()))
    }
}
