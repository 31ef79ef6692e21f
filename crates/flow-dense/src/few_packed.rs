//! Products of packed weights and a few rows.

use std::ops::Range;

use crate::bits::Bits;
use crate::few::Product;
use crate::lanes::{LINE, with_lanes};
use crate::packed::{Apart, BASE, GROUP, Packable, Packed};
use crate::weight::Bf16;

/// Rows of the input at a time, where there are 32 registers.
const HIGH: usize = 2;

/// Writes some outputs of a product.
///
/// # Safety
///
/// The input has as many columns as the weight, nobody else writes these outputs, and they are whole groups, but for the last of all.
pub(crate) unsafe fn multiply(packed: &Packed, product: &Product, own: Range<usize>) {
    debug_assert!(own.start.is_multiple_of(GROUP));
    // SAFETY: the same contract.
    unsafe {
        match packed.is_of_bf16() {
            false => multiply_f32(packed, product, own),
            true => multiply_bf16(packed, product, own),
        }
    }
}

with_lanes! {
    unsafe fn multiply_f32(packed: &Packed, product: &Product, own: Range<usize>) = multiply_f32_by
}

with_lanes! {
    unsafe fn multiply_bf16(packed: &Packed, product: &Product, own: Range<usize>) = multiply_bf16_by
}

/// # Safety
///
/// That of [`multiply`].
#[inline(always)]
unsafe fn multiply_f32_by<V: Bits>(packed: &Packed, product: &Product, own: Range<usize>) {
    // SAFETY: the same contract.
    unsafe { multiply_by::<V, f32>(packed, product, own) }
}

/// # Safety
///
/// That of [`multiply`].
#[inline(always)]
unsafe fn multiply_bf16_by<V: Bits>(packed: &Packed, product: &Product, own: Range<usize>) {
    // SAFETY: the same contract.
    unsafe { multiply_by::<V, Bf16>(packed, product, own) }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `multiply`")]
unsafe fn multiply_by<V: Bits, N: Packable>(packed: &Packed, product: &Product, own: Range<usize>) {
    let high = if V::REGISTERS >= 32 { HIGH } else { 1 };
    for output in own.clone().step_by(GROUP) {
        let outputs = output..own.end.min(output + GROUP);
        for row in (0..product.rows).step_by(high) {
            unsafe {
                match high.min(product.rows - row) {
                    HIGH => group::<V, N, HIGH>(packed, product, outputs.clone(), row),
                    _ => group::<V, N, 1>(packed, product, outputs.clone(), row),
                }
            }
        }
    }
}

/// A group of outputs of some rows.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `multiply`")]
unsafe fn group<V: Bits, N: Packable, const R: usize>(
    packed: &Packed,
    product: &Product,
    outputs: Range<usize>,
    row: usize,
) {
    let inputs = packed.inputs();
    let (mut words, scale, apart) = packed.group::<N>(outputs.start / GROUP);
    unsafe {
        let x = product.x.at(row * inputs).cast_const();
        let mut sums = [[V::splat(0.0); R]; GROUP];
        for first in (0..inputs).step_by(LINE) {
            for lane in (0..LINE).step_by(V::LANES) {
                let x = x.wrapping_add(first + lane);
                let rows: [V; R] = match (inputs - first).saturating_sub(lane) {
                    some if some >= V::LANES => std::array::from_fn(|r| V::load(x.add(r * inputs))),
                    some => std::array::from_fn(|r| V::load_first(x.wrapping_add(r * inputs), some)),
                };
                let mut last = V::splat(0.0);
                for i in 0..N::STORED {
                    let word = V::load(words.add(i * LINE + lane));
                    last = last.gather(word, N::PIECES);
                    add_products::<V, N, R>(&mut sums, i, word, &rows);
                }
                add_products::<V, N, R>(&mut sums, N::STORED, last, &rows);
            }
            words = words.add(N::STORED * LINE);
        }
        for r in 0..R {
            let mut sums = V::sums(sums.map(|sums| sums[r])).map(|sum| scale * sum);
            for &Apart { row, column, number } in apart {
                sums[usize::from(row)] += number * *x.add(r * inputs + column as usize);
            }
            product.give(row + r, outputs.clone(), &sums);
        }
    }
}

/// Of the `i`-th word of a column: one number, or two that share it.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract of `Lanes`")]
unsafe fn add_products<V: Bits, N: Packable, const R: usize>(
    sums: &mut [[V; R]; GROUP],
    i: usize,
    word: V,
    rows: &[V; R],
) {
    for half in 0..N::SHARING {
        let lower = N::SHARING == 2 && half == 0;
        unsafe {
            let weight = if lower { word.lower_halves() } else { word }.unpacked(N::FIELDS, BASE);
            for (sum, row) in sums[i * N::SHARING + half].iter_mut().zip(rows) {
                *sum = weight.mul_add(*row, *sum);
            }
        }
    }
}
