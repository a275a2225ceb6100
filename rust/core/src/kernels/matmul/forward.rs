//! The products of a linear map and of the gradient of its input.

use super::output::{READ, TRANSPOSE, product};
use super::split::{Cost, Split};
use super::tile::Factor;
use super::view::{MatMut, MatRef};
use crate::kernels::layout::Accumulate;
use crate::numeric::Scalar;

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
