//! A training step on rows as plain numbers: one buffer goes through all maps that know how, and one gradient back.

use std::sync::{Mutex, PoisonError};

use flow_dense::{Panels, in_parallel, scale_and_shift, scale_and_shift_back};
use tch::Tensor;

use crate::dense::{NewTensor, Rows, in_rows, threads};
use crate::law::{Bound, Law};
use crate::plain::{Columns, PlainLaw, PlainMap, PlainOrder, PlainRows, lock, size_for, threads_for};
use crate::{Backward, Direction, Gradients, Kept, Mask};

/// A map of plain rows in training.
pub trait PlainTrained<'a> {
    /// Takes `rows` through the map, adds its log-determinants to theirs, and keeps what the way back needs.
    fn forward_keeping(self: Box<Self>, rows: &mut PlainRows) -> Box<dyn PlainBackward + 'a>;

    /// Whether it takes so long that others are worth taking with it.
    fn is_work(&self) -> bool {
        false
    }
}

/// The way back of a map of plain rows, once.
pub trait PlainBackward {
    /// Turns the gradient of a loss with respect to what came out into that with respect to what came in, which means nothing
    /// where it is not `wanted`. Those of parameters are given to `gradients`.
    fn backward(self: Box<Self>, grad: &mut PlainGradient, wanted: bool, gradients: &mut dyn Gradients);
}

/// The gradient of a loss with respect to rows, and to the log-determinant of each.
#[derive(Debug)]
pub struct PlainGradient<'a> {
    /// With respect to rows. Their log-determinants mean nothing.
    pub rows: PlainRows<'a>,
    /// With respect to the log-determinant of each.
    pub log_det: &'a [f32],
}

/// A conditioner of plain rows in training. Rows that fill up the last panel mean nothing in what it makes, and are to be 0 in
/// gradients ([`Panels`]).
pub trait PlainTrainedConditioner<'a> {
    /// How many numbers of a row go in, and how many come out.
    fn size(&self) -> (usize, usize);

    /// What [`Conditioner::forward`](crate::Conditioner::forward) makes of what is kept, and its way back.
    fn forward_keeping(self: Box<Self>, kept: Panels) -> (Panels, Box<dyn PlainConditionerBackward + 'a>);
}

/// The way back of a conditioner of plain rows, once.
pub trait PlainConditionerBackward {
    /// From the gradient with respect to the parameters to that with respect to what is kept, where it is `wanted`. Those of its
    /// own parameters are given to `gradients`.
    fn backward(self: Box<Self>, grad: Panels, wanted: bool, gradients: &mut dyn Gradients) -> Option<Panels>;
}

/// Takes `x: [n, D]` through `maps`.
pub(crate) fn keep_all<'a>(maps: Vec<Box<dyn PlainTrained<'a> + 'a>>, x: &Tensor) -> Kept<'a> {
    let mut value = copied(x);
    let (n, columns) = (x.size()[0] as usize, x.size()[1] as usize);
    let mut log_det = vec![0.0; n];
    let mut rows = PlainRows { columns, numbers: value.numbers_mut(), log_det: &mut log_det };
    let backs = maps.into_iter().map(|map| map.forward_keeping(&mut rows)).collect();
    let log_det: Vec<f32> = log_det.into_iter().map(|log_det| log_det as f32).collect();
    Kept { value: value.done(), log_det: Tensor::from_slice(&log_det), back: Box::new(PlainRun(backs)) }
}

/// `[n, D]` in memory of its own.
fn copied(x: &Tensor) -> NewTensor {
    let x = in_rows(x);
    let from = Rows::new(&x);
    let mut to = NewTensor::empty(&x.size());
    from.copy_to(0, to.numbers_mut());
    to
}

/// The ways back of maps that were taken one after another.
struct PlainRun<'a>(Vec<Box<dyn PlainBackward + 'a>>);

impl Backward for PlainRun<'_> {
    fn backward(
        self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let mut grad = copied(grad_value);
        let log_det = Vec::<f32>::try_from(grad_log_det).expect("one number a row");
        let columns = grad_value.size()[1] as usize;
        let mut nothing = vec![0.0; log_det.len()];
        let rows = PlainRows { columns, numbers: grad.numbers_mut(), log_det: &mut nothing };
        let mut gradient = PlainGradient { rows, log_det: &log_det };
        for (i, back) in self.0.into_iter().enumerate().rev() {
            back.backward(&mut gradient, wanted || i > 0, gradients);
        }
        wanted.then(|| grad.done())
    }
}

impl<'a> PlainTrained<'a> for PlainOrder {
    fn forward_keeping(self: Box<Self>, rows: &mut PlainRows) -> Box<dyn PlainBackward + 'a> {
        self.take(Direction::Forward, rows);
        self
    }
}

