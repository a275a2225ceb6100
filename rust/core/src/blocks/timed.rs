//! The matrix products of [`crate::kernels::matmul`], timed and counted for the [`crate::profile`].

#![forbid(unsafe_code)]

use crate::kernels::Accumulate;
use crate::kernels::matmul::{self, MatMut, MatRef, Precision};
use crate::numeric::Scalar;
use crate::profile::product;

/// The products of a pass, with its precision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Products {
    /// Precision of the factors.
    pub(super) precision: Precision,
    /// Whether the pass is one token per row, whose y = x·wᵀ reads the weights in place, in f32.
    pub(super) is_step: bool,
}

impl Products {
    /// Those of whole sequences.
    pub(super) fn new(precision: Precision) -> Self {
        Self { precision, is_step: false }
    }

    /// y = x·wᵀ or y += x·wᵀ.
    pub(super) fn linear<T: Scalar>(self, x: MatRef<T>, w: MatRef<T>, y: MatMut<T>, accumulate: Accumulate) {
        product([x.rows(), w.rows(), x.cols()], || {
            if self.is_step {
                matmul::linear_step(x, w, y, accumulate);
            } else {
                self.precision.linear(x, w, y, accumulate);
            }
        });
    }

    /// dx = dy·w or dx += dy·w.
    pub(super) fn linear_dx<T: Scalar>(
        self,
        dy: MatRef<T>,
        w: MatRef<T>,
        dx: MatMut<T>,
        accumulate: Accumulate,
    ) {
        product([dy.rows(), w.cols(), dy.cols()], || self.precision.linear_dx(dy, w, dx, accumulate));
    }

    /// dw += dyᵀ·x.
    pub(super) fn linear_dw<T: Scalar>(self, dy: MatRef<T>, x: MatRef<T>, dw: MatMut<T>, scratch: &mut [T]) {
        product([dy.cols(), x.cols(), dy.rows()], || self.precision.linear_dw(dy, x, dw, scratch));
    }
}
