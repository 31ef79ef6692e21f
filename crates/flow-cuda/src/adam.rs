//! Adam in one kernel.

use std::ffi::{c_char, c_void};
use std::ptr;

use tch::Tensor;

use crate::told::told;
use crate::{Error, kernels};

/// What a step moves: parameters, their gradients, and both moments of these, all of one size and kind.
#[derive(Debug)]
pub struct Moved {
    /// The parameters.
    pub parameters: Tensor,
    /// Their gradients.
    pub gradients: Tensor,
    /// The mean of the gradient.
    pub first: Tensor,
    /// The mean of its square.
    pub second: Tensor,
}

impl Moved {
    /// Whether a kernel of this crate's own can move them.
    fn is_plain(&self) -> bool {
        let Moved { parameters, gradients, first, second } = self;
        [parameters, gradients, first, second].into_iter().all(|t| {
            let alike = t.numel() == parameters.numel() && t.device() == parameters.device();
            alike && kernels::applies(t) && t.is_contiguous()
        })
    }
}

/// What stays the same from step to step.
#[derive(Debug, Clone, Copy)]
pub struct Constants {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decoupled weight decay per unit of learning rate.
    pub decay: f64,
    /// What keeps the quotient finite.
    pub epsilon: f64,
}

/// What a step may depend on without the processor's knowing it: numbers on the device, f32, each a tensor of one.
#[derive(Debug)]
pub struct Numbers<'a> {
    /// The learning rate.
    pub rate: &'a Tensor,
    /// The number of the step, from 1.
    pub step: &'a Tensor,
    /// What gradients are divided by; what is in their place afterwards says nothing.
    pub shrink: Option<&'a Tensor>,
    /// Where it is 1 nothing is changed.
    pub skip: Option<&'a Tensor>,
}

/// Whether [`adam_step`] can be called.
pub fn has_adam_step() -> bool {
    #[allow(unsafe_code, reason = "a function of another language")]
    // SAFETY: it takes nothing and looks up a name.
    unsafe {
        flow_cuda_adam_available()
    }
}

/// One step of Adam with decoupled weight decay (Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2) by
/// a kernel that reads and writes each number once, this crate's or else libtorch's. It can be recorded.
///
/// # Errors
///
/// [`Error::Unavailable`] where the libtorch of this program has it not; [`Error::Refused`] for tensors that do not fit.
pub fn adam_step(moved: &[Moved], constants: Constants, numbers: &Numbers) -> Result<(), Error> {
    let one_device = moved.windows(2).all(|two| two[0].parameters.device() == two[1].parameters.device());
    if one_device && moved.iter().all(Moved::is_plain) {
        kernels::adam(moved, constants, numbers);
        return Ok(());
    }
    if !has_adam_step() {
        return Err(Error::Unavailable);
    }
    let pointers =
        |of: fn(&Moved) -> &Tensor| -> Vec<*const c_void> { moved.iter().map(|moved| pointer(of(moved))).collect() };
    let parameters = pointers(|moved| &moved.parameters);
    let gradients = pointers(|moved| &moved.gradients);
    let (first, second) = (pointers(|moved| &moved.first), pointers(|moved| &moved.second));
    let optional = |tensor: Option<&Tensor>| tensor.map_or(ptr::null(), pointer);
    let Constants { beta1, beta2, decay, epsilon } = constants;
    told(|why, room| {
        #[allow(unsafe_code, reason = "a function of another language")]
        // SAFETY: there are as many tensors in each list as it is told, all borrowed until it returns; `why` has `room` bytes.
        unsafe {
            flow_cuda_adam_step(
                moved.len(),
                parameters.as_ptr(),
                gradients.as_ptr(),
                first.as_ptr(),
                second.as_ptr(),
                pointer(numbers.step),
                pointer(numbers.rate),
                beta1,
                beta2,
                decay,
                epsilon,
                optional(numbers.shrink),
                optional(numbers.skip),
                why,
                room,
            )
        }
        .then_some(())
    })
}

