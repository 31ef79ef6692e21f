//! Randomness as a function of a seed, never of how long the process has lived.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};

use crate::dense::numbers;

/// libtorch's generator is one for the whole process: who seeds and draws must not be disturbed in between.
static GENERATOR: Mutex<()> = Mutex::new(());

thread_local! {
    /// Whether this thread holds the generator already: one draw may be made of others.
    static HELD: Cell<bool> = const { Cell::new(false) };
}

/// Runs `draw` with libtorch's generator seeded by `seed`, one thread at a time; `draw` may call `with_seed` again.
///
/// Everything random in these crates goes through here, so the same seed gives the same numbers, so long as no other
/// thread draws from libtorch's generator by itself meanwhile: whoever does draws under `with_seed`, too.
///
/// Afterwards the generator goes on from a number that it drew before: who draws from it between two calls gets new
/// numbers each time, which are a function of the process's own `tch::manual_seed` as ever, though not those that it
/// would have drawn without the call.
pub fn with_seed<T>(seed: u64, draw: impl FnOnce() -> T) -> T {
    let _turn = Turn::take();
    tch::manual_seed(seed as i64);
    draw()
}

/// The generator, from where it is taken to where it is given back, by a panic as well.
struct Turn {
    /// What the generator goes on from.
    next: i64,
    outermost: Option<MutexGuard<'static, ()>>,
}

impl Turn {
    fn take() -> Self {
        // A panic while drawing leaves nothing half-done: the next to come seeds anew.
        let lock = || GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
        let outermost = (!HELD.replace(true)).then(lock);
        // By what most draws of latents call, which then lies in cache: after a model was read it takes longer to fetch than to run. Signs
        // alone, for last bits are another processor's.
        let drawn = Tensor::randn([64], (Kind::Float, Device::Cpu));
        let next = numbers(&drawn).iter().fold(0, |next, x| next << 1 | i64::from(x.is_sign_negative()));
        Turn { next, outermost }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        tch::manual_seed(self.next);
        if self.outermost.is_some() {
            HELD.set(false);
        }
    }
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
    fn what_is_drawn_between_two_calls_does_not_repeat() {
        let own = || Tensor::randn([5], (Kind::Float, Device::Cpu));
        // Under a seed of its own, so that no other test draws in between.
        let drawn = |seed| {
            with_seed(seed, || {
                let before = own();
                let [first, second] = [0, 0].map(|same| {
                    let _ = with_seed(same, own);
                    own()
                });
                (before, first, second)
            })
        };
        let (before, first, second) = drawn(1);
        assert_ne!(first, second);
        assert_ne!(before, first);
        assert_eq!(drawn(1), (before, first, second), "a seed outside still says everything");
        assert_ne!(drawn(2).1, drawn(1).1);
    }

    #[test]
    fn a_draw_may_be_made_of_others_and_may_panic() {
        let draw = || with_seed(3, || Tensor::randn([5], (Kind::Float, Device::Cpu)));
        assert_eq!(with_seed(7, draw), draw());
        let panicked = std::panic::catch_unwind(|| with_seed(1, || with_seed(2, || panic!("on purpose"))));
        assert!(panicked.is_err());
        // Were the lock still held, another thread would wait for ever.
        assert_eq!(std::thread::spawn(move || draw().sum(Kind::Float).double_value(&[])).join().expect("no panic"), {
            draw().sum(Kind::Float).double_value(&[])
        });
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
