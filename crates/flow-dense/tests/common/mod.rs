//! What all files of tests here use.

mod again;

pub use again::again_with_fewer_instructions;

/// Numbers within ±1, another sequence for each seed.
pub fn draw(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Up to 1,200 products within ±1: partial sums come to some 20, and each is rounded to a unit in its last place, 2e-6.
pub const ROUNDING: f64 = 5e-5;

/// Every number is the plain one but for so much; what is infinite or no number is the same.
#[track_caller]
pub fn close(fast: &[f32], plain: &[f64], tolerance: f64) {
    assert_eq!(fast.len(), plain.len());
    for (i, (fast, plain)) in fast.iter().zip(plain).enumerate() {
        let fast = f64::from(*fast);
        let same = fast == *plain || fast.is_nan() && plain.is_nan();
        assert!(
            same || (fast - plain).abs() <= tolerance * (1.0 + plain.abs()) && plain.is_finite(),
            "{i}: {fast} {plain}"
        );
    }
}
