//! Adam over a flat parameter buffer, in one pass over memory.

use tch::{Device, Kind, Tensor};

use crate::flat::FlatParameters;

/// Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2):
///
/// ```text
/// m = β1 m + (1 - β1) g,   v = β2 v + (1 - β2) g²
/// p = p - rate (m / (1 - β1^t)) / (√(v / (1 - β2^t)) + ε) - rate decay p
/// ```
#[derive(Debug)]
pub struct Adam {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// What keeps the quotient finite.
    pub epsilon: f64,
    moments: Moments,
    groups: Vec<Group>,
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

/// What is the same for every number of one variable in one step.
#[derive(Clone, Copy)]
struct Coefficients {
    beta1: f32,
    beta2: f32,
    /// 1 - β1 and 1 - β2, taken before rounding: as a difference of f32, 1 - 0.999 is off by 5e-5 of itself.
    rest1: f32,
    rest2: f32,
    /// Factor on the gradient, below 1 where its norm was clipped.
    shorten: f32,
    step_size: f32,
    /// 1 / √(1 - β2^t).
    second_scale: f32,
    epsilon: f32,
    /// 1 - rate · decay.
    keep: f32,
}

impl Adam {
    /// Moments of 0 for `parameters`, whose places `groups` follow one by one.
    pub fn new(parameters: &FlatParameters, groups: Vec<Group>, (beta1, beta2): (f64, f64), epsilon: f64) -> Self {
        assert_eq!(groups.len(), parameters.places().len(), "one group for each variable");
        let zeros = || parameters.buffer().zeros_like();
        Adam { beta1, beta2, epsilon, moments: Moments { first: zeros(), second: zeros() }, groups }
    }

    /// Both moments, to save them or to copy saved ones in.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// The `t`-th step (from 1) with gradients in the order of the places, each multiplied by `shorten`. A variable whose
    /// gradient is undefined (the loss does not depend on it) is left alone.
    pub fn step(&mut self, parameters: &FlatParameters, gradients: &[Tensor], rate: f64, t: u64, shorten: f64) {
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        let (first_left, second_left) = (1.0 - self.beta1.powi(t), 1.0 - self.beta2.powi(t));
        let on_cpu = parameters.buffer().device() == Device::Cpu;
        for ((place, gradient), group) in parameters.places().iter().zip(gradients).zip(&self.groups) {
            if !gradient.defined() {
                continue;
            }
            let rate = rate * group.rate;
            let c = Coefficients {
                beta1: self.beta1 as f32,
                beta2: self.beta2 as f32,
                rest1: (1.0 - self.beta1) as f32,
                rest2: (1.0 - self.beta2) as f32,
                shorten: shorten as f32,
                step_size: (rate / first_left) as f32,
                second_scale: (1.0 / second_left.sqrt()) as f32,
                epsilon: self.epsilon as f32,
                keep: (1.0 - rate * group.decay) as f32,
            };
            let part = |buffer: &Tensor| buffer.narrow(0, place.offset, place.len);
            let (p, m, v) = (part(parameters.buffer()), part(&self.moments.first), part(&self.moments.second));
            // A gradient may come as an expanded or transposed view.
            let g = gradient.detach().reshape([place.len]).contiguous();
            if on_cpu { on_slices(p, &g, m, v, c) } else { on_tensors(p, &g, m, v, c) }
        }
    }
}

/// By tensor operations, for devices whose memory is not ours to touch.
fn on_tensors(mut p: Tensor, g: &Tensor, mut m: Tensor, mut v: Tensor, c: Coefficients) {
    tch::no_grad(|| {
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
fn on_slices(mut p: Tensor, g: &Tensor, mut m: Tensor, mut v: Tensor, c: Coefficients) {
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
    let [p, m, v] = [&mut p, &mut m, &mut v].map(numbers_mut);
    let g = numbers(g);
    let size = p.len().div_ceil(threads).max(WORTH_A_THREAD);
    let chunks = p.chunks_mut(size).zip(g.chunks(size)).zip(m.chunks_mut(size)).zip(v.chunks_mut(size));
    std::thread::scope(|scope| {
        let mut chunks = chunks.map(|(((p, g), m), v)| (p, g, m, v)).peekable();
        while let Some((p, g, m, v)) = chunks.next() {
            if chunks.peek().is_some() {
                scope.spawn(move || update(p, g, m, v, c));
            } else {
                update(p, g, m, v, c);
            }
        }
    });
}

fn update(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: Coefficients) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        #[allow(unsafe_code)]
        // SAFETY: the features it is compiled for were just found.
        return unsafe { update_avx2(p, g, m, v, c) };
    }
    update_portable(p, g, m, v, c);
}

/// The same loop, compiled for vectors of 8.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn update_avx2(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: Coefficients) {
    update_portable(p, g, m, v, c);
}

#[inline(always)]
fn update_portable(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: Coefficients) {
    for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        let g = g * c.shorten;
        *m = c.beta1 * *m + c.rest1 * g;
        *v = c.beta2 * *v + c.rest2 * g * g;
        *p = c.keep * *p - c.step_size * *m / (v.sqrt() * c.second_scale + c.epsilon);
    }
}

