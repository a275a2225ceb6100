//! Clipping by the global norm: the mean gradient g is scaled by c before it is used.
//!
//! ```text
//! ‖g‖ = √Σ g²        in f64
//! c   = min(1, clip/(‖g‖ + 1e-6))
//! ```

use crate::numeric::Scalar;
use crate::simd::{Kernel, Vector};

/// The factor c, at most 1; 1 without a threshold.
pub(crate) fn coefficient(norm: f64, threshold: Option<f64>) -> f64 {
    threshold.map_or(1.0, |clip| (clip / (norm + 1e-6)).min(1.0))
}

/// Number of sums that run side by side over a part.
const STRIPES: usize = 16;

/// A sum of squares in f64, in [`STRIPES`] interleaved sums that are joined by halving. Its order depends on the
/// lengths added alone, and every instruction set gives the same bits: f64 products and sums are never contracted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SquareSum([f64; STRIPES]);

impl SquareSum {
    /// Adds x².
    #[inline(always)]
    pub(super) fn add<T: Scalar>(&mut self, x: &[T]) {
        let square = |x: &T| x.to_f64() * x.to_f64();
        let (whole, rest) = x.as_chunks::<STRIPES>();
        for x in whole {
            for (sum, x) in self.0.iter_mut().zip(x) {
                *sum += square(x);
            }
        }
        for (sum, x) in self.0.iter_mut().zip(rest) {
            *sum += square(x);
        }
    }

    /// The sum of all stripes.
    #[inline(always)]
    pub(super) fn total(mut self) -> f64 {
        let mut half = STRIPES / 2;
        while half > 0 {
            for i in 0..half {
                self.0[i] += self.0[i + half];
            }
            half /= 2;
        }
        self.0[0]
    }
}

/// Σ x² of a slice. Not finite exactly if an element is not finite (f64: or if its square is too large).
pub(super) struct SumOfSquares<'a, T>(pub(super) &'a [T]);

impl<T: Scalar> Kernel<T> for SumOfSquares<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, _: V) -> f64 {
        let mut sum = SquareSum::default();
        sum.add(self.0);
        sum.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, run_on};

    #[test]
    fn below_the_threshold_nothing_is_scaled_and_above_the_norm_becomes_the_threshold() {
        assert_eq!(coefficient(0.0, Some(1.0)), 1.0);
        assert_eq!(coefficient(0.5, Some(1.0)), 1.0);
        assert_eq!(coefficient(1e9, None), 1.0);
        for norm in [1.5, 7.0, 1e6, 1e30] {
            let clipped = norm * coefficient(norm, Some(1.0));
            assert!((clipped - norm / (norm + 1e-6)).abs() < 1e-15, "{norm}: {clipped}");
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits_and_the_exact_sum_of_whole_numbers() {
        for n in (0..70_u32).chain([1000]) {
            let whole: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let rough: Vec<f32> = (0..n).map(|i| (i as f32 + 0.3).sin()).collect();
            let scalar = run_on(Isa::Scalar, SumOfSquares(&rough));
            let exact = (0..u64::from(n)).map(|i| i * i).sum::<u64>() as f64;
            for isa in Isa::available() {
                assert_eq!(run_on(isa, SumOfSquares(&whole)), exact, "{n} on {}", isa.name());
                assert_eq!(run_on(isa, SumOfSquares(&rough)).to_bits(), scalar.to_bits(), "{n}");
            }
        }
    }

    #[test]
    fn extreme_gradients_neither_vanish_nor_overflow_and_nan_and_infinity_are_kept() {
        let sum = |x: &[f32]| run_on(Isa::active(), SumOfSquares(x));
        assert_eq!(sum(&[3e30, 4e30]).sqrt(), (3e30_f32 as f64).hypot(4e30_f32 as f64));
        assert!((sum(&[3e-30, 4e-30]).sqrt() / 5e-30 - 1.0).abs() < 1e-7);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..40 {
                let mut x = [1.0_f32; 40];
                x[at] = bad;
                assert!(!sum(&x).is_finite(), "{bad} at {at}");
            }
        }
    }
}
