//! The gradient of a convolution's filters: what each output's gradient and each tap's input come to, over all places.

use crate::convolution::offsets;
use crate::lanes::{Lanes, with_lanes};
use crate::planes::Planes;
use crate::rounded::Rounding;
use crate::{bf16, planes_rounded};

/// The gradient `[outputs, inputs, k, k]` of filters with so many taps, 1 or 9, from that of their output and from their input, both
/// rounded as `rounding` says; on this thread.
///
/// # Panics
///
/// If sizes do not go together.
pub fn filter_gradient(grad: &Planes, x: &Planes, rounding: Rounding, taps: usize) -> Vec<f32> {
    assert_eq!(grad.images(), x.images(), "the same images");
    assert!(taps == 1 || taps == 9, "{taps} taps");
    match rounding {
        Rounding::None | Rounding::Parts => {}
        Rounding::Bf16 if bf16::used() => return planes_rounded::filter_gradient(grad, x, taps),
        Rounding::Bf16 => return filter_gradient(&grad.rounded(), &x.rounded(), Rounding::None, taps),
    }
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

/// Calls `$f::<V, O, N>` for the `O` that is `$outputs`, 1 to 5.
macro_rules! by_outputs {
    ($outputs:expr, $f:ident::<$v:ident, $n:tt>($($arg:expr),*)) => {
        match $outputs {
            1 => $f::<$v, 1, $n>($($arg),*),
            2 => $f::<$v, 2, $n>($($arg),*),
            3 => $f::<$v, 3, $n>($($arg),*),
            4 if $v::REGISTERS >= 32 => $f::<$v, 4, $n>($($arg),*),
            5 if $v::REGISTERS >= 32 => $f::<$v, 5, $n>($($arg),*),
            outputs => unreachable!("a tile of {outputs} outputs"),
        }
    };
}

with_lanes! {
    unsafe fn run_9(work: &Work) = run_9_by
}

with_lanes! {
    unsafe fn run_1(work: &Work) = run_1_by
}

/// Outputs of a tile with several taps of one input: with nine taps each these are 27 registers, with three 9.
const WIDE: usize = 3;
/// Outputs and inputs of a tile of single taps, where there are 32 registers.
const SQUARE: usize = 5;
/// Its inputs where there are 16, by [`WIDE`] outputs.
const NARROW: usize = 4;

/// # Safety
///
/// The pointers in `work` are to as many numbers as its sizes say, and nobody else writes what it writes.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn run_9_by<V: Lanes>(work: &Work) {
    for output in (0..work.outputs).step_by(WIDE) {
        let count = WIDE.min(work.outputs - output);
        for input in 0..work.inputs {
            unsafe {
                if V::REGISTERS >= 32 {
                    by_outputs!(count, taps::<V, 9>(work, output, input, 0));
                } else {
                    // A row of taps at a time.
                    for tap in (0..9).step_by(3) {
                        by_outputs!(count, taps::<V, 3>(work, output, input, tap));
                    }
                }
            }
        }
    }
}

/// # Safety
///
/// As [`run_9_by`].
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn run_1_by<V: Lanes>(work: &Work) {
    let (wide, high) = if V::REGISTERS >= 32 { (SQUARE, SQUARE) } else { (WIDE, NARROW) };
    for output in (0..work.outputs).step_by(wide) {
        let count = wide.min(work.outputs - output);
        for input in (0..work.inputs).step_by(high) {
            unsafe {
                if V::REGISTERS >= 32 {
                    by_outputs!(count, channels::<V, SQUARE>(work, output, input));
                } else {
                    by_outputs!(count, channels::<V, NARROW>(work, output, input));
                }
            }
        }
    }
}

/// `O` outputs by the `N` taps of one input from `tap` on.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_9_by`")]
unsafe fn taps<V: Lanes, const O: usize, const N: usize>(work: &Work, output: usize, input: usize, tap: usize) {
    let x = work.x.wrapping_add(input * work.plane);
    unsafe {
        let sums = sums::<V, O, N>(work, output, std::array::from_fn(|i| x.wrapping_offset(work.taps[tap + i])));
        for (o, sums) in sums.into_iter().enumerate() {
            store_sums(sums, work.out.add(((output + o) * work.inputs + input) * 9 + tap), N);
        }
    }
}

/// `O` outputs by up to `N` inputs; of fewer the last is taken again.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_9_by`")]
unsafe fn channels<V: Lanes, const O: usize, const N: usize>(work: &Work, output: usize, input: usize) {
    let some = N.min(work.inputs - input);
    unsafe {
        let x = std::array::from_fn(|i| work.x.wrapping_add((input + i.min(some - 1)) * work.plane));
        for (o, sums) in sums::<V, O, N>(work, output, x).into_iter().enumerate() {
            store_sums(sums, work.out.add((output + o) * work.inputs + input), some);
        }
    }
}

/// What the gradients of `O` outputs and `N` inputs come to over all places, each still as many sums as a vector has numbers.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `run_9_by`")]
unsafe fn sums<V: Lanes, const O: usize, const N: usize>(
    work: &Work,
    output: usize,
    x: [*const f32; N],
) -> [[V; N]; O] {
    unsafe {
        let mut sums = [[V::splat(0.0); N]; O];
        let grad = work.grad.add(output * work.plane);
        for place in (0..work.places).step_by(V::LANES) {
            let grads: [V; O] = std::array::from_fn(|o| V::load(grad.add(o * work.plane + place)));
            for (i, x) in x.iter().enumerate() {
                let x = V::load(x.wrapping_add(place));
                for (sums, grad) in sums.iter_mut().zip(grads) {
                    sums[i] = grad.mul_add(x, sums[i]);
                }
            }
        }
        sums
    }
}

/// The sum of each of the first `some` vectors, one after the other.
///
/// # Safety
///
/// There is room for so many.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn store_sums<V: Lanes, const N: usize>(vectors: [V; N], to: *mut f32, some: usize) {
    unsafe {
        if N <= V::LANES / 2 || N > V::LANES {
            for (i, vector) in vectors.into_iter().enumerate().take(some) {
                *to.add(i) = vector.sum();
            }
            return;
        }
        let mut square = V::zeros();
        square.as_mut()[..N].copy_from_slice(&vectors);
        let mut rows = V::transposed(square);
        let rows = rows.as_mut();
        let mut count = V::LANES;
        while count > 1 {
            count /= 2;
            for i in 0..count {
                rows[i] = rows[i].add(rows[i + count]);
            }
        }
        rows[0].store_first(to, some);
    }
}
