//! Rows as plain numbers: some go through all maps that know how before the next, threads taking them in turn, so that what is between
//! two maps stays in a core's own cache; and of a few rows nothing is paid for a call of libtorch, which takes a microsecond
//! however little there is to compute.
//!
//! [`Chain`](crate::Chain) takes its steps so, in evaluation, where a batch allows it ([`applies_to_rows`](crate::dense::applies_to_rows)). It is the
//! same mathematics; [`flow_dense::available`] turns it off with the rest.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use flow_dense::{WHOLE_PANELS, exp, in_parallel, rows_at_a_time, scale_and_shift, share, shift_and_scale};
use tch::{Device, Kind, Tensor};

use crate::dense::{NewTensor, Rows, in_rows, in_turn, numbers, threads};
use crate::law::{Bound, Law};
use crate::{Direction, Mask};

/// Some rows of f32, and what their log-determinants have come to.
#[derive(Debug)]
pub struct PlainRows<'a> {
    pub(crate) columns: usize,
    pub(crate) numbers: &'a mut [f32],
    pub(crate) log_det: &'a mut [f64],
}

/// A map of plain rows.
pub trait PlainMap: Sync {
    /// Takes `rows` through the map, and adds its log-determinants to theirs.
    fn take(&self, direction: Direction, rows: &mut PlainRows);

    /// Whether it takes so long that others are worth taking with it.
    fn is_work(&self) -> bool {
        false
    }
}

/// A conditioner of plain rows.
pub trait PlainConditioner: Sync {
    /// How many numbers of a row go in, and how many come out.
    fn size(&self) -> (usize, usize);

    /// Writes what [`Conditioner::forward`](crate::Conditioner::forward) makes of rows whose first numbers are `apart` to `parameters`,
    /// one row after the other, of as many rows as there is room for.
    fn run(&self, kept: &[f32], apart: usize, parameters: &mut [f32]);

    /// The same of so many rows.
    fn parameters(&self, kept: &[f32], apart: usize, rows: usize) -> Vec<f32> {
        let mut parameters = vec![0.0; rows * self.size().1];
        self.run(kept, apart, &mut parameters);
        parameters
    }
}

impl PlainRows<'_> {
    /// Number of rows.
    pub fn count(&self) -> usize {
        self.log_det.len()
    }

    /// Calls `f(i, row, log_det)` for each row, on all threads that there are.
    pub fn each(&mut self, f: impl Fn(usize, &mut [f32], &mut f64) + Sync) {
        let columns = self.columns;
        let own = self.count().div_ceil(threads_for(self.numbers.len())).max(1);
        let shares = self.numbers.chunks_mut((own * columns).max(1)).zip(self.log_det.chunks_mut(own));
        let shares: Vec<_> = shares.map(Mutex::new).collect();
        in_parallel(shares.len(), &|part, _| {
            let (numbers, log_det) = &mut *lock(&shares[part]);
            let rows = numbers.chunks_exact_mut(columns).zip(log_det.iter_mut());
            rows.enumerate().for_each(|(i, (row, log_det))| f(part * own + i, row, log_det));
        });
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All rows, one after the other.
    pub fn numbers_mut(&mut self) -> &mut [f32] {
        self.numbers
    }

    /// These columns of all rows, one row after the other.
    pub(crate) fn gathered(&self, columns: &[i64]) -> Vec<f32> {
        let (count, width) = (self.count(), columns.len());
        let mut some = vec![0.0; count * width];
        let own = count.div_ceil(threads_for(some.len())).max(1);
        let shares: Vec<_> = some.chunks_mut((own * width).max(1)).map(Mutex::new).collect();
        in_parallel(shares.len(), &|part, _| {
            let rows = self.numbers[part * own * self.columns..].chunks_exact(self.columns);
            for (to, row) in lock(&shares[part]).chunks_exact_mut(width).zip(rows) {
                to.iter_mut().zip(columns).for_each(|(to, &column)| *to = row[column as usize]);
            }
        });
        drop(shares);
        some
    }

    /// That rows have so many columns.
    ///
    /// # Panics
    ///
    /// If they have not.
    pub fn assert_columns(&self, columns: usize) {
        assert_eq!(self.columns, columns, "a map of {columns} coordinates was given {}", self.columns);
    }
}

