//! The work that is per token: one file per kernel with its formulas and shapes, the forward and under it its backward.
//!
//! Activations are row-major `[rows, length, channels]`, or columns of a wider matrix with a row stride. Every kernel
//! checks its slices once at the edge; inner loops may then assume. Parameter gradients accumulate, input gradients
//! overwrite, unless a kernel says otherwise.

pub mod matmul;

/// Geometry of one pass, shared by the kernels.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Rows of the batch (B).
    pub rows: usize,
    /// Tokens of a row (T).
    pub length: usize,
    /// `[rows · length]`, 1 at the first token of each document. `None`: one document per row.
    pub starts: Option<&'a [u8]>,
}

impl<'a> Layout<'a> {
    /// One document per row.
    pub fn whole(rows: usize, length: usize) -> Self {
        Self { rows, length, starts: None }
    }

    /// Tokens of the batch.
    pub fn tokens(&self) -> usize {
        self.rows * self.length
    }

    /// Document starts of one row, if any are marked.
    pub fn row_starts(&self, row: usize) -> Option<&'a [u8]> {
        self.starts.map(|s| &s[row * self.length..(row + 1) * self.length])
    }
}
