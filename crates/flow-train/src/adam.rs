//! Adam over a flat parameter buffer, in one pass over memory.

use std::ops::Range;
use std::sync::Mutex;

use flow_core::dense::{numbers, rounding, some_numbers_mut, threads};
use flow_cuda::{Constants, Moved, Numbers};
use flow_dense::{Coefficients, Destination, OfLayer, Panels, adam_step, gradient, in_parallel};
use tch::{Device, Kind, Tensor};

use crate::flat::FlatParameters;
use crate::memory;

/// Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2):
///
/// ```text
/// m = β1 m + (1 - β1) g,   v = β2 v + (1 - β2) g²
/// p = p - rate (m / (1 - β1^t)) / (√(v / (1 - β2^t)) + ε) - rate decay p
/// ```
///
/// On the processor, a moment that has decayed to nothing becomes 0: a processor takes a hundred times as long for
/// numbers below the normal ones.
#[derive(Debug)]
pub struct Adam {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// What keeps the quotient finite.
    pub epsilon: f64,
    moments: Moments,
    segments: Vec<Segment>,
    scratch: Tensor,
}

/// Neighbours in the buffer that are treated alike.
#[derive(Debug)]
struct Segment {
    places: Range<usize>,
    group: Group,
}

/// Both moments, as buffers of the parameters' layout.
#[derive(Debug)]
pub struct Moments {
    /// The mean of the gradient.
    pub first: Tensor,
    /// The mean of its square.
    pub second: Tensor,
}

/// What one variable has of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Factor on the learning rate.
    pub rate: f64,
    /// Weight decay per unit of learning rate.
    pub decay: f64,
}

impl Adam {
    /// Moments of 0 for `parameters`, whose places `groups` follow one by one.
    pub fn new(parameters: &FlatParameters, groups: Vec<Group>, (beta1, beta2): (f64, f64), epsilon: f64) -> Self {
        assert_eq!(groups.len(), parameters.places().len(), "one group for each variable");
        let zeros = || memory::zeros(parameters.buffer().numel() as i64, parameters.buffer().device());
        let mut segments: Vec<Segment> = Vec::new();
        for (place, group) in parameters.places().iter().zip(groups) {
            let places = place.range();
            match segments.last_mut() {
                // What lies between two places is 0 in every buffer, and stays it.
                Some(last) if last.group == group => last.places.end = places.end,
                _ => segments.push(Segment { places, group }),
            }
        }
        let moments = Moments { first: zeros(), second: zeros() };
        let scratch = Tensor::zeros([0], (Kind::Float, Device::Cpu));
        Adam { beta1, beta2, epsilon, moments, segments, scratch }
    }

    /// Both moments, to save them or to copy saved ones in.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// The `t`-th step (from 1) by the gradients of `parameters`, each multiplied by `shorten`.
    pub fn step(&mut self, parameters: &FlatParameters, rate: f64, t: u64, shorten: f64) {
        if parameters.buffer().device().is_cuda() && flow_cuda::has_adam_step() {
            let number = |x: f64| Tensor::from_slice(&[x as f32]).to_device(parameters.buffer().device());
            let (rate, step, shrink) = (number(rate), number(t as f64), number(1.0 / shorten));
            let numbers = Numbers { rate: &rate, step: &step, shrink: Some(&shrink), skip: None };
            return self.step_on_gpu(parameters, &numbers);
        }
        let coefficients = self.coefficients(rate, t, shorten);
        let segments: Vec<_> = self.segments.iter().map(|s| (s.places.clone(), coefficients(s.group))).collect();
        let (mut p, g) = (parameters.buffer().shallow_clone(), parameters.gradients());
        let Moments { first: m, second: v } = &mut self.moments;
        if p.device() == Device::Cpu {
            let [p, m, v] = [&mut p, m, v].map(own_all);
            on_slices(p, numbers(g), m, v, &segments);
            return;
        }
        for (places, c) in segments {
            let part = |buffer: &Tensor| buffer.narrow(0, places.start as i64, places.len() as i64);
            on_tensors(part(&p), &part(g), part(m), part(v), c);
        }
    }

    fn coefficients(&self, rate: f64, t: u64, shorten: f64) -> impl Fn(Group) -> Coefficients + use<> {
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        let (beta1, beta2, epsilon) = (self.beta1, self.beta2, self.epsilon);
        let (first_left, second_left) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
        move |group| {
            let rate = rate * group.rate;
            Coefficients {
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                rest1: (1.0 - beta1) as f32,
                rest2: (1.0 - beta2) as f32,
                shorten: shorten as f32,
                step_size: (rate / first_left) as f32,
                second_scale: (1.0 / second_left.sqrt()) as f32,
                // A quotient of 0 by less than this is not 0.
                epsilon: (epsilon as f32).max(f32::MIN_POSITIVE),
                keep: (1.0 - rate * group.decay) as f32,
            }
        }
    }

