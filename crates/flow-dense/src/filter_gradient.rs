//! The gradient of a convolution's filters: what each output's gradient and each tap's input come to, over all places.

use crate::convolution::offsets;
use crate::lanes::{LANES, Lanes, with_lanes};
use crate::planes::Planes;

/// The gradient `[outputs, inputs, k, k]` of filters with so many taps, 1 or 9, from that of their output and from their input;
/// on this thread.
///
/// # Panics
///
/// If sizes do not go together.
pub fn filter_gradient(grad: &Planes, x: &Planes, taps: usize) -> Vec<f32> {
    assert_eq!(grad.images(), x.images(), "the same images");
    assert!(taps == 1 || taps == 9, "{taps} taps");
    let mut out = vec![0.0; grad.channels() * x.channels() * taps];
    let work = Work {
        grad: grad.pointer(),
        x: x.pointer(),
        outputs: grad.channels(),
        inputs: x.channels(),
        plane: x.images().plane(),
        places: x.images().places(),
        taps: offsets(x.images().row(), taps),
        out: out.as_mut_ptr(),
    };
    // SAFETY: sizes were compared above, and nobody else has what is written.
    unsafe {
        match taps {
            1 => run_1(&work),
            _ => run_9(&work),
        }
    }
    out
}

struct Work {
    grad: *const f32,
    x: *const f32,
    outputs: usize,
    inputs: usize,
    plane: usize,
    places: usize,
    taps: [isize; 9],
    out: *mut f32,
}

/// Outputs of a tile: with nine taps each these are 27 registers.
const WIDE: usize = 3;
/// Outputs and inputs of a tile of single taps.
const SQUARE: usize = 5;

with_lanes! {
    unsafe fn run_9(work: &Work) = run_9_by
}

/// # Safety
///
/// The pointers in `work` are to as many numbers as its sizes say, and nobody else writes what it writes.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn run_9_by<V: Lanes>(work: &Work) {
    for output in (0..work.outputs).step_by(WIDE) {
        for input in 0..work.inputs {
            unsafe {
                match work.outputs - output {
                    1 => nine_taps::<V, 1>(work, output, input),
                    2 => nine_taps::<V, 2>(work, output, input),
                    _ => nine_taps::<V, WIDE>(work, output, input),
                }
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_9_by`")]
unsafe fn nine_taps<V: Lanes, const O: usize>(work: &Work, output: usize, input: usize) {
    unsafe {
        let mut sums = [[V::splat(0.0); 9]; O];
        let grad = work.grad.add(output * work.plane);
        let x = work.x.add(input * work.plane);
        for place in (0..work.places).step_by(LANES) {
            let grads: [V; O] = std::array::from_fn(|o| V::load(grad.add(o * work.plane + place)));
            for (tap, &offset) in work.taps.iter().enumerate() {
                let x = V::load(x.wrapping_add(place).wrapping_offset(offset));
                for (sums, grad) in sums.iter_mut().zip(grads) {
                    sums[tap] = grad.mul_add(x, sums[tap]);
                }
            }
        }
        for (o, sums) in sums.into_iter().enumerate() {
            let to = work.out.add(((output + o) * work.inputs + input) * 9);
            let vectors = std::array::from_fn(|tap| if tap < 9 { sums[tap] } else { V::splat(0.0) });
            across(vectors).store_first(to, 9);
        }
    }
}

with_lanes! {
    unsafe fn run_1(work: &Work) = run_1_by
}

/// # Safety
///
/// As [`run_9_by`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn run_1_by<V: Lanes>(work: &Work) {
    for output in (0..work.outputs).step_by(SQUARE) {
        for input in (0..work.inputs).step_by(SQUARE) {
            unsafe {
                match work.outputs - output {
                    1 => one_tap::<V, 1>(work, output, input),
                    2 => one_tap::<V, 2>(work, output, input),
                    3 => one_tap::<V, 3>(work, output, input),
                    4 => one_tap::<V, 4>(work, output, input),
                    _ => one_tap::<V, SQUARE>(work, output, input),
                }
            }
        }
    }
}

/// `O` outputs by up to [`SQUARE`] inputs; of fewer the last is taken again.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_9_by`")]
unsafe fn one_tap<V: Lanes, const O: usize>(work: &Work, output: usize, input: usize) {
    unsafe {
        let some = SQUARE.min(work.inputs - input);
        let grad = work.grad.add(output * work.plane);
        let inputs: [*const f32; SQUARE] =
            std::array::from_fn(|i| work.x.wrapping_add((input + i.min(some - 1)) * work.plane));
        let mut sums = [[V::splat(0.0); SQUARE]; O];
        for place in (0..work.places).step_by(LANES) {
            let x: [V; SQUARE] = std::array::from_fn(|i| V::load(inputs[i].add(place)));
            for (o, sums) in sums.iter_mut().enumerate() {
                let grad = V::load(grad.add(o * work.plane + place));
                for i in 0..SQUARE {
                    sums[i] = grad.mul_add(x[i], sums[i]);
                }
            }
        }
        for (o, sums) in sums.into_iter().enumerate() {
            let to = work.out.add((output + o) * work.inputs + input);
            let vectors = std::array::from_fn(|i| if i < SQUARE { sums[i] } else { V::splat(0.0) });
            across(vectors).store_first(to, some);
        }
    }
}

/// The sum of each vector, side by side.
///
/// # Safety
///
/// That of [`Lanes`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract above")]
unsafe fn across<V: Lanes>(vectors: [V; LANES]) -> V {
    unsafe {
        let mut rows = V::transposed(vectors);
        let mut count = LANES;
        while count > 1 {
            count /= 2;
            for i in 0..count {
                rows[i] = rows[i].add(rows[i + count]);
            }
        }
        rows[0]
    }
}
