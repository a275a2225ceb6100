//! The product of a few rows of x with the weights, for recurrent inference.

use super::forward::linear;
use super::output::Output;
use super::view::{MatMut, MatRef};
use crate::kernels::blocks::Blocks;
use crate::kernels::layout::Accumulate;
use crate::numeric::Scalar;
use crate::parallel::for_each_task;
use crate::real::Real;
use crate::simd::{self, Kernel, Vector};

/// Number of rows below which reading the weights in place costs less than packing them.
const FEW: usize = 4;
/// Outputs that are computed together, each with its own accumulators in registers.
const TOGETHER: usize = 8;
/// Outputs whose lanes are summed in one step at the end.
const SUMMED: usize = 2 * TOGETHER;
/// Lanes of the widest vector.
const MOST_LANES: usize = 16;
/// Least number of multiply-adds of a task.
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
    let blocks = Blocks::new(w.rows(), least.next_multiple_of(SUMMED));
    let output = Output::new(y.data().as_mut_ptr());
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
        let (mut lanes, mut sums) = ([T::ZERO; SUMMED * MOST_LANES], [T::ZERO; SUMMED]);
        for (n, y) in y.chunks_mut(SUMMED).enumerate() {
            for first in (0..y.len()).step_by(TOGETHER) {
                let mut rows = [x; TOGETHER];
                for (i, row) in rows.iter_mut().enumerate() {
                    // Outputs beyond the last read the last row of w; their sums are not stored.
                    *row = w.row(n * SUMMED + (first + i).min(y.len() - 1));
                }
                let found = dots(v, x, rows, TOGETHER * w.row_stride());
                for (lanes, found) in lanes[first * V::LANES..].chunks_exact_mut(V::LANES).zip(found) {
                    v.store(lanes, found);
                }
            }
            v.sum_each(&lanes[..y.len() * V::LANES], &mut sums[..y.len()]);
            for i in (0..y.len()).step_by(V::LANES) {
                let sum = v.load(&sums[i..]);
                let sum = if accumulate == Accumulate::Add { v.add(v.load_at(y, i), sum) } else { sum };
                v.store_at(y, i, sum);
            }
        }
    }
}

/// The dot products of x with rows of w of the same length, before the sum over the lanes. The rows `ahead` elements
/// further are prefetched: the processor's own prefetching begins anew with every row.
#[inline(always)]
fn dots<V: Vector>(v: V, x: &[V::T], rows: [&[V::T]; TOGETHER], ahead: usize) -> [V::V; TOGETHER] {
    assert!(rows.iter().all(|row| row.len() == x.len()));
    let mut sums = [v.splat(V::T::ZERO); TOGETHER];
    let whole = x.len() / V::LANES * V::LANES;
    for k in (0..whole).step_by(V::LANES) {
        // SAFETY: a whole vector of x and of each row (asserted) lies ahead.
        unsafe {
            let x = v.load_ptr(x.as_ptr().add(k));
            for (sum, row) in sums.iter_mut().zip(rows) {
                simd::prefetch_line(row.as_ptr().wrapping_add(k + ahead));
                *sum = v.mul_add(x, v.load_ptr(row.as_ptr().add(k)), *sum);
            }
        }
    }
    if whole < x.len() {
        let x = v.load_partial(&x[whole..]);
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = v.mul_add(x, v.load_partial(&row[whole..]), *sum);
        }
    }
    sums
}
