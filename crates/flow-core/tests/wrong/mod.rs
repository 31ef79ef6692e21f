//! Bijections that are wrong, or right but for one fault, which the generic check must find.

use flow_core::testing::{Tolerance, check, check_gradients};
use flow_core::{Backward, Bijection, Gradients, Kept, Probe};
use tch::{Kind, Tensor};

use crate::common::randn;
use crate::{ROWS, SHARP};

/// `z = 1.5 x - 1` on events of 2, right but for one fault.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    BothSignsWrong,
    NoLogDet,
    InverseLogDetOfForward,
    InverseOff,
    RowsMixed,
    InverseRowsMixed,
    TraceForgetsAStep,
    HookForgetsTheScale,
    KeepingForgetsTheScale,
    EmptyBatchHasARow,
    NotANumber,
    RoundedToHalf,
    CutOffFromAutograd,
    WritesToItsArgument,
}

impl Fault {
    fn map(self, x: &Tensor, scale: f64, shift: f64) -> Tensor {
        let x = if self == Fault::RoundedToHalf { x.to_kind(Kind::Half).to_kind(x.kind()) } else { x.shallow_clone() };
        let x = if self == Fault::CutOffFromAutograd { x.detach() } else { x };
        x * scale + shift
    }

    fn log_det(self, x: &Tensor, sign: f64) -> Tensor {
        let value = match self {
            Fault::BothSignsWrong => -2.0 * 1.5f64.ln() * sign,
            Fault::NoLogDet => 0.0,
            Fault::InverseLogDetOfForward => 2.0 * 1.5f64.ln(),
            _ => 2.0 * 1.5f64.ln() * sign,
        };
        let rows = if self == Fault::EmptyBatchHasARow { x.size()[0].max(1) } else { x.size()[0] };
        Tensor::full([rows], value, (x.kind(), x.device()))
    }
}

impl Bijection for Fault {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        let z = self.map(x, 1.5, -1.0);
        let z = match self {
            // Adds to each row a little of another, which leaves the diagonal blocks of the Jacobian as they are.
            Fault::RowsMixed => z + x.roll([1], [0]) * 0.01,
            Fault::NotANumber => z.where_self(&x.le(1.0), &Tensor::from(f64::NAN)),
            Fault::WritesToItsArgument => {
                let _ = x.shallow_clone().g_add_scalar_(1.0);
                z
            }
            _ => z,
        };
        (z, self.log_det(x, 1.0))
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        let x = self.map(z, 1.0 / 1.5, 1.0 / 1.5);
        let x = match self {
            Fault::InverseOff => x + 1e-5,
            Fault::InverseRowsMixed => x + z.roll([1], [0]) * 0.01,
            _ => x,
        };
        (x, self.log_det(z, -1.0))
    }

    fn forward_traced(
        &self,
        name: &str,
        x: &Tensor,
        context: Option<&Tensor>,
        probe: &mut dyn Probe,
    ) -> (Tensor, Tensor) {
        let (z, log_det) = self.forward(x, context);
        if *self != Fault::TraceForgetsAStep {
            probe.step(name, &z, &log_det);
        }
        (z, log_det)
    }

    fn vjp(&self, z: &Tensor, _context: Option<&Tensor>, grad_z: &Tensor, _grad_log_det: &Tensor) -> (Tensor, Tensor) {
        let scale = if *self == Fault::HookForgetsTheScale { 1.0 } else { 1.5 };
        (self.inverse(z, None).0, grad_z * scale)
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        let (value, log_det) = self.forward(x, context);
        let scale = if *self == Fault::KeepingForgetsTheScale { 1.0 } else { 1.5 };
        Kept { value, log_det, back: Box::new(ScaleBack(scale)) }
    }
}

struct ScaleBack(f64);

impl Backward for ScaleBack {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        _grad_log_det: &Tensor,
        wanted: bool,
        _gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        wanted.then(|| grad_value * self.0)
    }
}