impl PlainBackward for PlainOrder {
    fn backward(self: Box<Self>, grad: &mut PlainGradient, wanted: bool, _gradients: &mut dyn Gradients) {
        if wanted {
            self.take(Direction::Inverse, &mut grad.rows);
        }
    }
}

/// A coupling in training.
pub(crate) struct TrainedCoupling<'a> {
    shape: Shape<'a>,
    conditioner: Box<dyn PlainTrainedConditioner<'a> + 'a>,
}

/// What a coupling is but for its conditioner.
struct Shape<'a> {
    kept: Columns<'a>,
    changed: Columns<'a>,
    count: usize,
    dim: usize,
    plain: PlainLaw<'a>,
    law: &'a Law,
}

impl<'a> TrainedCoupling<'a> {
    /// `None` for a law that it is not made for, and for a conditioner that does not fit: libtorch will say why.
    pub(crate) fn new(
        mask: &'a Mask,
        law: &'a Law,
        conditioner: Box<dyn PlainTrainedConditioner<'a> + 'a>,
    ) -> Option<Self> {
        let shape = Shape {
            kept: Columns::new(mask.kept()),
            changed: Columns::new(mask.changed()),
            count: mask.changed().len(),
            dim: mask.dim(),
            plain: PlainLaw::new(law, mask)?,
            law,
        };
        if conditioner.size() != size_for(mask, &shape.plain) {
            return None;
        }
        Some(TrainedCoupling { shape, conditioner })
    }
}

impl<'a> PlainTrained<'a> for TrainedCoupling<'a> {
    fn forward_keeping(self: Box<Self>, rows: &mut PlainRows) -> Box<dyn PlainBackward + 'a> {
        let TrainedCoupling { shape, conditioner } = *self;
        rows.assert_columns(shape.dim);
        let (_, each) = conditioner.size();
        let (parameters, conditioner) = conditioner.forward_keeping(shape.kept.panels(rows));
        assert_panels(&parameters, rows.count(), each);
        let law = shape.change(rows, &parameters);
        Box::new(CouplingBack { shape, law, conditioner })
    }

    fn is_work(&self) -> bool {
        true
    }
}

impl Columns<'_> {
    /// These columns of all rows.
    fn panels(&self, rows: &PlainRows) -> Panels {
        match *self {
            Columns::Run(first, len) => {
                Panels::from_rows_apart(&rows.numbers[first..], (rows.count(), len), rows.columns, threads())
            }
            Columns::Any(columns) => Panels::from_rows(&rows.gathered(columns), rows.count(), columns.len(), threads()),
        }
    }

    /// Adds to these columns of all rows.
    fn add(&self, rows: &mut PlainRows, panels: &Panels) {
        match *self {
            Columns::Run(first, _) => panels.add_to_rows(&mut rows.numbers[first..], rows.columns, threads()),
            Columns::Any(_) => {
                let more = rows_of(panels);
                let each = panels.columns();
                rows.each(|i, row, _| {
                    self.with(row, |x| x.iter_mut().zip(&more[i * each..]).for_each(|(x, more)| *x += more));
                });
            }
        }
    }
}

/// `Σ f(x, its place)` of every column, over all rows: each is one thread's, so that how many there are changes nothing.
pub(crate) fn sums_of_columns(rows: &PlainRows, f: impl Fn(f32, usize) -> f64 + Sync) -> Vec<f64> {
    let mut sums = vec![0.0; rows.columns];
    let own = rows.columns.div_ceil(threads_for(rows.numbers.len())).max(1);
    let shares: Vec<_> = sums.chunks_mut(own).map(Mutex::new).collect();
    in_parallel(shares.len(), &|part, _| {
        let (sums, first) = (&mut *lock(&shares[part]), part * own);
        for (row, numbers) in rows.numbers.chunks_exact(rows.columns).enumerate() {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum += f(numbers[first + i], row * rows.columns + first + i);
            }
        }
    });
    drop(shares);
    sums
}

/// # Panics
///
/// If a conditioner has given something else than so many rows of so many numbers.
fn assert_panels(panels: &Panels, rows: usize, columns: usize) {
    let size = (panels.rows(), panels.columns());
    assert_eq!(size, (rows, columns), "rows and columns of what a conditioner gives");
}

fn rows_of(panels: &Panels) -> Vec<f32> {
    let mut rows = vec![0.0; panels.rows() * panels.columns()];
    panels.to_rows(&mut rows, threads());
    rows
}

/// What a law keeps.
enum LawKept {
    Additive,
    /// What was changed, and the parameters, row after row.
    Affine {
        x: Vec<f32>,
        parameters: Vec<f32>,
    },
}

