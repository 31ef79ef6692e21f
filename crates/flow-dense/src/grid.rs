//! Who computes which tiles.

use std::ops::Range;

use crate::pool::share;

/// What parts share first: rows of a weight, so that what one of them reads and changes stays in its own cache, or panels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum First {
    Rows,
    Panels,
}

impl First {
    /// Of products of so many panels: where they are many they take longer to read than weights.
    pub(crate) fn of_products(panels: usize, parts: usize) -> Self {
        if panels < 8 * parts { First::Rows } else { First::Panels }
    }

    /// A part's share of `rows` by `panels` of tiles, as a grid: what is shared first is shared alone, unless the busiest part
    /// had a tenth more to do by that.
    pub(crate) fn own(self, rows: usize, panels: usize, part: usize, parts: usize) -> (Range<usize>, Range<usize>) {
        let busiest = |across: usize| rows.div_ceil(parts / across) * panels.div_ceil(across);
        let grids = || (1..=parts).filter(|across| parts.is_multiple_of(*across));
        let most = grids().map(busiest).min().unwrap_or(0) * 11 / 10;
        let good = |across: &usize| busiest(*across) <= most;
        let across = if self == First::Rows { grids().find(good) } else { grids().rev().find(good) }.unwrap_or(1);
        let down = parts / across;
        (share(rows, part % down, down), share(panels, part / down, across))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_has_one_part() {
        for (rows, panels) in [(1, 1), (16, 4), (13, 16), (1, 7), (0, 3)] {
            for (parts, first) in [1, 2, 3, 4, 6, 16].into_iter().flat_map(|n| [(n, First::Rows), (n, First::Panels)]) {
                let mut count = vec![0; rows * panels];
                for part in 0..parts {
                    let (down, across) = first.own(rows, panels, part, parts);
                    down.for_each(|row| across.clone().for_each(|panel| count[row * panels + panel] += 1));
                }
                assert!(count.iter().all(|count| *count == 1), "{rows} {panels} {parts}: {count:?}");
            }
        }
    }

    #[test]
    fn what_is_shared_first_is_shared_alone_where_that_is_fair() {
        assert_eq!(First::Rows.own(37, 4, 0, 2), (0..18, 0..4));
        assert_eq!(First::Panels.own(37, 4, 1, 2), (0..37, 2..4));
        assert_eq!(First::Rows.own(1, 32, 1, 2), (0..1, 16..32));
        assert_eq!(First::Panels.own(36, 1, 1, 2), (18..36, 0..1));
    }
}
