//! The map from the input to the first hidden state: rows of a table for token ids, a linear map for float features.
//!
//! ```text
//! tokens    y[m,:]  = w[id[m],:]            dw[id[m],:] += dy[m,:]
//! features  y[m,:]  = w·f[m,:] + b          dw += dyᵀ·f      db += Σ_m dy[m,:]
//! ```
//!
//! y, dy `[M, D]`, w `[V, D]` for tokens and `[D, F]` for features, f `[M, F]`, b `[D]`. The input itself gets no gradient.

use std::ops::Range;

use super::blocks::Blocks;
use super::layout::Accumulate;
use super::matmul::{self, MatMut, MatRef, Precision};
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task_of};

/// Elements that take as long as one of the items of [`for_each_task_of`].
const ELEMENTS: usize = 8;
/// Least number of tokens that a thread gathers.
const LEAST_TOKENS: usize = 64;
/// Channels that a thread scatters: two cache lines of f32.
const SCATTER_CHANNELS: usize = 32;

/// Shape of a table lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Token ids that exist (V).
    pub vocabulary: usize,
    /// Channels (D).
    pub channels: usize,
}

impl Dims {
    /// Panics unless the lengths fit and every id exists.
    fn check(&self, ids: &[u32], w: usize, y: usize) {
        assert_eq!(
            (w, y),
            (self.vocabulary * self.channels, ids.len() * self.channels),
            "lengths of w and y"
        );
        let highest = ids.iter().copied().max().unwrap_or(0) as usize;
        assert!(ids.is_empty() || highest < self.vocabulary, "token {highest} of {}", self.vocabulary);
    }
}

/// y from the rows that `ids` name.
///
/// # Panics
/// If a slice does not have the length that `dims` says or an id is out of range.
pub fn forward<T: Scalar>(dims: Dims, ids: &[u32], w: &[T], y: &mut [T]) {
    dims.check(ids, w.len(), y.len());
    let (d, blocks) = (dims.channels, Blocks::new(ids.len(), LEAST_TOKENS));
    let y = Shared::new(y);
    for_each_task_of(ids.len() * d / ELEMENTS, blocks.count, |block| {
        let rows = blocks.range(block);
        // SAFETY: the tokens of a block belong to its task.
        let y = unsafe { y.slice(rows.start * d, rows.len() * d) };
        for (y, &id) in y.chunks_exact_mut(d.max(1)).zip(&ids[rows]) {
            y.copy_from_slice(&w[id as usize * d..][..d]);
        }
    });
}

/// Adds every token's gradient to its row of dw, in the order of the tokens: tasks divide the channels.
///
/// # Panics
/// As [`forward`].
pub fn backward<T: Scalar>(dims: Dims, ids: &[u32], dy: &[T], dw: &mut [T]) {
    dims.check(ids, dw.len(), dy.len());
    let d = dims.channels;
    let dw = Shared::new(dw);
    for_each_task_of(ids.len() * d / ELEMENTS, d.div_ceil(SCATTER_CHANNELS), |task| {
        let part: Range<usize> = task * SCATTER_CHANNELS..((task + 1) * SCATTER_CHANNELS).min(d);
        for (m, &id) in ids.iter().enumerate() {
            // SAFETY: these channels of every row belong to this task.
            let dw = unsafe { dw.slice(id as usize * d + part.start, part.len()) };
            for (dw, dy) in dw.iter_mut().zip(&dy[m * d..][part.clone()]) {
                *dw += *dy;
            }
        }
    });
}

/// y = w·f + b for every token.
///
/// # Panics
/// If a slice does not have the length that the features `[M, F]` and the weight `[D, F]` say.
pub fn features_forward<T: Scalar>(
    precision: Precision,
    features: MatRef<T>,
    w: MatRef<T>,
    bias: &[T],
    y: &mut [T],
) {
    let (m, d) = (features.rows(), w.rows());
    assert_eq!(y.len(), m * d, "length of y");
    matmul::fill_rows(MatMut::new(y, m, d), bias);
    precision.linear(features, w, MatMut::new(y, m, d), Accumulate::Add);
}

/// Elements of scratch that [`features_backward`] needs for m tokens, d channels, f features.
pub fn features_backward_scratch(m: usize, d: usize, f: usize) -> usize {
    matmul::linear_dw_scratch(m, d, f).max(matmul::sum_rows_scratch(m, d))
}

/// Adds the gradients of the weight and of the bias, where they are wanted.
///
/// # Panics
/// As [`features_forward`], or if the scratch is too short.
pub fn features_backward<T: Scalar>(
    precision: Precision,
    features: MatRef<T>,
    dy: MatRef<T>,
    dw: Option<&mut [T]>,
    db: Option<&mut [T]>,
    scratch: &mut [T],
) {
    if let Some(dw) = dw {
        precision.linear_dw(dy, features, MatMut::new(dw, dy.cols(), features.cols()), scratch);
    }
    if let Some(db) = db {
        matmul::sum_rows(dy, db, scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{central_differences, numbers, same_bits_for_any_threads};

    const DIMS: Dims = Dims { vocabulary: 7, channels: 45 };

    fn ids(n: u32) -> Vec<u32> {
        (0..n).map(|i| (i * i + i / 3) % 7).collect()
    }

    #[test]
    fn rows_are_gathered_and_their_gradients_added() {
        let (ids, w, dy) = (ids(100), numbers::<f64>(7 * 45, 1), numbers::<f64>(100 * 45, 2));
        let mut y = vec![0.0; 100 * 45];
        forward(DIMS, &ids, &w, &mut y);
        assert!((0..100 * 45).all(|i| y[i] == w[ids[i / 45] as usize * 45 + i % 45]));
        let mut dw = vec![0.0; 7 * 45];
        backward(DIMS, &ids, &dy, &mut dw);
        central_differences("dw", &dw, &w, |w| {
            let mut y = vec![0.0; 100 * 45];
            forward(DIMS, &ids, w, &mut y);
            y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        });
    }

    #[test]
    #[should_panic(expected = "token 7 of 7")]
    fn an_id_beyond_the_vocabulary_is_refused() {
        forward(DIMS, &[1, 7], &[0.0_f32; 7 * 45], &mut [0.0; 90]);
    }

    #[test]
    fn features_are_mapped_and_their_gradients_added() {
        let (m, d, f) = (9, 5, 3);
        let (x, w, b, dy) = (numbers(m * f, 1), numbers(d * f, 2), numbers(d, 3), numbers::<f64>(m * d, 4));
        let x = MatRef::new(&x, m, f);
        let loss = |w: &[f64], b: &[f64]| {
            let mut y = vec![f64::NAN; m * d];
            features_forward(Precision::F32, x, MatRef::new(w, d, f), b, &mut y);
            y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        };
        let (mut dw, mut db) = (vec![0.0; d * f], vec![0.0; d]);
        let mut scratch = vec![f64::NAN; features_backward_scratch(m, d, f)];
        features_backward(
            Precision::F32,
            x,
            MatRef::new(&dy, m, d),
            Some(&mut dw),
            Some(&mut db),
            &mut scratch,
        );
        central_differences("dw", &dw, &w, |w| loss(w, &b));
        central_differences("db", &db, &b, |b| loss(&w, b));
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let (ids, dy) = (ids(1000), numbers::<f32>(1000 * 45, 2));
        same_bits_for_any_threads(|| {
            let mut dw = vec![0.0; 7 * 45];
            backward(DIMS, &ids, &dy, &mut dw);
            dw
        });
    }
}
