//! Gradients switched off, and on again by a panic as well.

/// Runs `f` with gradients off on this thread, and puts them back as they were: after a panic, too, which
/// [`tch::no_grad`] does not. A thread of a server or of a test goes on after one, and would tape nothing any more.
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    let _guard = tch::no_grad_guard();
    f()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn a_panic_leaves_gradients_on() {
        let x = Tensor::ones([1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        assert!(!no_grad(|| (&x * 2.0).requires_grad()));
        assert!(std::panic::catch_unwind(|| no_grad(|| panic!("on purpose"))).is_err());
        assert!((&x * 2.0).requires_grad());
    }
}