/// Takes `x: [n, D]` through `maps`, in their order: the result and its log-determinants `[n]`.
pub(crate) fn take_all(maps: &[Box<dyn PlainMap + '_>], direction: Direction, x: &Tensor) -> (Tensor, Tensor) {
    let x = in_rows(x);
    let from = Rows::new(&x);
    let (n, columns) = (from.rows, from.columns);
    // Both before anything is computed: of a few rows the second costs next to nothing so soon after the first.
    let [mut value, total] = [&[n as i64, columns as i64][..], &[n as i64]].map(NewTensor::empty);
    let mut log_det = vec![0.0; n];
    let blocks = Blocks::of(n);
    let shares = blocks.split(value.numbers_mut(), columns).into_iter().zip(blocks.split(&mut log_det, 1));
    let shares: Vec<_> = shares.map(Mutex::new).collect();
    in_turn(shares.len(), blocks.threads, &|i| {
        let (numbers, log_det) = &mut *lock(&shares[i]);
        from.copy_to(blocks.rows[i].start, numbers);
        let mut rows = PlainRows { columns, numbers, log_det };
        maps.iter().for_each(|map| map.take(direction, &mut rows));
    });
    drop(shares);
    (value.done(), total.filled_with(log_det.into_iter().map(|log_det| log_det as f32)))
}

/// Rows in blocks, of which each goes through all maps or layers before the next.
#[derive(Debug)]
pub struct Blocks {
    /// Those of each block, whole panels but for the last, which is never of a few rows unless it is all there is.
    pub rows: Vec<Range<usize>>,
    /// Threads that take them in turn: all that there are, where there is enough for them; else one, and what is done with a block
    /// is what threads share.
    pub threads: usize,
}

impl Blocks {
    /// Of `n` rows.
    pub fn of(n: usize) -> Self {
        Blocks::for_threads(n, threads(), rows_at_a_time())
    }

    fn for_threads(n: usize, there: usize, most: usize) -> Self {
        let threads = if n >= there * most / 2 { there } else { 1 };
        // As many for each thread.
        let count = n.div_ceil(most).next_multiple_of(threads);
        let panels = n.div_ceil(WHOLE_PANELS);
        let block = |i| {
            let panels = share(panels, i, count);
            panels.start * WHOLE_PANELS..n.min(panels.end * WHOLE_PANELS)
        };
        Blocks { rows: (0..count).map(block).collect(), threads }
    }

    /// The rows of every block, of so many numbers each.
    pub fn split<'a, T>(&self, mut numbers: &'a mut [T], columns: usize) -> Vec<&'a mut [T]> {
        let mut of = |block: &Range<usize>| {
            let (first, rest) = std::mem::take(&mut numbers).split_at_mut(block.len() * columns);
            numbers = rest;
            first
        };
        self.rows.iter().map(&mut of).collect()
    }
}

/// What one thread has to itself.
pub fn lock<T: ?Sized>(own: &Mutex<T>) -> MutexGuard<'_, T> {
    own.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads that are worth it for a pass over so many numbers.
pub(crate) fn threads_for(numbers: usize) -> usize {
    if numbers < 1 << 13 { 1 } else { threads() }
}

/// Calls `f(first, shares)` for the rows from `first` on that a thread has, with its share of each of `slices`, `rows` times so many
/// numbers.
pub(crate) fn in_shares<const N: usize>(
    rows: usize,
    slices: [(&mut [f32], usize); N],
    f: impl Fn(usize, [&mut [f32]; N]) + Sync,
) {
    assert!(slices.iter().all(|(slice, each)| slice.len() == rows * each), "slices of {rows} rows");
    let own = rows.div_ceil(threads_for(slices.iter().map(|(slice, _)| slice.len()).sum())).max(1);
    let mut chunks = slices.map(|(slice, each)| slice.chunks_mut((own * each).max(1)));
    let next =
        |_| Mutex::new(Some(chunks.each_mut().map(|chunks| chunks.next().expect("as many as there are shares"))));
    let shares: Vec<_> = (0..rows.div_ceil(own)).map(next).collect();
    in_parallel(shares.len(), &|part, _| {
        let share = lock(&shares[part]).take().expect("each part is taken once");
        f(part * own, share);
    });
}

/// Whether a parameter's numbers can be read where they lie.
pub(crate) fn is_plain(parameter: &Tensor) -> bool {
    parameter.kind() == Kind::Float && parameter.device() == Device::Cpu && parameter.is_contiguous()
}

