//! Who computes which tiles.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pool::share;

/// What parts share first: rows of a weight, so that what one of them reads and changes stays in its own cache, or panels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum First {
    Rows,
    Panels,
}

impl First {
    /// Of products of a batch of so many rows: where they are many they take longer to read than weights.
    pub(crate) fn of_products(batch: usize, parts: usize) -> Self {
        if batch < 256 * parts { First::Rows } else { First::Panels }
    }

    /// A part's share of `rows` by `panels` of tiles, as a grid: what is shared first is shared alone, unless the busiest part
    /// had a tenth more to do by that.
    fn own(self, rows: usize, panels: usize, part: usize, parts: usize) -> (Range<usize>, Range<usize>) {
        let busiest = |across: usize| rows.div_ceil(parts / across) * panels.div_ceil(across);
        let grids = || (1..=parts).filter(|across| parts.is_multiple_of(*across));
        let most = grids().map(busiest).min().unwrap_or(0) * 11 / 10;
        let good = |across: &usize| busiest(*across) <= most;
        let across = if self == First::Rows { grids().find(good) } else { grids().rev().find(good) }.unwrap_or(1);
        let down = parts / across;
        (share(rows, part % down, down), share(panels, part / down, across))
    }
}

/// Tiles of a product, in bands of some rows by groups of some panels. Each part takes its own from the first on, group after
/// group; one that has none left takes the last that another has, so that all end at about the same time although one of their
/// processors may be busy with something else.
pub(crate) struct Grid {
    parts: Vec<Share>,
    band: usize,
    group: usize,
}

struct Share {
    rows: Range<usize>,
    panels: Range<usize>,
    left: Remaining,
}

/// Which pieces are left, from the first to the one after the last, in one number; alone in its cache lines, for
/// others look at it when they have nothing else to do.
#[repr(align(128))]
struct Remaining(AtomicU64);

impl Grid {
    /// Of `rows` by `panels`, for so many parts.
    pub(crate) fn new(
        first: First,
        (rows, panels): (usize, usize),
        (band, group): (usize, usize),
        parts: usize,
    ) -> Self {
        let (band, group) = (band.max(1), group.max(1));
        let share = |part| {
            let (rows, panels) = first.own(rows, panels, part, parts);
            let count = rows.len().div_ceil(band) * panels.len().div_ceil(group);
            let left =
                Remaining(AtomicU64::new(u64::from(u32::try_from(count).expect("as many as there is memory for"))));
            Share { rows, panels, left }
        };
        Grid { parts: (0..parts).map(share).collect(), band, group }
    }

    /// What this part is to do next.
    pub(crate) fn next(&self, part: usize) -> Option<(Range<usize>, Range<usize>)> {
        let own = self.parts[part].left.take(|first, end| (first, first + 1, end)).map(|piece| (part, piece));
        let (of, piece) = own.or_else(|| {
            let others = (1..self.parts.len()).map(|i| (part + i) % self.parts.len());
            let last = |other: usize| self.parts[other].left.take(|first, end| (end - 1, first, end - 1));
            others.filter_map(|other| Some((other, last(other)?))).next()
        })?;
        let Share { rows, panels, .. } = &self.parts[of];
        let bands = rows.len().div_ceil(self.band);
        let some = |all: &Range<usize>, i: usize, count: usize| {
            let start = all.start + i * count;
            start..all.end.min(start + count)
        };
        Some((some(rows, piece % bands, self.band), some(panels, piece / bands, self.group)))
    }
}

impl Remaining {
    /// Takes a piece, if one is left: `which(first, end)` is it, and what is left then.
    fn take(&self, which: impl Fn(u64, u64) -> (u64, u64, u64)) -> Option<usize> {
        let split = |both: u64| (both >> 32, both & u64::from(u32::MAX));
        let rest = |both| {
            let (first, end) = split(both);
            let (_, first, end) = (first < end).then(|| which(first, end))?;
            Some(first << 32 | end)
        };
        // Nothing else is told by it: what pieces write is seen by others when all parts are back.
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).ok()?;
        let (first, end) = split(before);
        Some(which(first, end).0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_given_once() {
        for (rows, panels) in [(1, 1), (16, 4), (13, 16), (1, 7), (0, 3), (5, 0)] {
            for (parts, first) in [1, 2, 3, 4, 6, 16].into_iter().flat_map(|n| [(n, First::Rows), (n, First::Panels)]) {
                for size in [(1, 1), (3, 2), (100, 100)] {
                    for only in [None, Some(parts - 1)] {
                        let grid = Grid::new(first, (rows, panels), size, parts);
                        let mut count = vec![0; rows * panels];
                        // All in turn, or one for all others.
                        let mut turn = (0..parts).cycle().map(|part| only.unwrap_or(part));
                        while let Some((down, across)) = grid.next(turn.next().expect("without an end")) {
                            down.for_each(|row| across.clone().for_each(|panel| count[row * panels + panel] += 1));
                        }
                        assert!(count.iter().all(|count| *count == 1), "{rows} {panels} {parts}: {count:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn threads_at_once_are_given_different_tiles() {
        let grid = Grid::new(First::Rows, (1000, 3), (2, 1), 4);
        let given = std::sync::Mutex::new(vec![0; 3000]);
        std::thread::scope(|scope| {
            for part in 0..4 {
                let (grid, given) = (&grid, &given);
                scope.spawn(move || {
                    let all: Vec<_> = std::iter::from_fn(|| grid.next(part)).collect();
                    let mut given = given.lock().expect("nobody panics");
                    for (rows, panels) in all {
                        rows.for_each(|row| panels.clone().for_each(|panel| given[row * 3 + panel] += 1));
                    }
                });
            }
        });
        assert!(given.into_inner().expect("nobody panicked").iter().all(|count| *count == 1));
    }

    #[test]
    fn what_is_shared_first_is_shared_alone_where_that_is_fair() {
        assert_eq!(First::Rows.own(37, 4, 0, 2), (0..18, 0..4));
        assert_eq!(First::Panels.own(37, 4, 1, 2), (0..37, 2..4));
        assert_eq!(First::Rows.own(1, 32, 1, 2), (0..1, 16..32));
        assert_eq!(First::Panels.own(36, 1, 1, 2), (18..36, 0..1));
    }
}
