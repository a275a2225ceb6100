//! Helpers of the kernels' tests: reproducible numbers, comparisons that name the worst element, differences.

use std::ops::{Deref, DerefMut};

use aligned_vec::AVec;

use crate::numeric::Scalar;
use crate::parallel::Threads;
use crate::simd::Isa;

/// Numbers in [-1, 1) from a linear congruence: reproducible, without structure along rows or columns.
pub(crate) fn numbers<T: Scalar>(n: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        T::from_f64((state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0)
    };
    (0..n).map(next).collect()
}

/// Panics with the first element that is off unless every error is at most `bound` of the largest expected magnitude.
pub(crate) fn assert_close(what: &str, found: &[f64], expected: &[f64], bound: f64) {
    assert_close_to(what, found, expected, bound, 0.0);
}

/// As [`assert_close`] for sums of which one term was a number of magnitude `term`: they are rounded as it is, also
/// where the others cancel.
pub(crate) fn assert_close_to(what: &str, found: &[f64], expected: &[f64], bound: f64, term: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let size = expected.iter().fold(term, |size, x| size.max(x.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= bound * size,
            "{what}[{i}]: found {f}, expected {e} within {bound:e} of {size}"
        );
    }
}

/// Panics unless `result(isa, length, shift)` is what it is on the scalar body, for every instruction set of this machine,
/// every length from `least` to four of the widest vectors and 3, and starts `shift` numbers behind an aligned one.
///
/// Of the largest number of a result an error may have a rounding for each of `length` additions and 16 more.
pub(crate) fn every_isa_equals_scalar(
    what: &str,
    least: usize,
    result: impl Fn(Isa, usize, usize) -> Vec<f32>,
) {
    let wide = |x: Vec<f32>| x.into_iter().map(f64::from).collect::<Vec<_>>();
    for length in least..=4 * 16 + 3 {
        for shift in [0, 1, 3] {
            let expected = wide(result(Isa::Scalar, length, shift));
            let bound = (length as f64 + 16.0) * f64::from(f32::EPSILON);
            for isa in Isa::available() {
                let what = format!("{what}, length {length}, shift {shift}, {}", isa.name());
                assert_close(&what, &wide(result(isa, length, shift)), &expected, bound);
            }
        }
    }
}

/// Numbers that start `shift` of them behind an aligned place, which holds none.
pub(crate) struct Shifted<T> {
    buffer: AVec<T>,
    shift: usize,
}

impl<T: Scalar> Shifted<T> {
    pub(crate) fn new(x: &[T], shift: usize) -> Self {
        let front = std::iter::repeat_n(T::from_f64(f64::NAN), shift);
        Self { buffer: AVec::from_iter(64, front.chain(x.iter().copied())), shift }
    }
}

impl<T> Deref for Shifted<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.buffer[self.shift..]
    }
}

impl<T> DerefMut for Shifted<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.buffer[self.shift..]
    }
}

/// Panics unless `gradient` equals the central differences of `loss` at `at`, within 1e-6 of its largest element.
///
/// The fourth-order difference with h = 1e-3 errs by about h⁴ and ε/h: some 1e-12.
pub(crate) fn central_differences(what: &str, gradient: &[f64], at: &[f64], loss: impl Fn(&[f64]) -> f64) {
    let step = 1e-3;
    let mut x = at.to_vec();
    let mut shifted = |i: usize, by: f64| {
        x[i] = at[i] + by;
        let value = loss(&x);
        x[i] = at[i];
        value
    };
    let mut difference = |i: usize| {
        let near = shifted(i, step) - shifted(i, -step);
        let far = shifted(i, 2.0 * step) - shifted(i, -2.0 * step);
        (8.0 * near - far) / (12.0 * step)
    };
    let expected: Vec<f64> = (0..at.len()).map(&mut difference).collect();
    assert_close(what, gradient, &expected, 1e-6);
}

/// Panics unless the result has the same bits with 1, 2, 3 and 8 threads.
pub(crate) fn same_bits_for_any_threads(result: impl Fn() -> Vec<f32> + Sync) {
    let bits = [1, 2, 3, 8].map(|threads| {
        let result = Threads::new(Some(threads)).unwrap().install(&result).unwrap();
        result.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    });
    assert!(bits.iter().all(|b| *b == bits[0]));
}
