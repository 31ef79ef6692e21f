//! Streams of random numbers that are functions of (purpose, seed, index), never of what was drawn before.

use ndarray_rand::rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// What a stream is for. Two purposes never share a number, whatever their seeds.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// Points asked for by seed.
    Draw = 1,
    /// A training batch; the index is the step.
    Batch = 2,
    /// A fixed training set.
    Fixed = 3,
    /// The validation points of a toy.
    Validation = 4,
    /// The test points of a toy.
    Test = 5,
    /// The order in which rows of a finite data set are dealt out to its splits.
    Deal = 6,
}

/// The stream of a purpose, a seed and an index: ChaCha with 8 rounds under the key (purpose, seed, index, 0), each 8
/// bytes, least significant first.
///
/// ChaCha is a counter-based pseudo-random function, so streams of different keys can be taken as independent: seeds
/// need no mixing, and step 1 of seed 0 has nothing in common with step 0 of seed 1.
pub(crate) fn stream(purpose: Purpose, seed: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([purpose as u64, seed, index]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The numbers 0 to n - 1 in a seeded order, 4 bytes each: of a large file it is what is kept in memory.
///
/// # Panics
/// Where they are not below 2^32; [`partition::check_rows`](crate::partition::check_rows) refuses so many rows.
pub(crate) fn permutation(n: usize, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(n).expect("fewer than 2^32 rows")).collect();
    order.shuffle(&mut stream(Purpose::Deal, seed, 0));
    order
}

#[cfg(test)]
mod tests {
    use ndarray_rand::rand::RngCore;

    use super::*;

    #[test]
    fn streams_differ_in_purpose_seed_and_index_and_repeat() {
        let first = |purpose, seed, index| stream(purpose, seed, index).next_u64();
        let a = first(Purpose::Batch, 0, 1);
        assert_eq!(a, first(Purpose::Batch, 0, 1));
        assert_ne!(a, first(Purpose::Batch, 1, 0));
        assert_ne!(a, first(Purpose::Draw, 0, 1));
        assert_ne!(a, first(Purpose::Batch, 0, 2));
    }

    #[test]
    fn a_permutation_is_one_and_depends_on_the_seed() {
        let mut order = permutation(100, 7);
        assert_ne!(order, permutation(100, 8));
        assert_eq!(order, permutation(100, 7));
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