/// `z = (x + before) exp(log_scale) + after`, with a scale and a shift for each column.
pub(crate) struct Scale<'a> {
    pub log_scale: &'a [f32],
    pub before: Option<&'a [f32]>,
    pub after: Option<&'a [f32]>,
}

impl Scale<'_> {
    /// What each column is multiplied by.
    pub(crate) fn exp(&self) -> Vec<f32> {
        let mut scale = self.log_scale.to_vec();
        exp(&mut scale);
        scale
    }
}

impl PlainMap for Scale<'_> {
    fn take(&self, direction: Direction, rows: &mut PlainRows) {
        let forward = direction == Direction::Forward;
        let sign = if forward { 1.0 } else { -1.0 };
        let mut scale: Vec<f32> = self.log_scale.iter().map(|s| sign * s).collect();
        exp(&mut scale);
        let total: f64 = self.log_scale.iter().map(|&s| f64::from(s)).sum();
        let (first, last) = if forward { (self.before, self.after) } else { (self.after, self.before) };
        rows.assert_columns(scale.len());
        rows.each(|_, row, log_det| {
            *log_det += f64::from(sign) * total;
            if let Some(first) = first {
                row.iter_mut().zip(first).for_each(|(x, shift)| *x += sign * shift);
            }
            row.iter_mut().zip(&scale).for_each(|(x, scale)| *x *= scale);
            if let Some(last) = last {
                row.iter_mut().zip(last).for_each(|(x, shift)| *x += sign * shift);
            }
        });
    }
}

/// A coupling whose parameters can be read where they lie.
pub(crate) struct PlainCoupling<'a> {
    kept: Columns<'a>,
    changed: Columns<'a>,
    dim: usize,
    law: PlainLaw<'a>,
    conditioner: Box<dyn PlainConditioner + 'a>,
}

/// Some columns of rows.
#[derive(Clone, Copy)]
pub(crate) enum Columns<'a> {
    /// Neighbours, from the first on.
    Run(usize, usize),
    /// Any.
    Any(&'a [i64]),
}

/// What [`Law`] is, but for splines.
pub(crate) enum PlainLaw<'a> {
    Additive,
    Affine(PlainBound<'a>),
}

pub(crate) enum PlainBound<'a> {
    Fixed(f32),
    Learned(&'a [f32]),
}

impl<'a> PlainLaw<'a> {
    /// `None` for a law that there is no such of.
    pub(crate) fn new(law: &'a Law, mask: &Mask) -> Option<Self> {
        Some(match law {
            Law::Additive => PlainLaw::Additive,
            Law::Affine { bound: Bound::Fixed(bound) } => PlainLaw::Affine(PlainBound::Fixed(*bound as f32)),
            Law::Affine { bound: Bound::Learned(bound) }
                if is_plain(bound) && bound.numel() == mask.changed().len() =>
            {
                PlainLaw::Affine(PlainBound::Learned(numbers(bound)))
            }
            Law::Affine { .. } | Law::Spline { .. } => return None,
        })
    }
}

/// What a conditioner is given and must return.
pub(crate) fn size_for(mask: &Mask, law: &PlainLaw) -> (usize, usize) {
    let each = match law {
        PlainLaw::Additive => 1,
        PlainLaw::Affine(_) => 2,
    };
    (mask.kept().len(), each * mask.changed().len())
}

impl PlainBound<'_> {
    /// The bound of all numbers, and that of each.
    pub(crate) fn parts(&self) -> (f32, Option<&[f32]>) {
        match self {
            PlainBound::Fixed(bound) => (*bound, None),
            PlainBound::Learned(bounds) => (1.0, Some(*bounds)),
        }
    }
}

impl<'a> Columns<'a> {
    pub(crate) fn new(columns: &'a [i64]) -> Self {
        let (first, last) = (columns[0], columns[columns.len() - 1]);
        // They are ascending.
        let run = (last - first) as usize + 1 == columns.len();
        if run { Columns::Run(first as usize, columns.len()) } else { Columns::Any(columns) }
    }

