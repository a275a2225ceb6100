//! For the kernels that run along channels: columns of a wider matrix, and the division of the work into tasks.

use crate::numeric::Scalar;
use crate::parallel::Shared;
use crate::simd::Vector;

/// Columns of a row-major matrix: row r starts at `data[r · stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a, T> {
    /// The matrix from the first of these columns on.
    pub data: &'a [T],
    /// Distance from a row to the next.
    pub stride: usize,
}

impl<'a, T> Columns<'a, T> {
    /// Columns `first..` of a matrix with `stride` columns.
    pub fn new(matrix: &'a [T], first: usize, stride: usize) -> Self {
        Self { data: &matrix[first.min(matrix.len())..], stride }
    }

    /// # Panics
    /// If `rows` rows of `width` columns do not fit.
    pub(crate) fn check(&self, what: &str, rows: usize, width: usize) {
        check_columns(what, self.data.len(), self.stride, rows, width);
    }

    /// The same columns for tasks that only read.
    pub(crate) fn share(self) -> SharedColumns<'a, T> {
        SharedColumns { data: Shared::to_read(self.data), stride: self.stride }
    }
}

/// Columns of a row-major matrix that are written.
#[derive(Debug)]
pub struct ColumnsMut<'a, T> {
    /// The matrix from the first of these columns on.
    pub data: &'a mut [T],
    /// Distance from a row to the next.
    pub stride: usize,
}

impl<'a, T> ColumnsMut<'a, T> {
    /// Columns `first..` of a matrix with `stride` columns.
    pub fn new(matrix: &'a mut [T], first: usize, stride: usize) -> Self {
        let first = first.min(matrix.len());
        Self { data: &mut matrix[first..], stride }
    }

    /// # Panics
    /// If `rows` rows of `width` columns do not fit.
    pub(crate) fn check(&self, what: &str, rows: usize, width: usize) {
        check_columns(what, self.data.len(), self.stride, rows, width);
    }

    /// The same columns for disjoint writes by several tasks.
    pub(crate) fn share(self) -> SharedColumns<'a, T> {
        SharedColumns { data: Shared::new(self.data), stride: self.stride }
    }
}

fn check_columns(what: &str, len: usize, stride: usize, rows: usize, width: usize) {
    assert!(width <= stride || rows <= 1, "{what}: {width} columns of a matrix with {stride}");
    let needed = if rows == 0 { 0 } else { (rows - 1) * stride + width };
    assert!(
        len >= needed,
        "{what}: {rows} rows of {width} columns, {stride} apart, need {needed} numbers, found {len}"
    );
}

/// Columns that several tasks read, or write, each its own part.
#[derive(Clone, Copy)]
pub(crate) struct SharedColumns<'a, T> {
    data: Shared<'a, T>,
    stride: usize,
}

impl<'a, T> SharedColumns<'a, T> {
    /// `width` numbers of row `row` from column `first` on.
    ///
    /// # Safety
    /// The columns are [`ColumnsMut`], and no other part alive at the same time overlaps this one.
    #[inline(always)]
    pub(crate) unsafe fn part(&self, row: usize, first: usize, width: usize) -> &'a mut [T] {
        // SAFETY: disjoint by the caller's promise.
        unsafe { self.data.slice(row * self.stride + first, width) }
    }

    /// `width` numbers of row `row` from column `first` on, to read.
    ///
    /// # Safety
    /// Nothing writes to the part while it is alive.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, row: usize, first: usize, width: usize) -> &'a [T] {
        // SAFETY: unwritten by the caller's promise.
        unsafe { self.data.read(row * self.stride + first, width) }
    }
}

/// A rectangle of a row-major matrix that one task alone reads and writes.
///
/// Rows of the matrix run through the rectangles of several tasks, so a slice over more than one row would reach into
/// those of others: only the parts of single rows are lent, one at a time.
pub(crate) struct Rectangle<'a, T> {
    matrix: SharedColumns<'a, T>,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
}

impl<'a, T> Rectangle<'a, T> {
    /// # Panics
    /// If a row is shorter than the columns say.
    ///
    /// # Safety
    /// The matrix comes from [`ColumnsMut`], and while this rectangle is alive nothing else reaches into it.
    pub(crate) unsafe fn new(
        matrix: SharedColumns<'a, T>,
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
    ) -> Self {
        assert!(columns.end <= matrix.stride, "columns {columns:?} of a matrix with {}", matrix.stride);
        Self { matrix, rows, columns }
    }

    /// This rectangle's columns of a row of the matrix.
    ///
    /// # Panics
    /// If the row is not one of this rectangle's.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[T] {
        self.check(row);
        // SAFETY: inside the rectangle, which is ours (`new`), and borrowed from it.
        unsafe { self.matrix.read(row, self.columns.start, self.columns.len()) }
    }

    /// As [`Rectangle::row`], to write.
    #[inline(always)]
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [T] {
        self.check(row);
        // SAFETY: inside the rectangle, which is ours (`new`), and mutably borrowed from it.
        unsafe { self.matrix.part(row, self.columns.start, self.columns.len()) }
    }

    #[inline(always)]
    fn check(&self, row: usize) {
        assert!(self.rows.contains(&row), "row {row} of the rows {:?} of a task", self.rows);
    }
}

