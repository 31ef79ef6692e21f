//! Faults planted in every bijection of the table, between two steps that are sound: the check of whole models finds
//! each of them, in the step where it is.

use flow_core::check::{Config, Model, Report, Rows, Verdict, check};
use flow_core::{Bijection, Chain, Direction, Flow, StandardNormal};
use tch::{Kind, Tensor, nn};

use crate::common::{CONTEXT, device, randn, store};
use crate::planted::{Fault, Planted};
use crate::{Case, ROWS, table};

/// `z = 0.9 x` on events of any shape, the unit cube among them.
#[derive(Debug)]
struct Shrink;

const FACTOR: f64 = 0.9;

impl Shrink {
    fn log_det(x: &Tensor, sign: f64) -> Tensor {
        let dim: i64 = x.size()[1..].iter().product();
        Tensor::full([x.size()[0]], sign * dim as f64 * FACTOR.ln(), (x.kind(), x.device()))
    }
}

impl Bijection for Shrink {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        (x * FACTOR, Shrink::log_det(x, 1.0))
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        (z / FACTOR, Shrink::log_det(z, -1.0))
    }
}

fn context() -> Tensor {
    randn(&[ROWS, CONTEXT], Kind::Float, 12)
}

/// `case` with `fault` in it, between two sound steps.
fn flow(case: &Case, fault: Fault) -> (nn::VarStore, Flow) {
    let vs = store(Kind::Float);
    let step = Planted(case.ready(&vs, Some(&context())), fault);
    let mut chain = Chain::default();
    chain.push("before", Shrink).unwrap();
    chain.push("planted", step).unwrap();
    chain.push("after", Shrink).unwrap();
    (vs, Flow::new(chain, StandardNormal::new(case.event), device()))
}

fn report(case: &Case, fault: Fault) -> Report {
    let (single, mut double) = (flow(case, fault), flow(case, fault));
    double.0.double();
    let data = Rows::new("data", Direction::Forward, case.x(Kind::Float));
    let data = Rows { context: Some(context()), jacobians: 1, ..data };
    let variables = single.0.variables().into_iter().collect();
    let model = Model { single: &single.1, double: &double.1, variables: &variables };
    check(&model, &[data], &Config::default())
}

/// Whether volume changes at the row that is held against the Jacobian: a log-determinant of 0 has no sign.
fn changes_volume(case: &Case) -> bool {
    let vs = store(Kind::Float);
    let bijection = case.ready(&vs, Some(&context()));
    let (_, log_det) = tch::no_grad(|| bijection.forward(&(case.x(Kind::Float) * FACTOR), Some(&context())));
    log_det.double_value(&[0]).abs() > 1e-4
}

#[test]
fn a_fault_in_any_bijection_is_found_and_its_step_named() {
    let mut wrong = String::new();
    for case in table() {
        let signed = changes_volume(&case);
        for (fault, said) in [
            (Fault::Nothing, None),
            (Fault::WrongSign, signed.then_some("Jacobian")),
            (Fault::DroppedTerm, Some("Jacobian")),
            (Fault::InverseOff, Some("round trip")),
        ] {
            let report = report(&case, fault);
            let failing: Vec<_> = report.layers.iter().filter(|layer| layer.verdict() == Verdict::Fails).collect();
            let right = match (said, &failing[..]) {
                (None, []) => true,
                (Some(said), [layer]) => layer.name == "planted" && layer.findings[0].what.contains(said),
                _ => false,
            };
            if !right {
                wrong += &format!("{fault:?} in {}: {failing:?}\n", case.name);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