impl Shape<'_> {
    fn change(&self, rows: &mut PlainRows, parameters: &Panels) -> LawKept {
        let count = self.count;
        let PlainLaw::Affine(bound) = &self.plain else {
            self.changed.add(rows, parameters);
            return LawKept::Additive;
        };
        let parameters = rows_of(parameters);
        let mut x = vec![0.0; rows.count() * count];
        let places: Vec<_> = x.chunks_exact_mut(count).map(Mutex::new).collect();
        let ((one, each), changed) = (bound.parts(), self.changed);
        rows.each(|i, row, log_det| {
            let (raw, shift) = parameters[2 * i * count..2 * (i + 1) * count].split_at(count);
            changed.with(row, |x| {
                lock(&places[i]).copy_from_slice(x);
                *log_det += scale_and_shift(x, raw, shift, one, each);
            });
        });
        drop(places);
        LawKept::Affine { x, parameters }
    }

    /// The gradient with respect to the parameters; `grad` becomes that with respect to what was changed.
    fn change_back(&self, grad: &mut PlainGradient, kept: LawKept, gradients: &mut dyn Gradients) -> Panels {
        let count = self.count;
        let (PlainLaw::Affine(bound), LawKept::Affine { x, mut parameters }) = (&self.plain, kept) else {
            return self.changed.panels(&grad.rows);
        };
        let ((one, bounds), changed) = (bound.parts(), self.changed);
        let (n, columns, of_log_det) = (grad.rows.count(), grad.rows.columns, grad.log_det);
        let own = n.div_ceil(threads_for(grad.rows.numbers.len())).max(1);
        let shares = grad.rows.numbers.chunks_mut(own * columns).zip(parameters.chunks_mut(2 * own * count));
        // Sums of a part's own, so that they are the same whoever comes first.
        let shares: Vec<_> =
            shares.map(|(grads, rows)| Mutex::new((grads, rows, vec![0.0; bounds.map_or(0, <[f32]>::len)]))).collect();
        in_parallel(shares.len(), &|part, _| {
            let (grads, parameters, sums) = &mut *lock(&shares[part]);
            let rows = grads.chunks_exact_mut(columns).zip(parameters.chunks_exact_mut(2 * count));
            for (i, (row, parameters)) in (part * own..).zip(rows) {
                let (raw, shift) = parameters.split_at_mut(count);
                changed.with(row, |grad| {
                    shift.copy_from_slice(grad);
                    let bounds = bounds.map(|bounds| (bounds, &mut sums[..]));
                    scale_and_shift_back(grad, raw, &x[i * count..(i + 1) * count], of_log_det[i], one, bounds);
                });
            }
        });
        let sums = shares.into_iter().map(|share| share.into_inner().unwrap_or_else(PoisonError::into_inner).2);
        let sums = sums.reduce(|mut total, more| {
            total.iter_mut().zip(more).for_each(|(total, more)| *total += more);
            total
        });
        if let (Law::Affine { bound: Bound::Learned(bound) }, Some(sums)) = (self.law, sums) {
            gradients.give(bound, &Tensor::from_slice(&sums).view(&bound.size()[..]));
        }
        Panels::from_rows(&parameters, n, 2 * count, threads())
    }
}

struct CouplingBack<'a> {
    shape: Shape<'a>,
    law: LawKept,
    conditioner: Box<dyn PlainConditionerBackward + 'a>,
}

impl PlainBackward for CouplingBack<'_> {
    fn backward(self: Box<Self>, grad: &mut PlainGradient, wanted: bool, gradients: &mut dyn Gradients) {
        let CouplingBack { shape, law, conditioner } = *self;
        let of_parameters = shape.change_back(grad, law, gradients);
        let of_kept = conditioner.backward(of_parameters, wanted, gradients);
        if wanted {
            let of_kept = of_kept.expect("a conditioner gives the gradient that it is asked for");
            assert_panels(&of_kept, grad.rows.count(), shape.dim - shape.count);
            shape.kept.add(&mut grad.rows, &of_kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of columns that threads share.
    #[test]
    fn sums_of_columns_are_those_of_one_loop() {
        let (n, columns) = (512, 37);
        let mut numbers: Vec<f32> = (0..n * columns).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
        let weights: Vec<f64> = (0..n * columns).map(|i| (i * 31 % 17) as f64).collect();
        let plain =
            |column| (0..n).map(|row| row * columns + column).map(|at| f64::from(numbers[at]) * weights[at]).sum();
        let plain: Vec<f64> = (0..columns).map(plain).collect();
        let rows = PlainRows { columns, numbers: &mut numbers, log_det: &mut vec![0.0; n] };
        assert_eq!(sums_of_columns(&rows, |x, at| f64::from(x) * weights[at]), plain);
    }
}
