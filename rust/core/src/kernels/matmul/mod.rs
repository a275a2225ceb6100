//! Matrix products of linear maps, forward and backward, on row-major matrices with a row stride.
//!
//! ```text
//! linear      y[M,N]  = x·wᵀ     y[m,n]  = Σ_k x[m,k]·w[n,k]
//! linear_dx   dx[M,K] = dy·w     dx[m,k] = Σ_n dy[m,n]·w[n,k]
//! linear_dw   dw[N,K] += dyᵀ·x   dw[n,k] += Σ_m dy[m,n]·x[m,k]
//! ```
//!
//! M tokens, K inputs, N outputs; w `[N, K]` as checkpoints store it.
//!
//! Bits: the tasks that threads share out follow from the shape alone, so results do not depend on the number of
//! threads. A row of y or dx does not depend on the other rows either, nor on their number: a sequence alone and inside
//! a batch agree to the bit. A sum over tokens is cut by their number, so dw of a batch and the sum of the dw of its
//! sequences differ by rounding, and so does [`linear_step`], which reads the weights in place.
//!
//! `benchmarks/records` says why these products are our own and not a library's.

mod bias;
mod dw;
mod split;
mod step;
mod tile;
mod view;

pub use super::Accumulate;
pub use bias::{fill_rows, sum_rows, sum_rows_scratch};
pub use dw::{linear_dw, linear_dw_scratch};
pub use step::linear_step;
pub use view::{MatMut, MatRef};

use crate::numeric::Scalar;
use crate::parallel::for_each_task;
use crate::simd;
use split::{Cost, Split};
use tile::{Factor, Tile, with_packed};

/// y = x·wᵀ or y += x·wᵀ.
///
/// # Panics
/// If the shapes do not agree.
pub fn linear<T: Scalar>(x: MatRef<T>, w: MatRef<T>, y: MatMut<T>, accumulate: Accumulate) {
    assert_eq!((x.rows(), w.rows(), x.cols()), (y.rows(), y.cols(), w.cols()), "shapes of y = x·wᵀ");
    let cost = Cost { a: READ, b: TRANSPOSE, part: f64::INFINITY };
    let split = Split::new(x.rows(), w.rows(), x.cols(), cost);
    product(split, (Factor::along_depth(x), Factor::along_depth(w)), y, accumulate, &mut []);
}

/// dx = dy·w or dx += dy·w.
///
/// # Panics
/// If the shapes do not agree.
pub fn linear_dx<T: Scalar>(dy: MatRef<T>, w: MatRef<T>, dx: MatMut<T>, accumulate: Accumulate) {
    assert_eq!((dy.rows(), w.cols(), dy.cols()), (dx.rows(), dx.cols(), w.rows()), "shapes of dx = dy·w");
    let cost = Cost { a: READ, b: READ, part: f64::INFINITY };
    let split = Split::new(dy.rows(), w.cols(), dy.cols(), cost);
    product(split, (Factor::along_depth(dy), Factor::along_output(w)), dx, accumulate, &mut []);
}

fn add_to<T: Scalar>(sums: &mut [T], terms: &[T]) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum += *term;
    }
}

/// Cost of reading an element in place once more, in multiply-adds.
const READ: f64 = 4.0;
/// Cost of packing an element across.
const TRANSPOSE: f64 = 21.0;
/// Cost of writing an element of a partial output and adding it later.
const PARTIAL: f64 = 15.0;

/// Start of an output whose tiles are written by different tasks.
struct Output<T>(*mut T);

// SAFETY: tasks write disjoint tiles.
unsafe impl<T: Send> Sync for Output<T> {}

impl<T> Output<T> {
    /// # Safety
    /// `offset` lies inside the matrix.
    unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: by the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// The product of two factors: the first part of the depth goes to c, the others are written one after another to
/// `partial`, each contiguous.
fn product<T: Scalar>(
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
    let (output, partial) = (Output(c.data().as_mut_ptr()), Output(partial.as_mut_ptr()));
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

#[cfg(test)]
mod tests;