/// Channels of one task: 512 bytes of a row in f32, few enough that a chunk of every operand stays in the cache.
pub(crate) const BLOCK: usize = 128;

/// Work per task: some rows times a block of channels. A function of the problem's size alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelTasks {
    rows: usize,
    channels: usize,
    /// Groups of rows; each keeps one partial sum of the parameter gradients.
    pub(crate) row_groups: usize,
    /// Blocks of channels.
    pub(crate) blocks: usize,
}

/// One task of a [`ChannelTasks`].
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Index of the group of rows.
    pub(crate) row_group: usize,
    /// Rows of the group.
    pub(crate) rows: std::ops::Range<usize>,
    /// Index of the block of channels.
    pub(crate) block: usize,
    /// Channels of the block.
    pub(crate) channels: std::ops::Range<usize>,
}

impl ChannelTasks {
    /// More groups of rows would not occupy more cores than channel blocks can, but cost a partial sum each.
    const MAX_ROW_GROUPS: usize = 16;

    pub(crate) fn new(rows: usize, channels: usize) -> Self {
        Self { rows, channels, row_groups: rows.min(Self::MAX_ROW_GROUPS), blocks: channels.div_ceil(BLOCK) }
    }

    pub(crate) fn tasks(&self) -> usize {
        self.row_groups * self.blocks
    }

    pub(crate) fn task(&self, index: usize) -> Task {
        let (row_group, block) = (index / self.blocks, index % self.blocks);
        let row = |group: usize| self.rows * group / self.row_groups;
        Task { row_group, rows: row(row_group)..row(row_group + 1), block, channels: self.channels_of(block) }
    }

    /// Channels of a block.
    pub(crate) fn channels_of(&self, block: usize) -> std::ops::Range<usize> {
        block * BLOCK..((block + 1) * BLOCK).min(self.channels)
    }
}

/// One number per channel of a block, zeros after the last channel.
#[repr(align(64))]
pub(crate) struct PerChannel<T>(pub(crate) [T; BLOCK]);

impl<T: Scalar> PerChannel<T> {
    #[inline(always)]
    pub(crate) fn new(x: &[T]) -> Self {
        let mut padded = [T::ZERO; BLOCK];
        padded[..x.len()].copy_from_slice(x);
        Self(padded)
    }
}

/// The first `min(n, LANES)` numbers of x, zeros behind them.
#[inline(always)]
pub(crate) fn read<V: Vector>(v: V, x: &[V::T], n: usize) -> V::V {
    if n >= V::LANES { v.load(x) } else { v.load_partial(&x[..n]) }
}

/// Writes the first `min(n, LANES)` lanes.
#[inline(always)]
pub(crate) fn write<V: Vector>(v: V, x: &mut [V::T], n: usize, y: V::V) {
    if n >= V::LANES { v.store(x, y) } else { v.store_partial(&mut x[..n], y) }
}

/// The longest run of tokens from `from` on, up to `to`, without another document start.
#[inline(always)]
pub(crate) fn stretch_end(starts: Option<&[u8]>, from: usize, to: usize) -> usize {
    starts.map_or(to, |s| (from + 1..to).find(|&t| s[t] != 0).unwrap_or(to))
}

/// Start of the run of tokens that ends at `to`: the last document start after `from`, else `from`.
#[inline(always)]
pub(crate) fn stretch_start(starts: Option<&[u8]>, from: usize, to: usize) -> usize {
    starts.map_or(from, |s| (from..to).rfind(|&t| s[t] != 0).unwrap_or(from))
}

/// Whether a document starts at `t`.
#[inline(always)]
pub(crate) fn is_start(starts: Option<&[u8]>, t: usize) -> bool {
    starts.is_some_and(|s| s[t] != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_write_their_rectangles_of_one_matrix_and_nothing_else() {
        let mut matrix = vec![0; 4 * 6];
        let shared = ColumnsMut::new(&mut matrix, 0, 6).share();
        // SAFETY: the two do not overlap.
        let (mut left, mut right) =
            unsafe { (Rectangle::new(shared, 1..3, 0..4), Rectangle::new(shared, 1..3, 4..6)) };
        for row in 1..3 {
            left.row_mut(row).fill(1);
            right.row_mut(row).copy_from_slice(&[2, 3]);
            assert_eq!((left.row(row), right.row(row)), (&[1; 4][..], &[2, 3][..]));
        }
        let row = [1, 1, 1, 1, 2, 3];
        assert_eq!(matrix, [[0; 6], row, row, [0; 6]].concat());
    }

    #[test]
    #[should_panic(expected = "row 3 of the rows 1..3 of a task")]
    fn a_row_of_another_task_is_not_lent() {
        let mut matrix = vec![0; 4 * 6];
        let shared = ColumnsMut::new(&mut matrix, 0, 6).share();
        // SAFETY: the only one.
        unsafe { Rectangle::new(shared, 1..3, 0..4) }.row(3);
    }
}
