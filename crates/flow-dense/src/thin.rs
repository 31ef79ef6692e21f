//! The gradient of a weight that has hardly any outputs, or hardly any inputs, as layers have at the ends of a net for the plane.
//!
//! No tile would be filled by it. It is a sum over the batch of a few products for each column of the wider factor, which is read once,
//! as it lies.

use std::ops::Range;

use crate::forward::worth;
use crate::lanes::{Lanes, with_lanes};
use crate::panels::{Panels, apart};
use crate::pool::{Shared, in_parallel, share};

/// Columns of the thinner factor, at most.
pub(crate) const THIN: usize = 2;
/// Columns of the wider one that are taken side by side.
const SIDE_BY_SIDE: usize = 4;

/// `thinᵀ wide`, of as many rows, and the sum of each column of `wide`. Rows that fill up the last panel have to be 0 in one of both and
/// finite in the other, and 0 in `wide` for the sums.
pub(crate) fn products(wide: &Panels, thin: &Panels, threads: usize) -> (Vec<f32>, Vec<f32>) {
    let (columns, few) = (wide.columns(), thin.columns());
    assert!(few <= THIN && thin.rows() == wide.rows(), "{few} columns, of as many rows");
    let (mut products, mut sums) = (vec![0.0; few * columns], vec![0.0; columns]);
    let to = (Shared(products.as_mut_ptr()), Shared(sums.as_mut_ptr()));
    in_parallel(worth(columns * wide.rows(), threads), &|part, parts| {
        // SAFETY: sizes were compared above, and each column is one part's.
        unsafe { run((wide, thin), share(columns, part, parts), to) }
    });
    (products, sums)
}

with_lanes! {
    unsafe fn run(factors: (&Panels, &Panels), own: Range<usize>, to: (Shared, Shared)) = run_by
}

/// # Safety
///
/// Both have as many rows, and nobody else writes the places of these columns, which are there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "the same contract")]
unsafe fn run_by<V: Lanes>((wide, thin): (&Panels, &Panels), own: Range<usize>, to: (Shared, Shared)) {
    unsafe {
        match thin.columns() {
            0 => columns::<V, 0>(wide, thin, own, to),
            1 => columns::<V, 1>(wide, thin, own, to),
            _ => columns::<V, THIN>(wide, thin, own, to),
        }
    }
}

#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract of `run_by`")]
unsafe fn columns<V: Lanes, const K: usize>(wide: &Panels, thin: &Panels, own: Range<usize>, to: (Shared, Shared)) {
    let whole = own.start + own.len() / SIDE_BY_SIDE * SIDE_BY_SIDE;
    for column in (own.start..whole).step_by(SIDE_BY_SIDE) {
        unsafe { some::<V, K, SIDE_BY_SIDE>(wide, thin, column, to) }
    }
    for column in whole..own.end {
        unsafe { some::<V, K, 1>(wide, thin, column, to) }
    }
}

/// `C` columns, from `column` on.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "by the contract of `run_by`")]
unsafe fn some<V: Lanes, const K: usize, const C: usize>(
    wide: &Panels,
    thin: &Panels,
    column: usize,
    (products, sums): (Shared, Shared),
) {
    unsafe {
        let mut product = [[V::splat(0.0); K]; C];
        let mut sum = [V::splat(0.0); C];
        for panel in 0..wide.panels() {
            let x = wide.pointer().add(panel * apart::<V>(wide.columns()) + column * V::ACROSS);
            let t = thin.pointer().add(panel * apart::<V>(K));
            for half in [0, V::LANES] {
                for c in 0..C {
                    let x = V::load(x.add(c * V::ACROSS + half));
                    sum[c] = sum[c].add(x);
                    for (k, product) in product[c].iter_mut().enumerate() {
                        *product = x.mul_add(V::load(t.add(k * V::ACROSS + half)), *product);
                    }
                }
            }
        }
        for c in 0..C {
            *sums.at(column + c) = sum[c].sum();
            for (k, product) in product[c].iter().enumerate() {
                *products.at(k * wide.columns() + column + c) = product.sum();
            }
        }
    }
}