/// What the check finds wrong with `fault`; nothing where it finds nothing.
fn found(fault: Fault) -> String {
    let x = randn(&[ROWS, 2], Kind::Double, 11);
    check(&fault, &x, None).verdict(&Tolerance::double()).err().unwrap_or_default()
}

#[test]
fn the_check_fails_for_wrong_bijections() {
    assert_eq!(found(Fault::None), "", "what is right must pass");
    for (fault, complaints) in [
        (Fault::BothSignsWrong, &["forward log-det against", "inverse log-det against"][..]),
        (Fault::NoLogDet, &["forward log-det against", "inverse log-det against"]),
        (Fault::InverseLogDetOfForward, &["inverse log-det against", "forward + inverse"]),
        (Fault::InverseOff, &["round trip from data", "round trip from latent", "backward hook"]),
        (Fault::RowsMixed, &["single rows"]),
        (Fault::InverseRowsMixed, &["single rows"]),
        (Fault::TraceForgetsAStep, &["traced steps"]),
        (Fault::HookForgetsTheScale, &["backward hook"]),
        (Fault::KeepingForgetsTheScale, &["kept gradient"]),
        (Fault::EmptyBatchHasARow, &["empty batch"]),
        (Fault::NotANumber, &["round trip from data", "round trip from latent", "single rows", "traced steps"]),
        (Fault::RoundedToHalf, &["round trip from data", "round trip from latent"]),
        (Fault::CutOffFromAutograd, &["forward log-det against", "inverse log-det against", "backward hook"]),
    ] {
        let found = found(fault);
        for complaint in complaints {
            assert!(found.contains(complaint), "{fault:?}: nothing about {complaint:?}, but:\n{found}");
        }
    }
    // Two wrong signs agree with each other: only the Jacobian tells.
    assert!(!found(Fault::BothSignsWrong).contains("forward + inverse"));
}

#[test]
#[should_panic(expected = "forward must leave its arguments as they are")]
fn the_check_refuses_maps_that_write_to_their_arguments() {
    found(Fault::WritesToItsArgument);
}

/// A wrong shape is no number that a report could hold.
#[test]
#[should_panic(expected = "a log-determinant for each row")]
fn the_check_refuses_log_dets_of_another_shape() {
    #[derive(Debug)]
    struct Scalar;
    impl Bijection for Scalar {
        fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
            (x * 1.0, Tensor::from(0.0))
        }
        fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
            self.forward(z, context)
        }
    }
    check(&Scalar, &randn(&[2, 2], Kind::Double, 1), None);
}

/// `z = x + shift`, whose way back gives the shift this share of its gradient.
#[derive(Debug)]
struct Shift(Tensor, f64);

impl Bijection for Shift {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        (x + &self.0, Tensor::zeros([x.size()[0]], (x.kind(), x.device())))
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        (z - &self.0, Tensor::zeros([z.size()[0]], (z.kind(), z.device())))
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        let (value, log_det) = self.forward(x, context);
        Kept { value, log_det, back: Box::new(ShiftBack(self)) }
    }
}

struct ShiftBack<'a>(&'a Shift);

impl Backward for ShiftBack<'_> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        _grad_log_det: &Tensor,
        wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let Shift(shift, share) = self.0;
        gradients.give(shift, &(grad_value.sum_dim_intlist(0i64, false, None::<Kind>) * *share));
        wanted.then(|| grad_value.shallow_clone())
    }
}

#[test]
fn a_way_back_that_gives_a_parameter_half_of_its_gradient_is_found_by_the_check_of_gradients_alone() {
    let x = randn(&[ROWS, 3], Kind::Double, 11);
    for (share, right) in [(1.0, true), (0.5, false)] {
        let shift = Shift(randn(&[3], Kind::Double, 12).set_requires_grad(true), share);
        assert_eq!(check(&shift, &x, None).verdict(&SHARP), Ok(()));
        let off = check_gradients(&shift, &x, None, &[shift.0.shallow_clone()]).relative;
        assert!(if right { off < 1e-12 } else { off > 0.01 }, "of {share} of the gradient: off by {off:e}");
    }
}
