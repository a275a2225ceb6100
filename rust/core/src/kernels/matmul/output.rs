//! The output matrix of a product, written by several tasks, one tile each.

use super::split::Split;
use super::tile::{Factor, Tile, with_packed};
use super::view::MatMut;
use crate::kernels::layout::Accumulate;
use crate::numeric::Scalar;
use crate::parallel::for_each_task;
use crate::simd;

/// Cost of one more read of an element in place, in multiply-adds.
pub(super) const READ: f64 = 4.0;
/// Cost of packing an element whose neighbours in memory belong to other terms, in multiply-adds.
pub(super) const TRANSPOSE: f64 = 21.0;
/// Cost of writing an element of a partial output and adding it later, in multiply-adds.
pub(super) const PARTIAL: f64 = 15.0;

/// Start of an output whose tiles are written by different tasks.
pub(super) struct Output<T>(*mut T);

// SAFETY: tasks write disjoint tiles.
unsafe impl<T: Send> Sync for Output<T> {}

impl<T> Output<T> {
    pub(super) fn new(start: *mut T) -> Self {
        Self(start)
    }

    /// # Safety
    /// `offset` lies inside the matrix.
    pub(super) unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: by the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// The product of two factors. The first part of the depth is written to c, the others to `partial`, one contiguous
/// matrix after another.
pub(super) fn product<T: Scalar>(
    split: Split,
    factors: (Factor<T>, Factor<T>),
    mut c: MatMut<T>,
    accumulate: Accumulate,
    partial: &mut [T],
) {
    let (rows, cols, stride) = (c.rows(), c.cols(), c.row_stride());
    if rows == 0 || cols == 0 {
        return;
    }
    let (output, partial) = (Output::new(c.data().as_mut_ptr()), Output::new(partial.as_mut_ptr()));
    for_each_task(split.tasks(), |task| {
        let ranges = split.ranges(task);
        let at = |stride: usize| ranges[0].start * stride + ranges[1].start;
        let (start, stride, accumulate) = match split.part(task) {
            // SAFETY: the tile lies inside the output.
            0 => (unsafe { output.at(at(stride)) }, stride, accumulate),
            // SAFETY: the tile lies inside its partial output.
            part => (unsafe { partial.at((part - 1) * rows * cols + at(cols)) }, cols, Accumulate::Overwrite),
        };
        with_packed(ranges[1].len(), |packed| {
            // SAFETY: tiles of different tasks are disjoint; c and the partial outputs are borrowed for this call.
            simd::run(unsafe { Tile::new(factors, ranges, start, stride, accumulate, packed) });
        });
    });
}