fn numbers(t: &Tensor) -> &[f32] {
    check(t);
    #[allow(unsafe_code)]
    // SAFETY: a contiguous f32 tensor on the processor owns `numel` floats from its data pointer on, for as long as it
    // lives, and the borrow ends before.
    unsafe {
        std::slice::from_raw_parts(t.data_ptr().cast::<f32>(), t.numel())
    }
}

fn numbers_mut(t: &mut Tensor) -> &mut [f32] {
    check(t);
    #[allow(unsafe_code)]
    // SAFETY: as above; the three buffers and the gradient are distinct allocations, so that none is borrowed twice.
    unsafe {
        std::slice::from_raw_parts_mut(t.data_ptr().cast::<f32>(), t.numel())
    }
}

fn check(t: &Tensor) {
    assert!(t.kind() == Kind::Float && t.device() == Device::Cpu && t.is_contiguous(), "not a plain f32 buffer: {t:?}");
}

/// The norm of all gradients together, √Σ g², undefined ones counting as 0.
pub fn gradient_norm(gradients: &[Tensor]) -> f64 {
    let norms: Vec<Tensor> = gradients.iter().filter(|g| g.defined()).map(|g| g.detach().norm()).collect();
    if norms.is_empty() {
        return 0.0;
    }
    // One transfer from the device, not one a variable.
    let norms = Tensor::stack(&norms, 0).to_device(Device::Cpu).to_kind(Kind::Double);
    norms.square().sum(None::<Kind>).sqrt().double_value(&[])
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
        let (p1, p2) = (start.copy(), start.copy());
        let zeros = || start.zeros_like();
        let (m1, v1, m2, v2) = (zeros(), zeros(), zeros(), zeros());
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
            on_slices(p1.shallow_clone(), g, m1.shallow_clone(), v1.shallow_clone(), c);
            on_tensors(p2.shallow_clone(), g, m2.shallow_clone(), v2.shallow_clone(), c);
        }
        assert!((&p1 - &start).abs().min().double_value(&[]) > 0.0, "no number was left out");
        for (slices, tensors) in [(p1, p2), (m1, m2), (v1, v2)] {
            let off = ((&slices - &tensors).abs() / (tensors.abs() + 1.0)).max().double_value(&[]);
            assert!(off < 1e-6, "{off}");
        }
    }

    #[test]
    fn the_vectorised_loop_is_the_portable_one() {
        let c = Coefficients {
            beta1: 0.9,
            beta2: 0.99,
            rest1: 0.1,
            rest2: 0.01,
            shorten: 1.0,
            step_size: 0.1,
            second_scale: 2.0,
            epsilon: 1e-4,
            keep: 1.0,
        };
        let g: Vec<f32> = (0..37).map(|i| (i as f32 - 18.0) / 7.0).collect();
        let run = |vectorised: bool| {
            let (mut p, mut m, mut v) = (vec![1.0; 37], vec![0.5; 37], vec![0.25; 37]);
            match vectorised {
                true => update(&mut p, &g, &mut m, &mut v, c),
                false => update_portable(&mut p, &g, &mut m, &mut v, c),
            }
            [p, m, v].concat()
        };
        for (fast, plain) in run(true).into_iter().zip(run(false)) {
            assert!((fast - plain).abs() < 1e-6, "{fast} {plain}");
        }
    }
}
