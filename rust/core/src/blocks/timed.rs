//! The matrix products of [`crate::kernels::matmul`], timed and counted for the [`crate::profile`].

#![forbid(unsafe_code)]

use crate::kernels::Accumulate;
use crate::kernels::matmul::{self, MatMut, MatRef};
use crate::numeric::Scalar;
use crate::profile::product;

/// y = x·wᵀ or y += x·wᵀ.
pub(super) fn linear<T: Scalar>(x: MatRef<T>, w: MatRef<T>, y: MatMut<T>, accumulate: Accumulate) {
    product([x.rows(), w.rows(), x.cols()], || matmul::linear(x, w, y, accumulate));
}

/// y = x·wᵀ or y += x·wᵀ with the weights read in place.
pub(super) fn linear_step<T: Scalar>(x: MatRef<T>, w: MatRef<T>, y: MatMut<T>, accumulate: Accumulate) {
    product([x.rows(), w.rows(), x.cols()], || matmul::linear_step(x, w, y, accumulate));
}

/// dx = dy·w or dx += dy·w.
pub(super) fn linear_dx<T: Scalar>(dy: MatRef<T>, w: MatRef<T>, dx: MatMut<T>, accumulate: Accumulate) {
    product([dy.rows(), w.cols(), dy.cols()], || matmul::linear_dx(dy, w, dx, accumulate));
}

/// dw += dyᵀ·x.
pub(super) fn linear_dw<T: Scalar>(dy: MatRef<T>, x: MatRef<T>, dw: MatMut<T>, scratch: &mut [T]) {
    product([dy.cols(), x.cols(), dy.rows()], || matmul::linear_dw(dy, x, dw, scratch));
}
