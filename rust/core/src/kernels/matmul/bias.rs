//! The bias of a linear map: a row copied to all rows, and its gradient.

use super::output::Output;
use super::tile::add_to;
use super::view::{MatMut, MatRef};
use crate::kernels::blocks::Blocks;
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task_of};

/// Elements that take as long as one of the items of [`for_each_task_of`].
const ELEMENTS: usize = 8;
/// Least number of rows for a thread.
const LEAST_ROWS: usize = 64;

/// Copies `row`, the bias `[N]`, into every row of y `[M, N]`, to which a product is added afterwards.
///
/// # Panics
/// If their lengths differ.
pub(crate) fn fill_rows<T: Scalar>(mut y: MatMut<T>, row: &[T]) {
    let (blocks, stride) = (Blocks::new(y.rows(), LEAST_ROWS), y.row_stride());
    assert_eq!(y.cols(), row.len(), "columns of y and of the row");
    let items = y.rows() * y.cols() / ELEMENTS;
    let output = Output::new(y.data().as_mut_ptr());
    for_each_task_of(items, blocks.count, |block| {
        for i in blocks.range(block) {
            // SAFETY: the row lies inside the matrix and belongs to this task.
            unsafe { std::slice::from_raw_parts_mut(output.at(i * stride), row.len()) }.copy_from_slice(row);
        }
    });
}

/// Elements of scratch that [`sum_rows`] needs for m rows of n elements.
pub(crate) fn sum_rows_scratch(m: usize, n: usize) -> usize {
    Blocks::new(m, LEAST_ROWS).count * n
}

/// sums += `Σ_m dy[m,:]`, the gradient of a bias: each block of rows is summed, then the blocks are added in order.
/// `scratch` of [`sum_rows_scratch`] elements, contents undefined.
///
/// # Panics
/// If the lengths differ or the scratch is too short.
pub(crate) fn sum_rows<T: Scalar>(dy: MatRef<T>, sums: &mut [T], scratch: &mut [T]) {
    assert_eq!(dy.cols(), sums.len(), "columns of dy and of the sums");
    let (blocks, n) = (Blocks::new(dy.rows(), LEAST_ROWS), dy.cols());
    let scratch = &mut scratch[..blocks.count * n];
    let partial = Shared::new(scratch);
    for_each_task_of(dy.rows() * n / ELEMENTS, blocks.count, |block| {
        // SAFETY: each block has its own row of partial sums.
        let partial = unsafe { partial.slice(block * n, n) };
        partial.fill(T::ZERO);
        for i in blocks.range(block) {
            add_to(partial, &dy.data()[i * dy.row_stride()..][..n]);
        }
    });
    for partial in scratch.chunks_exact(n.max(1)) {
        add_to(sums, partial);
    }
}
