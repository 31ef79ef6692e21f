//! Randomness as a function of a seed, never of how long the process has lived.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};

/// libtorch's generator is one for the whole process: who seeds and draws must not be disturbed in between.
static GENERATOR: Mutex<()> = Mutex::new(());

fn lock() -> MutexGuard<'static, ()> {
    // A panic while drawing leaves nothing half-done: the next to come seeds anew.
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `draw` with libtorch's generator seeded by `seed`, one thread at a time.
///
/// Everything random in these crates goes through here, so the same seed gives the same numbers whatever else runs.
/// `draw` must not call `with_seed` itself.
pub fn with_seed<T>(seed: u64, draw: impl FnOnce() -> T) -> T {
    let _guard = lock();
    tch::manual_seed(seed as i64);
    draw()
}

/// A seed for the `index`-th use of `seed` for a `purpose`; different uses get unrelated seeds (SplitMix64's finalizer).
pub fn derive_seed(seed: u64, purpose: &str, index: u64) -> u64 {
    let words = purpose.bytes().map(u64::from).chain([index]);
    words.fold(mix(seed), |state, word| mix(state ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A permutation of `0..dim` drawn uniformly, the same on every device.
pub fn permutation(dim: usize, seed: u64) -> Vec<i64> {
    let order = with_seed(seed, || Tensor::randperm(dim as i64, (Kind::Int64, Device::Cpu)));
    Vec::try_from(order).expect("a vector of indices")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers() {
        let draw = |seed| with_seed(seed, || Tensor::randn([5], (Kind::Float, Device::Cpu)));
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn derived_seeds_differ_by_purpose_and_index() {
        let seeds = [derive_seed(0, "a", 0), derive_seed(0, "a", 1), derive_seed(0, "b", 0), derive_seed(1, "a", 0)];
        for (i, a) in seeds.iter().enumerate() {
            assert!(seeds[..i].iter().all(|b| a != b));
        }
    }

    #[test]
    fn permutations_are_complete() {
        let mut order = permutation(100, 7);
        assert_ne!(order, (0..100).collect::<Vec<i64>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<i64>>());
    }
}
