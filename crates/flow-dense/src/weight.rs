//! Weights where they lie.

/// A weight `[outputs, inputs]`, row after row.
#[derive(Clone, Copy, Debug)]
pub struct Weight<'a> {
    numbers: &'a [f32],
    outputs: usize,
    inputs: usize,
}

impl<'a> Weight<'a> {
    /// Of rows of so many inputs.
    ///
    /// # Panics
    ///
    /// If the numbers are no such rows, or none.
    pub fn new(numbers: &'a [f32], inputs: usize) -> Self {
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

    pub(crate) fn pointer(&self) -> *const f32 {
        self.numbers.as_ptr()
    }
}
