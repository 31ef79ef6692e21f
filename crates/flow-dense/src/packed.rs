//! Weights in seven eighths of their bytes, or three quarters of those of bf16, and not a bit lost.
//!
//! Where nothing takes time but reading weights, fewer bytes are less time. The weights of a layer are of similar sizes: of the 256
//! exponents that a number may have, the 16 up to the largest one are enough for nearly all, of uniform draws for all but one in 32,768;
//! what they are not enough for is kept apart. So four bits are in place of eight: a word has room for a piece of another, and a few words
//! hold one more.
//!
//! ```text
//! a word of f32:    sign | piece (4) | exponent (4) | mantissa (23)      seven hold eight
//! halves of bf16:   sign | piece (4) | exponent (4) | mantissa (7)       three hold four
//! ```
//!
//! These are the numbers over a power of two, the same for [`GROUP`] rows, by which the sums are multiplied: so the upper four bits of
//! an exponent are [`BASE`]'s. The words of a group at [`LINE`] columns lie one after the other: a vector of each row.

use std::fmt;

use crate::bits::SIGN;
use crate::instructions::{Instructions, instructions};
use crate::lanes::LINE;
use crate::large_pages::{Line, Lines};
use crate::weight::{Bf16, Weight};

/// Rows of a weight that are packed with each other.
pub(crate) const GROUP: usize = 8;

/// Where an exponent's last bit is.
const EXPONENT: u32 = 23;
/// How many exponents four bits tell apart.
const EXPONENTS: u32 = 16;
/// The exponent of what is not finite.
const NOT_FINITE: u32 = 255;
/// What all exponents have in common: numbers are below 2, and at least 2⁻¹⁵.
pub(crate) const BASE: u32 = 112 << EXPONENT;

/// One number of so many may be kept apart. Each is read by itself: by estimate, one of some 80 would take as long as packing saves.
const RARE: usize = 256;

/// What is packed: f32 and [`Bf16`].
pub(crate) trait Packable: Copy {
    /// Words that are stored of a column of [`GROUP`] rows, of the one more that there are.
    const STORED: usize;
    /// Rows that share a word.
    const SHARING: usize;
    /// The bits of a word that are a piece of the one more.
    const PIECES: u32;
    /// The bits of a number, by itself in the upper part of a word.
    const FIELDS: u32;

    /// The number as f32, by its bits.
    fn bits(self) -> u32;
}

impl Packable for f32 {
    const STORED: usize = 7;
    const SHARING: usize = 1;
    const PIECES: u32 = 0x7800_0000;
    const FIELDS: u32 = 0x87ff_ffff;

    fn bits(self) -> u32 {
        self.to_bits()
    }
}

impl Packable for Bf16 {
    const STORED: usize = 3;
    const SHARING: usize = 2;
    const PIECES: u32 = 0x7800_7800;
    const FIELDS: u32 = 0x87ff_0000;

    fn bits(self) -> u32 {
        self.to_f32().to_bits()
    }
}

/// A packed weight `[outputs, inputs]`: exactly the numbers that it was made of, but for the sign of zeros, for
/// [`through_layers`](crate::through_layers).
pub struct Packed {
    outputs: usize,
    inputs: usize,
    of_bf16: bool,
    /// For each group of rows, for each line of its columns, the words that are stored.
    words: Lines,
    groups: Vec<Group>,
    /// Those of one group after those of another.
    apart: Vec<Apart>,
}

struct Group {
    /// What its numbers are multiplied by.
    scale: f32,
    /// How many numbers are kept apart up to the end of this group.
    apart: usize,
}

/// A number whose exponent is not among those of its group. In its place there is 0.
#[derive(Clone, Copy)]
pub(crate) struct Apart {
    /// Its row in the group.
    pub row: u8,
    pub column: u32,
    pub number: f32,
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let of = if self.of_bf16 { "bf16" } else { "f32" };
        write!(f, "Packed([{}, {}] of {of}, {} of them apart)", self.outputs, self.inputs, self.apart.len())
    }
}

impl Packed {
    /// Rows up to which packed weights are faster than those that they were made of, as measured, f32 or bf16: by AVX2 unpacking takes
    /// longer.
    pub fn most_rows(of_bf16: bool) -> usize {
        match instructions() {
            Some(Instructions::Avx512) => 2,
            Some(Instructions::Avx2) if !of_bf16 => 1,
            _ => 0,
        }
    }

    /// Packs a weight. None where it would not be smaller: of a few rows or columns, or slower, of sizes too different.
    pub fn new(weight: Weight) -> Option<Self> {
        Self::of(weight, false)
    }

