//! The gradient of the weight: a sum over all tokens, computed in parts that are added in order.

use super::output::{Output, PARTIAL, READ, product};
use super::split::{Cost, Split};
use super::tile::{Factor, add_to};
use super::view::{MatMut, MatRef};
use crate::kernels::blocks::Blocks;
use crate::kernels::layout::Accumulate;
use crate::numeric::Scalar;
use crate::parallel::for_each_task;

/// Least number of elements of dw for a thread that adds the parts.
const LEAST_JOINED: usize = 1 << 14;

fn split(m: usize, n: usize, k: usize) -> Split {
    Split::new(n, k, m, Cost { a: READ, b: READ, part: PARTIAL })
}

/// Elements of scratch that [`linear_dw`] needs for m tokens, n outputs, k inputs.
///
/// ```
/// use ssm_hpn::kernels::matmul::linear_dw_scratch;
///
/// // Many tokens are cut into parts, and each part but the first has a matrix of its own.
/// assert_eq!(linear_dw_scratch(8, 16, 32), 0);
/// assert_eq!(linear_dw_scratch(1 << 20, 16, 32) % (16 * 32), 0);
/// ```
pub fn linear_dw_scratch(m: usize, n: usize, k: usize) -> usize {
    // The first part is added to dw directly and needs no scratch.
    (split(m, n, k).count[2] - 1) * n * k
}

/// dw += dyᵀ·x, over all tokens at once. `scratch` of [`linear_dw_scratch`] elements, contents undefined.
///
/// # Panics
/// If the shapes do not agree or the scratch is too short.
///
/// ```
/// use ssm_hpn::kernels::matmul::{MatMut, MatRef, linear_dw, linear_dw_scratch};
///
/// // Two tokens of two inputs and one output.
/// let (x, dy) = ([1.0_f32, 2.0, 3.0, 4.0], [1.0, 10.0]);
/// let mut dw = [0.5, 0.5]; // [1, 2], what other tokens left
/// let mut scratch = vec![0.0; linear_dw_scratch(2, 1, 2)];
/// linear_dw(MatRef::new(&dy, 2, 1), MatRef::new(&x, 2, 2), MatMut::new(&mut dw, 1, 2), &mut scratch);
/// assert_eq!(dw, [31.5, 42.5]);
/// ```
pub fn linear_dw<T: Scalar>(dy: MatRef<T>, x: MatRef<T>, mut dw: MatMut<T>, scratch: &mut [T]) {
    check_linear_dw(&dy, &x, &dw);
    let (m, n, k, stride) = (dy.rows(), dy.cols(), x.cols(), dw.row_stride());
    let partial = &mut scratch[..linear_dw_scratch(m, n, k)];
    let factors = (Factor::along_output(dy), Factor::along_output(x));
    let whole = MatMut::with_stride(dw.data(), n, k, stride);
    product(split(m, n, k), factors, whole, Accumulate::Add, partial);
    if partial.is_empty() {
        return;
    }
    let (blocks, output) = (Blocks::new(n, LEAST_JOINED / k), Output::new(dw.data().as_mut_ptr()));
    for_each_task(blocks.count, |block| {
        for row in blocks.range(block) {
            // SAFETY: the row lies inside the matrix and belongs to this task.
            let dw = unsafe { std::slice::from_raw_parts_mut(output.at(row * stride), k) };
            for part in partial.chunks_exact(n * k) {
                add_to(dw, &part[row * k..][..k]);
            }
        }
    });
}

/// Panics unless dw, dy and x agree.
pub(super) fn check_linear_dw<T>(dy: &MatRef<T>, x: &MatRef<T>, dw: &MatMut<T>) {
    assert_eq!((dy.cols(), x.cols(), dy.rows()), (dw.rows(), dw.cols(), x.rows()), "shapes of dw += dyᵀ·x");
}
