//! Products of weights where they lie and a few rows.

use std::ops::Range;

use crate::few::Product;
use crate::lanes::{LINE, Lanes};
use crate::stored::Stored;
use crate::weight::Weight;

/// Outputs of a tile.
const WIDE: usize = 4;
/// Rows of a tile, where there are 32 registers.
const HIGH: usize = 4;
/// The same where there are 16.
const LOW: usize = 2;

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `Stored::multiply`")]
pub(crate) unsafe fn multiply_by<V: Lanes, N: Stored>(weight: &Weight<N>, product: &Product, own: Range<usize>) {
    if weight.inputs() < V::LANES {
        return unsafe { narrow(weight, product, own) };
    }
    let high = if V::REGISTERS >= 32 { HIGH } else { LOW };
    for output in own.clone().step_by(WIDE) {
        for row in (0..product.rows).step_by(high) {
            unsafe {
                match (WIDE.min(own.end - output), high.min(product.rows - row)) {
                    (WIDE, 1) => tile::<V, N, WIDE, 1>(weight, product, output, row),
                    (WIDE, 2) => tile::<V, N, WIDE, 2>(weight, product, output, row),
                    (WIDE, 3) if V::REGISTERS >= 32 => tile::<V, N, WIDE, 3>(weight, product, output, row),
                    (WIDE, HIGH) if V::REGISTERS >= 32 => tile::<V, N, WIDE, HIGH>(weight, product, output, row),
                    (outputs, rows) => {
                        for output in output..output + outputs {
                            (row..row + rows).for_each(|row| tile::<V, N, 1, 1>(weight, product, output, row));
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `Stored::multiply`")]
unsafe fn tile<V: Lanes, N: Stored, const O: usize, const R: usize>(
    weight: &Weight<N>,
    product: &Product,
    output: usize,
    row: usize,
) {
    unsafe {
        let sums = products::<V, N, O, R>(weight, product, output, row);
        for (o, sums) in sums.into_iter().enumerate() {
            for (r, sum) in sums.into_iter().enumerate() {
                product.give(row + r, output + o..output + o + 1, &[sum.sum()]);
            }
        }
    }
}

/// A tile of a layer of so few inputs that they do not fill a vector.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `Stored::multiply`")]
unsafe fn narrow<N: Stored>(weight: &Weight<N>, product: &Product, own: Range<usize>) {
    let depth = weight.inputs();
    for row in 0..product.rows {
        for output in own.clone() {
            unsafe {
                let (w, x) = (weight.pointer().add(output * depth), product.x.at(row * depth));
                let sum = (0..depth).map(|i| (*w.add(i)).to_f32() * *x.add(i)).sum();
                product.give(row, output..output + 1, &[sum]);
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `Stored::multiply`")]
unsafe fn products<V: Lanes, N: Stored, const O: usize, const R: usize>(
    weight: &Weight<N>,
    product: &Product,
    output: usize,
    row: usize,
) -> [[V; R]; O] {
    let depth = weight.inputs();
    unsafe {
        let mut sums = [[V::splat(0.0); R]; O];
        let (w, x) = (weight.pointer().add(output * depth), product.x.at(row * depth).cast_const());
        let step = N::VECTORS * V::LANES;
        let whole = depth / step * step;
        // With AVX-512 nothing was gained by it.
        let asks = V::REGISTERS < 32;
        let line = LINE * size_of::<f32>() / size_of::<N>();
        for i in (0..whole).step_by(step) {
            let rows: [[V; 2]; R] = std::array::from_fn(|r| N::load_input(x.add(r * depth + i)));
            for (o, sums) in sums.iter_mut().enumerate() {
                let at = w.add(o * depth + i);
                // The same of the next tile.
                if asks && i.is_multiple_of(line) {
                    V::prefetch(at.wrapping_add(O * depth).cast());
                }
                add_products::<V, N, R>(sums, N::load(at), &rows);
            }
        }
        if whole < depth {
            let rest = depth - whole;
            let rows: [[V; 2]; R] = std::array::from_fn(|r| N::load_first_input(x.add(r * depth + whole), rest));
            for (o, sums) in sums.iter_mut().enumerate() {
                let weights = N::load_first(w.add(o * depth + whole), rest);
                add_products::<V, N, R>(sums, weights, &rows);
            }
        }
        sums
    }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract of `Lanes`")]
unsafe fn add_products<V: Lanes, N: Stored, const R: usize>(sums: &mut [V; R], weights: [V; 2], rows: &[[V; 2]; R]) {
    for (sum, row) in sums.iter_mut().zip(rows) {
        for v in 0..N::VECTORS {
            *sum = unsafe { weights[v].mul_add(row[v], *sum) };
        }
    }
}
