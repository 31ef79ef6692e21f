//! Blocks of 32 by 32 numbers of a product whose factors are bf16 ([`factors`](crate::factors) lays these out).
//!
//! A step is 32 numbers deep. Of the left factor it reads 32 rows of them, of the right one 16 pairs of such rows: the numbers of both
//! side by side, column after column. Either is 2 KiB.
//!
//! A factor of f32 is one of bf16 where it is rounded, or three whose sum it is ([`Lanes::parts`]). Each is the nearest to what those before
//! leave, at most 2⁻⁸ of the one before, and of the nine products of parts the three smallest are left out, which are at most 2⁻²³ of the
//! product, the last bit of an f32, and mostly far less.

use std::mem::MaybeUninit;

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::instructions;
use crate::lanes::Lanes;
use crate::panels::Line;
use crate::pool::share;
use crate::weight::Bf16;

/// Numbers of a block each way, and of a step.
pub(crate) const BLOCK: usize = 32;
/// Numbers of either factor in a step.
pub(crate) const STEP: usize = BLOCK * BLOCK;
/// Steps of a right factor that stay in a core's own cache: 1.5 MB.
pub(crate) const CACHED: usize = 768;

/// Whether products of bf16 are computed by such blocks: where the processor has tiles for them; and, for any machine to test, where no
/// instructions are used at all. A panel is as wide as a block then.
pub(crate) fn used() -> bool {
    #[cfg(target_arch = "x86_64")]
    return amx::usable() || instructions().is_none();
    #[cfg(not(target_arch = "x86_64"))]
    instructions().is_none()
}

/// How many steps so many numbers are.
pub(crate) fn steps(depth: usize) -> usize {
    depth.div_ceil(BLOCK)
}

/// Memory of bf16, in whole lines.
pub(crate) struct Halves(Vec<MaybeUninit<Line>>);

impl Halves {
    /// So many steps of a factor, that mean nothing yet.
    pub(crate) fn empty(steps: usize) -> Self {
        let count = steps * STEP * size_of::<Bf16>() / size_of::<Line>();
        let mut lines = Vec::with_capacity(count);
        // SAFETY: the capacity is `count`, and nothing is claimed of what is there.
        unsafe { lines.set_len(count) }
        Halves(lines)
    }

    /// The same of zeros.
    pub(crate) fn zeros(steps: usize) -> Self {
        let mut halves = Halves::empty(steps);
        halves.0.fill(MaybeUninit::zeroed());
        halves
    }

    /// Numbers from one of so many parts to the next.
    pub(crate) fn part(&self, parts: usize) -> usize {
        self.0.len() * (size_of::<Line>() / size_of::<Bf16>()) / parts
    }

    pub(crate) fn pointer(&self) -> *const Bf16 {
        self.0.as_ptr().cast()
    }

    pub(crate) fn pointer_mut(&mut self) -> *mut Bf16 {
        self.0.as_mut_ptr().cast()
    }
}

/// A block by itself, row after row.
#[repr(C, align(64))]
pub(crate) struct Sums(pub [f32; BLOCK * BLOCK]);

/// Where a factor is laid out: its first part, and how many numbers further the next ones are.
#[derive(Clone, Copy)]
pub(crate) struct To {
    pub at: *mut Bf16,
    pub part: usize,
}

impl To {
    /// So many numbers further.
    #[inline(always)]
    pub(crate) unsafe fn add(self, numbers: usize) -> Self {
        // SAFETY: by the caller's contract there is so much room.
        To { at: unsafe { self.at.add(numbers) }, ..self }
    }
}

/// The left factor of a block, a step after the other, and how many numbers further each next part is.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub at: *const Bf16,
    pub part: usize,
}

/// Where a block finds its right factor.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub at: *const Bf16,
    /// From a part to the next, in numbers.
    pub part: usize,
    /// From a pair of rows to the next, in numbers.
    pub row: usize,
    /// Where each step begins, so many bytes behind `at`.
    pub steps: &'a [isize],
}

/// What will be wanted soon, and is asked for while a block is multiplied: from a place on `count` times two lines, `apart` numbers from one
/// time to the next.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "asked for by AMX's loops alone"))]
pub(crate) struct Soon {
    pub at: *const f32,
    pub apart: usize,
    pub count: usize,
    /// It will be changed, not only read.
    pub to_write: bool,
}

