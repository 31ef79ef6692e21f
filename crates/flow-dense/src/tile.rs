//! The innermost loop: a tile of a product, 14 by 32 or 6 by 16 numbers, all of it in registers.

use crate::lanes::{Lanes, with_lanes};

/// How many tiles so many rows are.
pub(crate) fn count(rows: usize) -> usize {
    // SAFETY: it does nothing to memory.
    unsafe { count_of(rows) }
}

with_lanes! {
    unsafe fn count_of(rows: usize) -> usize = count_by
}

#[inline(always)]
pub(crate) unsafe fn count_by<V: Lanes>(rows: usize) -> usize {
    rows.div_ceil(V::ROWS)
}

/// `R` rows of two vectors.
pub(crate) type Tile<V, const R: usize> = [[V; 2]; R];

/// One factor of a tile, of which each number is one of all lanes: row `r` at depth `d` is `at[r * row + d * step]`.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub at: *const f32,
    pub row: usize,
    pub step: usize,
}

/// `tile += left · panel`, over `depth` columns of a panel.
///
/// # Safety
///
/// All numbers are there: `R` rows and `depth` steps of `left`, as many columns.
#[inline(always)]
pub(crate) unsafe fn multiply<V: Lanes, const R: usize>(
    tile: Tile<V, R>,
    left: Left,
    panel: *const f32,
    depth: usize,
) -> Tile<V, R> {
    // SAFETY: the same contract.
    unsafe { multiply_asking::<V, R, NOTHING>(tile, left, panel, depth, (left.at, 0)) }
}

/// What [`multiply_asking`] asks for: nothing, numbers to read, numbers to write.
pub(crate) const NOTHING: u8 = 0;
pub(crate) const TO_READ: u8 = 1;
pub(crate) const TO_WRITE: u8 = 2;

/// Steps between two jumps, and between two asks: small tiles have a processor count and jump more than multiply, unless several are
/// taken at once.
#[inline(always)]
pub(crate) const fn at_once<V: Lanes>() -> usize {
    if V::REGISTERS >= 32 { 1 } else { 4 }
}

/// [`multiply`], and asks meanwhile for what will be wanted soon: for one number each [`at_once`] steps, so many apart.
///
/// # Safety
///
/// As [`multiply`]; what is asked for need not be there.
#[inline(always)]
pub(crate) unsafe fn multiply_asking<V: Lanes, const R: usize, const ASK: u8>(
    tile: Tile<V, R>,
    left: Left,
    panel: *const f32,
    depth: usize,
    soon: (*const f32, usize),
) -> Tile<V, R> {
    // SAFETY: the same contract.
    unsafe {
        if at_once::<V>() == 1 {
            return steps::<V, R, ASK, 1>(tile, left, panel, depth, soon).0;
        }
        let (tile, left, panel) = steps::<V, R, ASK, 4>(tile, left, panel, depth, soon);
        steps::<V, R, NOTHING, 1>(tile, left, panel, depth % 4, soon).0
    }
}

/// As many times `AT_ONCE` steps as there are in `depth`; where the rest begins is returned, too.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract of `multiply_asking`")]
unsafe fn steps<V: Lanes, const R: usize, const ASK: u8, const AT_ONCE: usize>(
    mut tile: Tile<V, R>,
    mut left: Left,
    mut panel: *const f32,
    depth: usize,
    (mut soon, apart): (*const f32, usize),
) -> (Tile<V, R>, Left, *const f32) {
    for _ in 0..depth / AT_ONCE {
        unsafe {
            match ASK {
                TO_READ => V::prefetch(soon),
                TO_WRITE => V::prefetch_to_write(soon.cast_mut()),
                _ => {}
            }
            soon = soon.wrapping_add(apart);
            for step in 0..AT_ONCE {
                let line = panel.add(step * V::ACROSS);
                let at = left.at.add(step * left.step);
                let (first, second) = (V::load(line), V::load(line.add(V::LANES)));
                for (r, [low, high]) in tile.iter_mut().enumerate() {
                    let all = V::splat(*at.add(r * left.row));
                    *low = all.mul_add(first, *low);
                    *high = all.mul_add(second, *high);
                }
            }
            left.at = left.at.wrapping_add(AT_ONCE * left.step);
            panel = panel.wrapping_add(AT_ONCE * V::ACROSS);
        }
    }
    (tile, left, panel)
}

/// Calls `$f::<V, R>` for the `R` that is `$rows`, 1 to `V::ROWS`; or `$f::<V, R, $more>`.
macro_rules! by_rows {
    ($rows:expr, $f:ident::<$v:ident $(, $more:tt)?>($($arg:expr),* $(,)?)) => {
        match $rows {
            1 => $f::<$v, 1 $(, $more)?>($($arg),*),
            2 => $f::<$v, 2 $(, $more)?>($($arg),*),
            3 => $f::<$v, 3 $(, $more)?>($($arg),*),
            4 => $f::<$v, 4 $(, $more)?>($($arg),*),
            5 => $f::<$v, 5 $(, $more)?>($($arg),*),
            6 => $f::<$v, 6 $(, $more)?>($($arg),*),
            7 if $v::ROWS >= 7 => $f::<$v, 7 $(, $more)?>($($arg),*),
            8 if $v::ROWS >= 8 => $f::<$v, 8 $(, $more)?>($($arg),*),
            9 if $v::ROWS >= 9 => $f::<$v, 9 $(, $more)?>($($arg),*),
            10 if $v::ROWS >= 10 => $f::<$v, 10 $(, $more)?>($($arg),*),
            11 if $v::ROWS >= 11 => $f::<$v, 11 $(, $more)?>($($arg),*),
            12 if $v::ROWS >= 12 => $f::<$v, 12 $(, $more)?>($($arg),*),
            13 if $v::ROWS >= 13 => $f::<$v, 13 $(, $more)?>($($arg),*),
            14 if $v::ROWS >= 14 => $f::<$v, 14 $(, $more)?>($($arg),*),
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}
pub(crate) use by_rows;

/// Those of the tiles of `rows`, as equal as can be, whose numbers are in `own`: `(first, count)` of each.
#[inline(always)]
pub(crate) fn tiles<V: Lanes>(rows: usize, own: std::ops::Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(V::ROWS);
    own.map(move |i| {
        let rows = crate::pool::share(rows, i, count);
        (rows.start, rows.len())
    })
}
