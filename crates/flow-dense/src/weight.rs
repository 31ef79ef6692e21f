//! Weights where they lie.

use crate::rounded::rounded_numbers;

/// A weight `[outputs, inputs]`, row after row, of f32 or [`Bf16`].
#[derive(Clone, Copy, Debug)]
pub struct Weight<'a, N = f32> {
    numbers: &'a [N],
    outputs: usize,
    inputs: usize,
}

impl<'a, N> Weight<'a, N> {
    /// Of rows of so many inputs.
    ///
    /// # Panics
    ///
    /// If the numbers are no such rows, or none.
    pub fn new(numbers: &'a [N], inputs: usize) -> Self {
        let whole = inputs > 0 && !numbers.is_empty() && numbers.len().is_multiple_of(inputs);
        assert!(whole, "{} numbers in rows of {inputs}", numbers.len());
        Weight { numbers, outputs: numbers.len() / inputs, inputs }
    }

    /// Number of rows.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of columns.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub(crate) fn row(&self, output: usize) -> &'a [N] {
        &self.numbers[output * self.inputs..][..self.inputs]
    }

    pub(crate) fn pointer(&self) -> *const N {
        self.numbers.as_ptr()
    }
}

impl Weight<'_> {
    /// The number of a row and a column.
    pub(crate) fn number(&self, output: usize, input: usize) -> f32 {
        self.numbers[output * self.inputs + input]
    }

    /// Its numbers rounded to bf16, row after row.
    pub(crate) fn rounded(&self, threads: usize) -> Vec<f32> {
        rounded_numbers(self.numbers, threads)
    }
}

impl Weight<'_, Bf16> {
    /// The same numbers as f32, row after row.
    pub fn to_f32(&self) -> Vec<f32> {
        self.numbers.iter().map(|number| number.to_f32()).collect()
    }
}

/// An f32 of eight bits of mantissa: its upper half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Bf16 {
    /// By its bits.
    pub fn from_bits(bits: u16) -> Self {
        Bf16(bits)
    }

    /// The nearest to `x`, ties to even.
    pub fn nearest(x: f32) -> Self {
        let bits = x.to_bits();
        let above = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        // What is not a number stays so.
        Bf16(((if x.is_nan() { bits | 1 << 22 } else { above }) >> 16) as u16)
    }

    /// The same number.
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}