fn pointer(tensor: &Tensor) -> *const c_void {
    tensor.as_ptr().cast()
}

#[allow(unsafe_code, reason = "functions of another language")]
// SAFETY: these are the functions of adam.cpp, by their types there.
unsafe extern "C" {
    fn flow_cuda_adam_available() -> bool;
    fn flow_cuda_adam_step(
        length: usize,
        parameters: *const *const c_void,
        gradients: *const *const c_void,
        first: *const *const c_void,
        second: *const *const c_void,
        step: *const c_void,
        rate: *const c_void,
        beta1: f64,
        beta2: f64,
        decay: f64,
        epsilon: f64,
        shrink: *const c_void,
        skip: *const c_void,
        why: *mut c_char,
        room: usize,
    ) -> bool;
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    const CONSTANTS: Constants = Constants { beta1: 0.9, beta2: 0.99, decay: 0.1, epsilon: 1e-8 };

    fn moved(len: i64) -> Moved {
        let draw = || Tensor::randn([len], (Kind::Float, Device::cuda_if_available()));
        Moved { parameters: draw(), gradients: draw(), first: draw(), second: draw().square() }
    }

    fn number(x: f64) -> Tensor {
        Tensor::from_slice(&[x as f32]).to_device(Device::cuda_if_available())
    }

    fn copies(m: &Moved) -> [Tensor; 4] {
        [&m.parameters, &m.gradients, &m.first, &m.second].map(Tensor::copy)
    }

    /// By libtorch's kernel on the processor, or by this crate's on a GPU.
    #[test]
    fn it_is_adam() {
        check();
    }

    #[test]
    fn this_crates_kernel_is_adam_too() {
        kernels::emulated(check);
    }

    /// The algorithm in this test's own words.
    fn check() {
        let all = [moved(5), moved(70_000)];
        let before = all.each_ref().map(copies);
        let (rate, t, shrink) = (0.01, 7.0, 4.0);
        let numbers =
            Numbers { rate: &number(rate), step: &number(t), shrink: Some(&number(shrink)), skip: Some(&number(0.0)) };
        adam_step(&all, CONSTANTS, &numbers).unwrap();
        for (moved, [p, g, m, v]) in all.iter().zip(before) {
            let g = g / shrink;
            let m = m * 0.9 + &g * 0.1;
            let v = v * 0.99 + g.square() * 0.01;
            let (m_hat, v_hat) = (&m / (1.0 - 0.9f64.powf(t)), &v / (1.0 - 0.99f64.powf(t)));
            let p = &p * (1.0 - rate * 0.1) - m_hat * rate / (v_hat.sqrt() + 1e-8);
            for (got, expected) in [(&moved.parameters, p), (&moved.first, m), (&moved.second, v)] {
                let off = ((got - &expected).abs() / (expected.abs() + 1.0)).max().double_value(&[]);
                assert!(off < 1e-5, "{off}");
            }
        }
    }

    #[test]
    fn it_is_skipped_where_it_should_be() {
        skipped();
        kernels::emulated(skipped);
    }

    fn skipped() {
        let one = [moved(9)];
        let [p, _, m, v] = copies(&one[0]);
        let numbers = Numbers { rate: &number(1.0), step: &number(1.0), shrink: None, skip: Some(&number(1.0)) };
        adam_step(&one, CONSTANTS, &numbers).unwrap();
        assert!(one[0].parameters == p && one[0].first == m && one[0].second == v);
    }

    #[test]
    fn what_does_not_fit_is_an_error_in_libtorchs_words() {
        let wrong = Moved { gradients: Tensor::zeros([3], (Kind::Double, Device::cuda_if_available())), ..moved(9) };
        let numbers = Numbers { rate: &number(1.0), step: &number(1.0), shrink: None, skip: None };
        let error = adam_step(&[wrong], CONSTANTS, &numbers).unwrap_err().to_string();
        assert!(error.len() > 10, "{error}");
    }
}