    /// The same of bf16.
    pub fn of_bf16(weight: Weight<Bf16>) -> Option<Self> {
        Self::of(weight, true)
    }

    fn of<N: Packable>(weight: Weight<N>, of_bf16: bool) -> Option<Self> {
        let (outputs, inputs) = (weight.outputs(), weight.inputs());
        let lines = outputs.div_ceil(GROUP) * inputs.div_ceil(LINE) * N::STORED;
        let most = outputs * inputs / RARE;
        if lines * size_of::<Line>() >= outputs * inputs * size_of::<N>() {
            return None;
        }
        let mut parts = Parts { words: Vec::with_capacity(lines), groups: vec![], apart: vec![] };
        for start in (0..outputs).step_by(GROUP) {
            let rows: Vec<&[N]> = (start..outputs.min(start + GROUP)).map(|output| weight.row(output)).collect();
            parts.push(&rows);
            if parts.apart.len() > most {
                return None;
            }
        }
        let Parts { words, groups, apart } = parts;
        Some(Packed { outputs, inputs, of_bf16, words: Lines::copied(&words), groups, apart })
    }

    /// Number of rows.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of columns.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Whether it is of bf16.
    pub(crate) fn is_of_bf16(&self) -> bool {
        self.of_bf16
    }

    /// The words of a group, one after the other, its scale, and what is kept apart.
    pub(crate) fn group<N: Packable>(&self, group: usize) -> (*const f32, f32, &[Apart]) {
        let lines = self.inputs.div_ceil(LINE) * N::STORED;
        let words = &self.words[group * lines..][..lines];
        let first = if group == 0 { 0 } else { self.groups[group - 1].apart };
        let Group { scale, apart } = self.groups[group];
        (words.as_ptr().cast(), scale, &self.apart[first..apart])
    }
}

/// Groups of a weight, as far as they are packed.
struct Parts {
    words: Vec<Line>,
    groups: Vec<Group>,
    apart: Vec<Apart>,
}

impl Parts {
    /// The next group.
    fn push<N: Packable>(&mut self, rows: &[&[N]]) {
        let inputs = rows[0].len();
        let exponents = rows.iter().flat_map(|row| row.iter()).map(|x| (x.bits() & !SIGN) >> EXPONENT);
        // The smallest numbers have no exponent of their own.
        let most = exponents.filter(|&exponent| exponent < NOT_FINITE).max().unwrap_or(0).max(1);
        for first in (0..inputs).step_by(LINE) {
            let mut lines = [Line([0; LINE]); GROUP];
            for column in first..inputs.min(first + LINE) {
                let mut fields = [0; GROUP];
                for (row, numbers) in rows.iter().enumerate() {
                    let bits = numbers[column].bits();
                    fields[row] = packed(bits, most).unwrap_or_else(|| {
                        self.apart.push(Apart { row: row as u8, column: column as u32, number: f32::from_bits(bits) });
                        0
                    });
                }
                for (line, word) in lines.iter_mut().zip(stored::<N>(fields)) {
                    line.0[column - first] = word;
                }
            }
            self.words.extend_from_slice(&lines[..N::STORED]);
        }
        let scale = f32::from_bits(most << EXPONENT);
        self.groups.push(Group { scale, apart: self.apart.len() });
    }
}

/// Sign, exponent and mantissa, each where it is in a number, of one whose exponent is at most `most`; none where it cannot be told so.
fn packed(bits: u32, most: u32) -> Option<u32> {
    let size = bits & !SIGN;
    if size == 0 {
        return Some(0);
    }
    let exponent = Some(size >> EXPONENT).filter(|exponent| (1..=most).contains(exponent))?;
    let exponent = (exponent + EXPONENTS - 1).checked_sub(most)?;
    let packed = exponent << EXPONENT | size & ((1 << EXPONENT) - 1);
    // Nothing but 0 may look like it.
    (packed > 0).then_some(bits & SIGN | packed)
}

/// The words that are stored of a column: all but the last one, of which each has a piece that [`Bits::gather`](crate::bits::Bits::gather)
/// finds.
fn stored<N: Packable>(fields: [u32; GROUP]) -> [u32; GROUP] {
    let mut words = [0; GROUP];
    for (i, field) in fields.into_iter().enumerate() {
        // Of two rows that share a word, the first has its lower half.
        let down = if N::SHARING == 2 && i % 2 == 0 { 16 } else { 0 };
        words[i / N::SHARING] |= field >> down;
    }
    let last = words[N::STORED];
    for (i, word) in words[..N::STORED].iter_mut().enumerate() {
        *word |= last.rotate_right(4 * (N::STORED - i) as u32) & N::PIECES;
    }
    words
}
