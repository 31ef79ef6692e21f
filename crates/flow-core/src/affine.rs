//! A scale and a shift for each coordinate: `z = x * exp(log_scale) + shift`.

use tch::{Kind, Tensor, nn};

use crate::dense::numbers;
use crate::plain::{PlainMap, PlainRows, Scale, is_plain};
use crate::plain_training::{PlainBackward, PlainGradient, PlainTrained, sums_of_columns};
use crate::{Bijection, Direction, Error, Gradients, Inspection, Result, Scales};

/// An elementwise affine map, `[n, ..event]` to the same shape, with `log_det = Σ log_scale` for every row.
///
/// Learned it is NICE's final scaling (section 3.3, equation 12); fixed it is a standardisation at the head of a chain.
#[derive(Debug)]
pub struct ElementwiseAffine {
    log_scale: Tensor,
    shift: Option<Tensor>,
}

impl ElementwiseAffine {
    /// NICE's scaling: a learned `path/log_scale` that starts at 0, no shift.
    pub fn scaling(path: &nn::Path, event: &[i64]) -> Self {
        ElementwiseAffine { log_scale: path.zeros("log_scale", event), shift: None }
    }

    /// Learned `path/log_scale` and `path/shift`, both starting at 0.
    pub fn learned(path: &nn::Path, event: &[i64]) -> Self {
        let shift = Some(path.zeros("shift", event));
        ElementwiseAffine { log_scale: path.zeros("log_scale", event), shift }
    }

    /// The fixed map `z = (x - mean) / std`, saved with the model but not trained.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] where a mean is not finite, or a standard deviation is not finite and positive;
    /// [`Error::LengthMismatch`] where the two differ in length.
    pub fn standardize(path: &nn::Path, mean: &[f64], std: &[f64]) -> Result<Self> {
        if mean.len() != std.len() {
            let what = "the numbers of means and of standard deviations";
            return Err(Error::LengthMismatch { what, left: mean.len(), right: std.len() });
        }
        if let Some(&value) = mean.iter().find(|m| !m.is_finite()) {
            return Err(Error::OutOfRange { name: "mean", expected: "finite", value });
        }
        if let Some(&value) = std.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(Error::OutOfRange { name: "std", expected: "finite and positive", value });
        }
        let log_scale: Vec<f64> = std.iter().map(|s| -s.ln()).collect();
        let shift: Vec<f64> = mean.iter().zip(std).map(|(m, s)| -m / s).collect();
        let fixed = |name: &str, values: &[f64]| {
            let values = Tensor::from_slice(values).to_kind(path.kind()).to_device(path.device());
            path.add(name, values, false)
        };
        Ok(ElementwiseAffine { log_scale: fixed("log_scale", &log_scale), shift: Some(fixed("shift", &shift)) })
    }

    fn log_det(&self, x: &Tensor) -> Tensor {
        // What merely broadcasts would be mapped, with a log-determinant of another number of coordinates.
        let (event, size) = (self.log_scale.size(), x.size());
        assert!(size[1..] == event, "an affine map of events {event:?} was given a batch {size:?}");
        let one = self.log_scale.sum(None::<Kind>);
        one.unsqueeze(0).expand([size[0]], false)
    }

    /// As plain numbers, where each coordinate is a column and parameters can be read where they lie.
    fn scale(&self) -> Option<Scale<'_>> {
        let vector = self.log_scale.dim() == 1 && is_plain(&self.log_scale);
        let plain = vector && self.shift.as_ref().is_none_or(is_plain);
        let after = self.shift.as_ref().filter(|_| plain).map(numbers);
        plain.then(|| Scale { log_scale: numbers(&self.log_scale), before: None, after })
    }
}

impl Bijection for ElementwiseAffine {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        let scaled = x * self.log_scale.exp();
        let z = match &self.shift {
            None => scaled,
            Some(shift) => scaled + shift,
        };
        (z, self.log_det(x))
    }

    fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        let minus = self.log_scale.neg();
        let x = match &self.shift {
            None => z * minus.exp(),
            Some(shift) => (z - shift) * minus.exp(),
        };
        (x, self.log_det(z).neg())
    }

    fn plain(&self, _rows: usize) -> Option<Box<dyn PlainMap + '_>> {
        self.scale().map(|scale| Box::new(scale) as _)
    }

    fn plain_in_training(&self) -> Option<Box<dyn PlainTrained<'_> + '_>> {
        self.scale().map(|scale| Box::new(Trained { map: self, scale }) as _)
    }

    fn inspect(&self, _x: &Tensor, _context: Option<&Tensor>) -> Inspection {
        Inspection { scales: Some(Scales::diagonal(&self.log_scale.exp())), ..Inspection::default() }
    }
}

/// The map in training, on rows as plain numbers.
struct Trained<'a> {
    map: &'a ElementwiseAffine,
    scale: Scale<'a>,
}

/// With what went in, where parameters are trained.
struct Back<'a> {
    trained: Trained<'a>,
    x: Option<Vec<f32>>,
}

impl<'a> PlainTrained<'a> for Trained<'a> {
    fn forward_keeping(self: Box<Self>, rows: &mut PlainRows) -> Box<dyn PlainBackward + 'a> {
        let x = self.map.log_scale.requires_grad().then(|| rows.numbers.to_vec());
        self.scale.take(Direction::Forward, rows);
        Box::new(Back { trained: *self, x })
    }
}

impl PlainBackward for Back<'_> {
    /// `g_x = g exp(log_scale)`, `g_log_scale = exp(log_scale) Σ g x + Σ g_log_det`, `g_shift = Σ g`, sums over rows.
    fn backward(self: Box<Self>, grad: &mut PlainGradient, wanted: bool, gradients: &mut dyn Gradients) {
        let Back { trained: Trained { map, scale }, x } = *self;
        let scales = scale.exp();
        let give = |gradients: &mut dyn Gradients, parameter: &Tensor, sums: Vec<f64>| {
            let sums: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
            gradients.give(parameter, &Tensor::from_slice(&sums));
        };
        if let Some(shift) = map.shift.as_ref().filter(|shift| shift.requires_grad()) {
            give(gradients, shift, sums_of_columns(&grad.rows, |grad, _| f64::from(grad)));
        }
        if let Some(x) = x {
            let of_log_det: f64 = grad.log_det.iter().map(|g| f64::from(*g)).sum();
            let sums = sums_of_columns(&grad.rows, |grad, at| f64::from(grad) * f64::from(x[at]));
            let sums = sums.iter().zip(&scales).map(|(sum, scale)| sum * f64::from(*scale) + of_log_det);
            give(gradients, &map.log_scale, sums.collect());
        }
        if wanted {
            grad.rows.each(|_, row, _| row.iter_mut().zip(&scales).for_each(|(g, scale)| *g *= scale));
        }
    }
}
