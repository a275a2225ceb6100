//! A division of work into blocks whose sums have the same bits for any number of threads.

use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task};

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

/// `to` += `from`, by all threads.
///
/// # Panics
/// If their lengths differ.
pub(crate) fn add<T: Scalar>(from: &[T], to: &mut [T]) {
    assert_eq!(from.len(), to.len(), "numbers to add");
    let (blocks, to) = (Blocks::new(from.len(), 1 << 14), Shared::new(to));
    for_each_task(blocks.count, |block| {
        let part = blocks.range(block);
        // SAFETY: each task has a block of its own.
        let to = unsafe { to.slice(part.start, part.len()) };
        to.iter_mut().zip(&from[part]).for_each(|(to, from)| *to += *from);
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
    /// Enough blocks for all threads, few enough that adding their sums takes negligible time.
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