    /// Calls `f` with these columns of a row, as neighbours, and writes them back.
    pub(crate) fn with(&self, row: &mut [f32], f: impl FnOnce(&mut [f32])) {
        match *self {
            Columns::Run(first, len) => f(&mut row[first..first + len]),
            Columns::Any(columns) => {
                let mut some: Vec<f32> = columns.iter().map(|&column| row[column as usize]).collect();
                f(&mut some);
                columns.iter().zip(some).for_each(|(&column, x)| row[column as usize] = x);
            }
        }
    }
}

impl<'a> PlainCoupling<'a> {
    /// `None` for a law that it is not made for, and for a conditioner that does not fit: libtorch will say why.
    pub(crate) fn new(mask: &'a Mask, law: &'a Law, conditioner: Box<dyn PlainConditioner + 'a>) -> Option<Self> {
        let law = PlainLaw::new(law, mask)?;
        if conditioner.size() != size_for(mask, &law) {
            return None;
        }
        let (kept, changed) = (Columns::new(mask.kept()), Columns::new(mask.changed()));
        Some(PlainCoupling { kept, changed, dim: mask.dim(), law, conditioner })
    }

    fn parameters(&self, rows: &PlainRows) -> Vec<f32> {
        let count = rows.log_det.len();
        match self.kept {
            Columns::Run(first, _) => self.conditioner.parameters(&rows.numbers[first..], self.dim, count),
            Columns::Any(columns) => self.conditioner.parameters(&rows.gathered(columns), columns.len(), count),
        }
    }
}

impl PlainMap for PlainCoupling<'_> {
    fn take(&self, direction: Direction, rows: &mut PlainRows) {
        rows.assert_columns(self.dim);
        let parameters = self.parameters(rows);
        let forward = direction == Direction::Forward;
        let (_, each) = self.conditioner.size();
        assert_eq!(parameters.len(), rows.count() * each, "a conditioner's output for {} rows", rows.count());
        rows.each(|i, row, log_det| {
            let parameters = &parameters[i * each..(i + 1) * each];
            self.changed.with(row, |x| match &self.law {
                PlainLaw::Additive if forward => x.iter_mut().zip(parameters).for_each(|(x, t)| *x += t),
                PlainLaw::Additive => x.iter_mut().zip(parameters).for_each(|(x, t)| *x -= t),
                PlainLaw::Affine(bound) => {
                    let (raw, shift) = parameters.split_at(each / 2);
                    let (one, each) = bound.parts();
                    *log_det += match direction {
                        Direction::Forward => scale_and_shift(x, raw, shift, one, each),
                        Direction::Inverse => shift_and_scale(x, raw, shift, one, each),
                    };
                }
            });
        });
    }

    fn is_work(&self) -> bool {
        true
    }
}

/// Where every column is taken from.
pub(crate) enum PlainOrder {
    Reverse(usize),
    Index(Vec<i64>),
}

impl PlainMap for PlainOrder {
    fn take(&self, direction: Direction, rows: &mut PlainRows) {
        match self {
            PlainOrder::Reverse(dim) => {
                rows.assert_columns(*dim);
                rows.each(|_, row, _| row.reverse());
            }
            PlainOrder::Index(index) => {
                rows.assert_columns(index.len());
                rows.each(|_, row, _| {
                    let before = row.to_vec();
                    for (place, &from) in index.iter().enumerate() {
                        match direction {
                            Direction::Forward => row[place] = before[from as usize],
                            Direction::Inverse => row[from as usize] = before[place],
                        }
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_many_for_each_thread_and_none_of_a_few_rows() {
        for (there, most) in [(1, 64), (2, 64), (3, 64), (8, 64), (2, 256), (16, 256)] {
            for n in 1..3000 {
                let Blocks { rows, threads } = Blocks::for_threads(n, there, most);
                let ends: Vec<usize> = rows.iter().map(|block| block.end).collect();
                let starts: Vec<usize> = rows.iter().map(|block| block.start).collect();
                assert_eq!(
                    (starts[0], ends[rows.len() - 1], &starts[1..]),
                    (0, n, &ends[..rows.len() - 1]),
                    "{n} {there}"
                );
                assert!(threads == 1 || threads == there && rows.len().is_multiple_of(there), "{n} {there}: {rows:?}");
                let enough = |block: &Range<usize>| block.len() >= WHOLE_PANELS && block.len() <= most;
                assert!(rows.len() == 1 && n <= most || rows.iter().all(enough), "{n} {there}: {rows:?}");
            }
        }
    }
}
