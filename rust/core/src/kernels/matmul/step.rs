//! The product of a few rows, as recurrent inference needs it.

use super::super::Blocks;
use super::{Accumulate, MatMut, MatRef, Output, linear};
use crate::numeric::Scalar;
use crate::parallel::for_each_task;
use crate::simd::{self, Kernel, Vector};

/// Rows up to which reading the weights in place costs less than packing them.
const FEW: usize = 4;
/// Outputs computed together: each has its own chain of sums.
const TOGETHER: usize = 4;
/// Multiply-adds that a task has at least.
const LEAST_WORK: usize = 1 << 17;

/// y = x·wᵀ or y += x·wᵀ for a few rows: dot products with the rows of w as they lie. From `FEW` rows on it is
/// [`linear`], from which it differs by rounding.
///
/// # Panics
/// If the shapes do not agree.
pub fn linear_step<T: Scalar>(x: MatRef<T>, w: MatRef<T>, mut y: MatMut<T>, accumulate: Accumulate) {
    assert_eq!((x.rows(), w.rows(), x.cols()), (y.rows(), y.cols(), w.cols()), "shapes of y = x·wᵀ");
    if x.rows() > FEW {
        linear(x, w, y, accumulate);
        return;
    }
    let (least, stride) = (LEAST_WORK.div_ceil((x.rows() * x.cols()).max(1)), y.row_stride());
    let blocks = Blocks::new(w.rows(), least.next_multiple_of(TOGETHER));
    let output = Output(y.data().as_mut_ptr());
    for_each_task(blocks.count, |block| {
        let outputs = blocks.range(block);
        for m in 0..x.rows() {
            // SAFETY: these outputs of row m lie inside the matrix and belong to this task.
            let y = unsafe {
                std::slice::from_raw_parts_mut(output.at(m * stride + outputs.start), outputs.len())
            };
            simd::run(Dots { x: x.row(m), w: w.below(outputs.start), y, accumulate });
        }
    });
}

/// y[n] = Σ_k x[k]·w[n,k] for as many rows of w as y has elements.
pub(super) struct Dots<'a, T> {
    pub(super) x: &'a [T],
    pub(super) w: MatRef<'a, T>,
    pub(super) y: &'a mut [T],
    pub(super) accumulate: Accumulate,
}

impl<T: Scalar> Kernel<T> for Dots<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let Self { x, w, y, accumulate } = self;
        for (n, y) in y.chunks_mut(TOGETHER).enumerate() {
            let last = n * TOGETHER + y.len() - 1;
            let rows: [&[T]; TOGETHER] = std::array::from_fn(|i| w.row((n * TOGETHER + i).min(last)));
            let mut sums = [v.splat(T::ZERO); TOGETHER];
            for k in (0..x.len()).step_by(V::LANES) {
                let x = v.load_at(x, k);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = v.mul_add(x, v.load_at(row, k), *sum);
                }
            }
            for (y, sum) in y.iter_mut().zip(sums) {
                let before = if accumulate == Accumulate::Add { *y } else { T::ZERO };
                *y = before + v.sum(sum);
            }
        }
    }
}
