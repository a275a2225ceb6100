//! Arguments of every kernel beside its arrays: the geometry of a batch, and whether a result replaces or adds.

#![forbid(unsafe_code)]

/// Whether a result replaces what its output held or adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// output = result
    Overwrite,
    /// output += result
    Add,
}

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

    /// # Panics
    /// If there is not one start flag per token.
    pub(crate) fn check(&self) {
        assert!(
            self.starts.is_none_or(|s| s.len() == self.tokens()),
            "one start flag per token of {} rows of {}",
            self.rows,
            self.length
        );
    }

    /// Document starts of one row, if any are marked.
    pub fn row_starts(&self, row: usize) -> Option<&'a [u8]> {
        self.starts.map(|s| &s[row * self.length..(row + 1) * self.length])
    }
}
