//! The work that is per token: one file per kernel with its formulas and shapes, the forward and under it its backward.
//!
//! Activations are row-major `[rows, length, channels]`, or columns of a wider matrix with a row stride. Every kernel
//! checks its slices once at the edge; inner loops may then assume. Parameter gradients accumulate, input gradients
//! overwrite, unless a kernel says otherwise.

pub mod activation;
pub mod channels;
pub mod conv1d;
pub mod embedding;
pub mod matmul;
pub mod norm;
pub mod selective_scan;
pub mod softmax;
#[cfg(test)]
pub(crate) mod testing;
mod transpose;

pub use channels::{Columns, ColumnsMut};

use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task};

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

/// `to` = `from`, by all threads.
///
/// # Panics
/// If their lengths differ.
pub(crate) fn copy<T: Scalar>(from: &[T], to: &mut [T]) {
    assert_eq!(from.len(), to.len(), "numbers to copy");
    let (blocks, to) = (Blocks::new(from.len(), 1 << 14), Shared::new(to));
    for_each_task(blocks.count, |block| {
        let part = blocks.range(block);
        // SAFETY: each task has a block of its own.
        unsafe { to.slice(part.start, part.len()) }.copy_from_slice(&from[part]);
    });
}

/// A division of work into blocks that follows from its size alone, so that sums over blocks have the same order, and
/// the same bits, for any number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    items: usize,
    size: usize,
    /// Number of blocks, at most [`Blocks::MOST`].
    pub(crate) count: usize,
}

impl Blocks {
    /// Enough to share out, few enough that sums over blocks cost nothing.
    pub(crate) const MOST: usize = 64;

    /// Blocks of equal size, at least `least` items each (the last one may be shorter).
    pub(crate) fn new(items: usize, least: usize) -> Self {
        let size = items.div_ceil(Self::MOST).max(least).max(1);
        Self { items, size, count: items.div_ceil(size) }
    }

    /// Items of one block.
    pub(crate) fn range(&self, block: usize) -> std::ops::Range<usize> {
        block * self.size..((block + 1) * self.size).min(self.items)
    }
}