    /// A step on a GPU that waits for nothing, in one kernel for each group: the learning rate and the number of the step are
    /// read there, what gradients are divided by, too, and nothing is changed where `skip` is 1; f32, each a tensor of one.
    pub(crate) fn step_on_gpu(&self, parameters: &FlatParameters, numbers: &Numbers) {
        let (p, g) = (parameters.buffer(), parameters.gradients());
        let mut left: Vec<&Segment> = self.segments.iter().collect();
        while let Some(Segment { group, .. }) = left.first().copied() {
            let moved = left.extract_if(.., |segment| segment.group == *group).map(|Segment { places, .. }| {
                let part = |buffer: &Tensor| buffer.narrow(0, places.start as i64, places.len() as i64);
                let Moments { first, second } = &self.moments;
                Moved { parameters: part(p), gradients: part(g), first: part(first), second: part(second) }
            });
            let moved: Vec<Moved> = moved.collect();
            let own = (group.rate != 1.0).then(|| numbers.rate * group.rate);
            let rate = own.as_ref().unwrap_or(numbers.rate);
            let Adam { beta1, beta2, epsilon, .. } = *self;
            let constants = Constants { beta1, beta2, decay: group.decay, epsilon };
            flow_cuda::adam_step(&moved, constants, &Numbers { rate, ..*numbers })
                .expect("buffers of one layout, and a libtorch that was asked before");
        }
    }

    /// The coefficients of every place for the `t`-th step, nothing shortened.
    pub(crate) fn coefficients_by_place(&self, parameters: &FlatParameters, rate: f64, t: u64) -> Vec<Coefficients> {
        let of = self.coefficients(rate, t, 1.0);
        let segment = |offset: usize| self.segments.iter().find(|s| s.places.contains(&offset));
        let places = parameters.places().iter();
        places.map(|place| of(segment(place.offset as usize).expect("every place is in one").group)).collect()
    }

    /// A step of the numbers of one place by `gradient`, as many; returns Σ g².
    pub(crate) fn step_place(
        &mut self,
        parameters: &FlatParameters,
        place: usize,
        gradient: &[f32],
        c: &Coefficients,
    ) -> f64 {
        self.at_place(parameters, place, |p, m, v| on_slices(p, gradient, m, v, &[(0..gradient.len(), *c)]))
    }

    /// The same for a weight whose gradient is computed from panels ([`flow_dense::gradient`]) and never in memory as a whole; the
    /// bias stays as it is.
    pub(crate) fn step_place_dense(
        &mut self,
        parameters: &FlatParameters,
        place: usize,
        (grad, input): (&Panels, &Panels),
        coefficients: &Coefficients,
    ) -> OfLayer {
        self.at_place(parameters, place, |weight, first, second| {
            let into = Destination::Step { weight, first, second, coefficients };
            gradient(grad, input, rounding(), into, threads())
        })
    }

    /// Does something with the numbers of a place and both their moments. They are parts of slices and not of tensors, of which a step
    /// would make hundreds.
    fn at_place<T>(
        &mut self,
        parameters: &FlatParameters,
        place: usize,
        f: impl FnOnce(&mut [f32], &mut [f32], &mut [f32]) -> T,
    ) -> T {
        let place = parameters.places()[place].range();
        let mut parameters = parameters.buffer().shallow_clone();
        let Moments { first, second } = &mut self.moments;
        // Of other places there may be slices in what is to go back yet.
        let [p, m, v] = [&mut parameters, first, second].map(|buffer| own(buffer, place.clone()));
        f(p, m, v)
    }

    /// A vector of `len` numbers to compute a gradient into; the same memory each time.
    pub(crate) fn scratch(&mut self, len: i64) -> Tensor {
        if self.scratch.numel() < len as usize {
            self.scratch = Tensor::zeros([len], (Kind::Float, Device::Cpu));
        }
        self.scratch.narrow(0, 0, len)
    }
}

