//! A linear map, and the gradient of its input.

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
///
/// ```
/// use ssm_hpn::kernels::Accumulate;
/// use ssm_hpn::kernels::matmul::{MatMut, MatRef, linear};
///
/// let x = [1.0_f32, 2.0]; // one token of two inputs
/// let w = [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]; // [3, 2]
/// let mut y = [0.0; 3];
/// linear(MatRef::new(&x, 1, 2), MatRef::new(&w, 3, 2), MatMut::new(&mut y, 1, 3), Accumulate::Overwrite);
/// assert_eq!(y, [11.0, 17.0, 23.0]);
/// ```
pub fn linear<T: Scalar>(x: MatRef<T>, w: MatRef<T>, y: MatMut<T>, accumulate: Accumulate) {
    check_linear(&x, &w, &y);
    let cost = Cost { a: READ, b: TRANSPOSE, part: f64::INFINITY };
    let split = Split::new(x.rows(), w.rows(), x.cols(), cost);
    product(split, (Factor::along_depth(x), Factor::along_depth(w)), y, accumulate, &mut []);
}

/// dx = dy·w or dx += dy·w.
///
/// # Panics
/// If the shapes do not agree.
///
/// ```
/// use ssm_hpn::kernels::Accumulate;
/// use ssm_hpn::kernels::matmul::{MatMut, MatRef, linear_dx};
///
/// let dy = [1.0_f32, 0.0, 2.0]; // of one token with three outputs
/// let w = [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]; // [3, 2]
/// let mut dx = [0.0; 2];
/// linear_dx(MatRef::new(&dy, 1, 3), MatRef::new(&w, 3, 2), MatMut::new(&mut dx, 1, 2), Accumulate::Overwrite);
/// assert_eq!(dx, [17.0, 20.0]);
/// ```
pub fn linear_dx<T: Scalar>(dy: MatRef<T>, w: MatRef<T>, dx: MatMut<T>, accumulate: Accumulate) {
    check_linear_dx(&dy, &w, &dx);
    let cost = Cost { a: READ, b: READ, part: f64::INFINITY };
    let split = Split::new(dy.rows(), w.cols(), dy.cols(), cost);
    product(split, (Factor::along_depth(dy), Factor::along_output(w)), dx, accumulate, &mut []);
}

/// Panics unless y, x and w agree.
pub(super) fn check_linear<T>(x: &MatRef<T>, w: &MatRef<T>, y: &MatMut<T>) {
    assert_eq!((x.rows(), w.rows(), x.cols()), (y.rows(), y.cols(), w.cols()), "shapes of y = x·wᵀ");
}

/// Panics unless dx, dy and w agree.
pub(super) fn check_linear_dx<T>(dy: &MatRef<T>, w: &MatRef<T>, dx: &MatMut<T>) {
    assert_eq!((dy.rows(), w.cols(), dy.cols()), (dx.rows(), dx.cols(), w.rows()), "shapes of dx = dy·w");
}