impl Soon {
    pub(crate) const NOTHING: Soon = Soon { at: std::ptr::null(), apart: 0, count: 0, to_write: false };

    /// The `i`-th of so many shares.
    pub(crate) fn share(self, i: usize, shares: usize) -> Soon {
        let own = share(self.count, i, shares);
        Soon { at: self.at.wrapping_add(own.start * self.apart), count: own.len(), ..self }
    }
}

/// Which part of the left factor goes with which of the right one, the largest products last, so that sums are rounded no more often at
/// their full size than those of f32.
const PAIRS: [(usize, usize); 6] = [(2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0)];

/// What a thread needs to multiply blocks, one at a time.
pub(crate) struct Ready {
    #[cfg(target_arch = "x86_64")]
    tiles: Option<amx::Tiles>,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Ready {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only where they are.
            tiles: amx::usable().then(|| unsafe { amx::Tiles::configured() }),
        }
    }

    /// The product of as many steps as the right factor has, of 1 or 3 parts, to rows that are `apart` numbers apart; of none it is 0. What
    /// is wanted soon is asked for meanwhile.
    ///
    /// # Safety
    ///
    /// So many steps of the left factor are there, those of the right factor, and room for the block.
    #[inline(always)]
    pub(crate) unsafe fn multiply<const PARTS: usize>(
        &self,
        left: Left,
        right: Right,
        to: *mut f32,
        apart: usize,
        soon: Soon,
    ) {
        #[cfg(target_arch = "x86_64")]
        if self.tiles.is_some() && !right.steps.is_empty() {
            // SAFETY: the same contract, there is a step, and tiles are configured.
            return unsafe { amx::multiply::<PARTS>(left, right, to, apart, soon) };
        }
        let _ = soon;
        let pairs = if PARTS == 1 { &[(0, 0)][..] } else { &PAIRS };
        // SAFETY: the same contract.
        unsafe { multiply_by_one(left, right, pairs, to, apart) }
    }
}

/// So many steps, one after the other.
pub(crate) fn in_a_row(steps: usize) -> Vec<isize> {
    (0..steps).map(|step| (step * STEP * size_of::<Bf16>()) as isize).collect()
}

/// Number by number, of these pairs of parts.
///
/// # Safety
///
/// That of [`Ready::multiply`].
#[cold]
#[inline(never)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn multiply_by_one(left: Left, right: Right, pairs: &[(usize, usize)], to: *mut f32, apart: usize) {
    for (row, column) in (0..BLOCK).flat_map(|row| (0..BLOCK).map(move |column| (row, column))) {
        let mut sum = 0.0;
        for &(of_left, of_right) in pairs {
            for (step, &offset) in right.steps.iter().enumerate() {
                for i in 0..BLOCK {
                    unsafe {
                        let l = *left.at.add(of_left * left.part + step * STEP + row * BLOCK + i);
                        let r = right.at.add(of_right * right.part).byte_offset(offset);
                        sum += l.to_f32() * (*r.add(i / 2 * right.row + 2 * column + i % 2)).to_f32();
                    }
                }
            }
        }
        unsafe { *to.add(row * apart + column) = sum }
    }
}

/// Computes again by `number(row, column)` what is not a number in a block: parts of an infinite number are none, where products of f32 may
/// be infinite, or 0 behind an activation.
///
/// # Safety
///
/// The block is there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
pub(crate) unsafe fn again_if_none<V: Lanes>(to: *mut f32, apart: usize, number: impl Fn(usize, usize) -> f32) {
    let mut none = false;
    for row in 0..BLOCK {
        for column in (0..BLOCK).step_by(V::LANES) {
            none |= unsafe { V::load(to.add(row * apart + column)).some_is_none() };
        }
    }
    if none {
        unsafe { again(to, apart, number) }
    }
}

/// # Safety
///
/// As above.
#[cold]
#[inline(never)]
unsafe fn again(to: *mut f32, apart: usize, number: impl Fn(usize, usize) -> f32) {
    for (row, column) in (0..BLOCK).flat_map(|row| (0..BLOCK).map(move |column| (row, column))) {
        // SAFETY: by the contract.
        let sum = unsafe { &mut *to.add(row * apart + column) };
        if sum.is_nan() {
            *sum = number(row, column);
        }
    }
}
