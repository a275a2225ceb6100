//! How much each row of a matrix counts in a sum over rows.

#![forbid(unsafe_code)]

use std::ops::Range;

use crate::numeric::Scalar;

/// A factor of the loss of each row, and so of its gradients; 1 where none are given.
///
/// ```
/// use ssm_hpn::kernels::RowWeights;
///
/// let weights = RowWeights::new(&[0.5_f32, 2.0, 1.0]);
/// assert_eq!((weights.of(1), weights.rows(1..3).of(1)), (2.0, 1.0));
/// assert_eq!(weights.given(), Some(&[0.5, 2.0, 1.0][..]));
/// let equal = RowWeights::<f32>::EQUAL;
/// assert_eq!((equal.of(7), equal.given()), (1.0, None));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowWeights<'a, T>(Option<&'a [T]>);

impl<'a, T: Scalar> RowWeights<'a, T> {
    /// Every row counts as 1.
    pub const EQUAL: Self = Self(None);

    /// A weight for every row.
    pub fn new(weights: &'a [T]) -> Self {
        Self(Some(weights))
    }

    /// The weights, if any are given.
    pub fn given(self) -> Option<&'a [T]> {
        self.0
    }

    /// The weight of a row.
    ///
    /// # Panics
    /// If weights are given, and none for this row.
    #[inline(always)]
    pub fn of(self, row: usize) -> T {
        self.0.map_or(T::ONE, |weights| weights[row])
    }

    /// The weights of consecutive rows.
    ///
    /// # Panics
    /// If weights are given, and not for all of these rows.
    pub fn rows(self, rows: Range<usize>) -> Self {
        Self(self.0.map(|weights| &weights[rows]))
    }

    /// Panics unless there is a weight for each of n rows, or none at all.
    pub(crate) fn check(self, n: usize) {
        assert_eq!(self.0.map_or(n, <[T]>::len), n, "weights of rows");
    }
}
