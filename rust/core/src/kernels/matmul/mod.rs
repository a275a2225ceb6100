//! Matrix products of linear maps, forward and backward, on row-major matrices with a row stride.
//!
//!     linear      y[M,N]  = x·wᵀ     y[m,n]  = Σ_k x[m,k]·w[n,k]
//!     linear_dx   dx[M,K] = dy·w     dx[m,k] = Σ_n dy[m,n]·w[n,k]
//!     linear_dw   dw[N,K] += dyᵀ·x   dw[n,k] += Σ_m dy[m,n]·x[m,k]
//!
//! M tokens, K inputs, N outputs; w `[N, K]` as checkpoints store it. The tiles that threads share out follow from the
//! shape alone, so results have the same bits for any number of threads.

mod view;

pub use super::Accumulate;
pub use view::{MatMut, MatRef};

use super::Blocks;
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task};

/// y = x·wᵀ or y += x·wᵀ.
///
/// # Panics
/// If the shapes do not agree.
pub fn linear<T: Scalar>(x: MatRef<T>, w: MatRef<T>, y: MatMut<T>, accumulate: Accumulate) {
    assert_eq!((x.rows(), w.rows(), x.cols()), (y.rows(), y.cols(), w.cols()), "shapes of y = x·wᵀ");
    product(&Operand::new(x), &Operand::transposed(w), x.cols(), y, accumulate);
}

/// dx = dy·w or dx += dy·w.
///
/// # Panics
/// If the shapes do not agree.
pub fn linear_dx<T: Scalar>(dy: MatRef<T>, w: MatRef<T>, dx: MatMut<T>, accumulate: Accumulate) {
    assert_eq!((dy.rows(), w.cols(), dy.cols()), (dx.rows(), dx.cols(), w.rows()), "shapes of dx = dy·w");
    product(&Operand::new(dy), &Operand::new(w), dy.cols(), dx, accumulate);
}

/// Elements of scratch that [`linear_dw`] needs for m tokens, n outputs, k inputs.
pub fn linear_dw_scratch(m: usize, n: usize, k: usize) -> usize {
    let _ = (m, n, k);
    0
}

/// dw += dyᵀ·x, over all tokens at once. `scratch` of [`linear_dw_scratch`] elements, contents undefined.
///
/// # Panics
/// If the shapes do not agree or the scratch is too short.
pub fn linear_dw<T: Scalar>(dy: MatRef<T>, x: MatRef<T>, dw: MatMut<T>, scratch: &mut [T]) {
    assert_eq!((dy.cols(), x.cols(), dy.rows()), (dw.rows(), dw.cols(), x.rows()), "shapes of dw += dyᵀ·x");
    assert!(scratch.len() >= linear_dw_scratch(dy.rows(), dy.cols(), x.cols()), "scratch of dw += dyᵀ·x");
    product(&Operand::transposed(dy), &Operand::new(x), dy.rows(), dw, Accumulate::Add);
}

/// Copies `row` into every row of y: the bias, before a product is added.
///
/// # Panics
/// If their lengths differ.
pub fn fill_rows<T: Scalar>(mut y: MatMut<T>, row: &[T]) {
    let (blocks, stride) = (Blocks::new(y.rows(), LEAST_TOKENS), y.row_stride());
    assert_eq!(y.cols(), row.len(), "columns of y and of the row");
    let output = Output(y.data().as_mut_ptr());
    for_each_task(blocks.count, |block| {
        for i in blocks.range(block) {
            // SAFETY: the row lies inside the matrix and belongs to this task.
            unsafe { std::slice::from_raw_parts_mut(output.at(i * stride), row.len()) }.copy_from_slice(row);
        }
    });
}

/// Elements of scratch that [`sum_rows`] needs for m rows of n elements.
pub fn sum_rows_scratch(m: usize, n: usize) -> usize {
    Blocks::new(m, LEAST_TOKENS).count * n
}

