//! The innermost loop: a tile of up to 14 by 32 numbers of a product, all of it in registers.

use crate::lanes::{LANES, Lanes};
use crate::panels::PANEL;

/// Rows of a tile: with two vectors each these are 28 of the 32 registers; two hold a line of a panel, one a weight.
pub(crate) const ROWS: usize = 14;

/// `R` rows of two vectors.
pub(crate) type Tile<V, const R: usize> = [[V; 2]; R];

/// One factor of a tile, of which each number is one of all lanes: row `r` at depth `d` is `at[r * row + d * step]`.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub at: *const f32,
    pub row: usize,
    pub step: usize,
}

/// `tile += left · panel`, over `depth` lines of the panel.
///
/// # Safety
///
/// All numbers are there: `R` rows and `depth` steps of `left`, `depth` lines of 32 from `panel` on.
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

/// [`multiply`], and asks meanwhile for what will be wanted soon: a number at each step, so many apart.
///
/// # Safety
///
/// As [`multiply`]; what is asked for need not be there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn multiply_asking<V: Lanes, const R: usize, const ASK: u8>(
    mut tile: Tile<V, R>,
    left: Left,
    panel: *const f32,
    depth: usize,
    (mut soon, apart): (*const f32, usize),
) -> Tile<V, R> {
    let (mut left_at, mut line) = (left.at, panel);
    for _ in 0..depth {
        unsafe {
            match ASK {
                TO_READ => V::prefetch(soon),
                TO_WRITE => V::prefetch_to_write(soon.cast_mut()),
                _ => {}
            }
            soon = soon.wrapping_add(apart);
            let (first, second) = (V::load(line), V::load(line.add(LANES)));
            for (r, [low, high]) in tile.iter_mut().enumerate() {
                let all = V::splat(*left_at.add(r * left.row));
                *low = all.mul_add(first, *low);
                *high = all.mul_add(second, *high);
            }
            left_at = left_at.wrapping_add(left.step);
            line = line.wrapping_add(PANEL);
        }
    }
    tile
}

/// Calls `$f::<V, R>` for the `R` that is `$rows`, 1 to 14; or `$f::<V, R, $more>`.
macro_rules! by_rows {
    ($rows:expr, $f:ident::<$v:ident $(, $more:tt)?>($($arg:expr),* $(,)?)) => {
        match $rows {
            1 => $f::<$v, 1 $(, $more)?>($($arg),*),
            2 => $f::<$v, 2 $(, $more)?>($($arg),*),
            3 => $f::<$v, 3 $(, $more)?>($($arg),*),
            4 => $f::<$v, 4 $(, $more)?>($($arg),*),
            5 => $f::<$v, 5 $(, $more)?>($($arg),*),
            6 => $f::<$v, 6 $(, $more)?>($($arg),*),
            7 => $f::<$v, 7 $(, $more)?>($($arg),*),
            8 => $f::<$v, 8 $(, $more)?>($($arg),*),
            9 => $f::<$v, 9 $(, $more)?>($($arg),*),
            10 => $f::<$v, 10 $(, $more)?>($($arg),*),
            11 => $f::<$v, 11 $(, $more)?>($($arg),*),
            12 => $f::<$v, 12 $(, $more)?>($($arg),*),
            13 => $f::<$v, 13 $(, $more)?>($($arg),*),
            _ => $f::<$v, 14 $(, $more)?>($($arg),*),
        }
    };
}
pub(crate) use by_rows;

/// Those of the tiles of `rows`, as equal as can be, whose numbers are in `own`: `(first, count)` of each.
pub(crate) fn tiles(rows: usize, own: std::ops::Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(ROWS);
    own.map(move |i| {
        let rows = crate::pool::share(rows, i, count);
        (rows.start, rows.len())
    })
}