/// By tensor operations, for devices whose memory is not ours to touch.
fn on_tensors(mut p: Tensor, g: &Tensor, mut m: Tensor, mut v: Tensor, c: Coefficients) {
    flow_core::no_grad(|| {
        let g = g * f64::from(c.shorten);
        let _ = m.g_mul_scalar_(f64::from(c.beta1)).g_add_(&(&g * f64::from(c.rest1)));
        let _ = v.g_mul_scalar_(f64::from(c.beta2)).g_add_(&(g.square() * f64::from(c.rest2)));
        let change = &m * f64::from(c.step_size) / (v.sqrt() * f64::from(c.second_scale) + f64::from(c.epsilon));
        let _ = p.g_mul_scalar_(f64::from(c.keep)).g_sub_(&change);
    });
}

/// Numbers below which a second thread costs more than it gains.
const WORTH_A_THREAD: usize = 1 << 16;

/// By one loop over memory on the processor: each number is read and written once, by as many threads as libtorch has.
/// Returns Σ g², shortened.
fn on_slices(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], segments: &[(Range<usize>, Coefficients)]) -> f64 {
    assert_eq!(p.len(), g.len(), "as many gradients as numbers");
    let size = p.len().div_ceil(threads()).max(WORTH_A_THREAD);
    let parts = p.chunks_mut(size).zip(g.chunks(size)).zip(m.chunks_mut(size)).zip(v.chunks_mut(size));
    let parts =
        parts.enumerate().map(|(i, (((p, g), m), v))| Mutex::new(Part { start: i * size, p, g, m, v, squares: 0.0 }));
    let parts: Vec<_> = parts.collect();
    in_parallel(parts.len(), &|i, _| parts[i].lock().expect("no other thread has it").update(segments));
    parts.into_iter().map(|part| part.into_inner().expect("all threads are back").squares).sum()
}

/// Some numbers of a buffer, of which one thread takes steps.
fn own(buffer: &mut Tensor, some: Range<usize>) -> &mut [f32] {
    #[allow(unsafe_code, reason = "a tensor is written to")]
    // SAFETY: parameters and both moments are distinct allocations, and who takes a step has these numbers alone.
    unsafe {
        some_numbers_mut(buffer, some)
    }
}

fn own_all(buffer: &mut Tensor) -> &mut [f32] {
    let all = 0..buffer.numel();
    own(buffer, all)
}

/// One thread's part of the four buffers.
struct Part<'a> {
    start: usize,
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    squares: f64,
}

impl Part<'_> {
    fn update(&mut self, segments: &[(Range<usize>, Coefficients)]) {
        let end = self.start + self.p.len();
        for (places, c) in segments {
            let (from, to) = (places.start.max(self.start), places.end.min(end));
            if from < to {
                let own = from - self.start..to - self.start;
                let (p, g) = (&mut self.p[own.clone()], &self.g[own.clone()]);
                self.squares += adam_step(p, g, &mut self.m[own.clone()], &mut self.v[own], c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flow_core::rng::with_seed;

    use super::*;

    fn draw(len: usize) -> Tensor {
        Tensor::randn([len as i64], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn tensors_and_slices_take_the_same_steps() {
        let len = WORTH_A_THREAD + 5;
        let (start, gradients) = with_seed(1, || (draw(len), [draw(len), draw(len) * 30.0, draw(len) * 1e-3]));
        let (mut p1, p2) = (start.copy(), start.copy());
        let zeros = || start.zeros_like();
        let (mut m1, mut v1, m2, v2) = (zeros(), zeros(), zeros(), zeros());
        for (t, g) in (1..).zip(&gradients) {
            let c = Coefficients {
                beta1: 0.9,
                beta2: 0.999,
                rest1: 0.1,
                rest2: 0.001,
                shorten: 0.5,
                step_size: (1e-2 / (1.0 - 0.9f64.powi(t))) as f32,
                second_scale: (1.0 / (1.0 - 0.999f64.powi(t)).sqrt()) as f32,
                epsilon: 1e-8,
                keep: 0.999,
            };
            // In two segments, of which the second reaches into the second thread's part.
            let segments = [(0..7, c), (7..len, c)];
            on_slices(own_all(&mut p1), numbers(g), own_all(&mut m1), own_all(&mut v1), &segments);
            on_tensors(p2.shallow_clone(), g, m2.shallow_clone(), v2.shallow_clone(), c);
        }
        assert!((&p1 - &start).abs().min().double_value(&[]) > 0.0, "no number was left out");
        for (slices, tensors) in [(p1, p2), (m1, m2), (v1, v2)] {
            let off = ((&slices - &tensors).abs() / (tensors.abs() + 1.0)).max().double_value(&[]);
            assert!(off < 1e-6, "{off}");
        }
    }
}