/// sums += Σ_m dy[m,:], the gradient of a bias; blocks of rows, then the blocks, in order. `scratch` of
/// [`sum_rows_scratch`] elements, contents undefined.
///
/// # Panics
/// If the lengths differ or the scratch is too short.
pub fn sum_rows<T: Scalar>(dy: MatRef<T>, sums: &mut [T], scratch: &mut [T]) {
    assert_eq!(dy.cols(), sums.len(), "columns of dy and of the sums");
    let (blocks, n) = (Blocks::new(dy.rows(), LEAST_TOKENS), dy.cols());
    let scratch = &mut scratch[..blocks.count * n];
    let partial = Shared::new(scratch);
    for_each_task(blocks.count, |block| {
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

fn add_to<T: Scalar>(sums: &mut [T], terms: &[T]) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum += *term;
    }
}

/// A factor with strides in both directions.
struct Operand<'a, T> {
    data: &'a [T],
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> Operand<'a, T> {
    fn new(m: MatRef<'a, T>) -> Self {
        Self { data: m.data(), row_stride: m.row_stride(), col_stride: 1 }
    }
    fn transposed(m: MatRef<'a, T>) -> Self {
        Self { data: m.data(), row_stride: 1, col_stride: m.row_stride() }
    }
}

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

/// Tokens that a thread takes at least in what is not a product.
const LEAST_TOKENS: usize = 64;

/// Rows and columns of an output tile, and terms of a sum that are added before the next ones.
const TILE: [usize; 3] = [256, 128, 256];

/// c = a·b or c += a·b with `depth` terms per sum.
fn product<T: Scalar>(
    a: &Operand<T>,
    b: &Operand<T>,
    depth: usize,
    mut c: MatMut<T>,
    accumulate: Accumulate,
) {
    let (rows, cols, stride) = (c.rows(), c.cols(), c.row_stride());
    if rows == 0 || cols == 0 {
        return;
    }
    let col_tiles = cols.div_ceil(TILE[1]);
    let output = Output(c.data().as_mut_ptr());
    for_each_task(rows.div_ceil(TILE[0]) * col_tiles, |task| {
        let (i, j) = (task / col_tiles * TILE[0], task % col_tiles * TILE[1]);
        let (m, n) = (TILE[0].min(rows - i), TILE[1].min(cols - j));
        let mut beta = if accumulate == Accumulate::Add { T::ONE } else { T::ZERO };
        for start in (0..depth.max(1)).step_by(TILE[2]) {
            let terms = TILE[2].min(depth - start);
            let a_at = a.data.get(i * a.row_stride + start * a.col_stride..).unwrap_or(&[]);
            let b_at = b.data.get(start * b.row_stride + j * b.col_stride..).unwrap_or(&[]);
            let strides = [a.row_stride, a.col_stride, b.row_stride, b.col_stride, stride, 1];
            // SAFETY: the operands cover rows × terms and terms × cols by the checks of the public functions and of
            // `MatRef`; the tile of c lies inside its matrix and no other task has it.
            unsafe {
                let c_at = output.at(i * stride + j);
                gemm([m, terms, n], a_at.as_ptr(), b_at.as_ptr(), beta, c_at, strides);
            }
            beta = T::ONE;
        }
    });
}

/// c = a·b + beta·c on one thread; `shape` is (rows, terms, cols), `strides` rows and columns of a, b, c.
///
/// # Safety
/// The matrices are readable and c is writable at those strides.
unsafe fn gemm<T: Scalar>(
    shape: [usize; 3],
    a: *const T,
    b: *const T,
    beta: T,
    c: *mut T,
    strides: [usize; 6],
) {
    let [m, k, n] = shape;
    let [ra, ca, rb, cb, rc, cc] = strides.map(|s| s as isize);
    let beta = beta.to_f64();
    // SAFETY: `Scalar` is f32 or f64, told apart by their size; readable and writable by the caller's promise.
    unsafe {
        if size_of::<T>() == 4 {
            let (a, b, c) = (a.cast(), b.cast(), c.cast());
            matrixmultiply::sgemm(m, k, n, 1.0, a, ra, ca, b, rb, cb, beta as f32, c, rc, cc);
        } else {
            let (a, b, c) = (a.cast(), b.cast(), c.cast());
            matrixmultiply::dgemm(m, k, n, 1.0, a, ra, ca, b, rb, cb, beta, c, rc, cc);
        }
    }
}

#[cfg(test)]
mod tests;
