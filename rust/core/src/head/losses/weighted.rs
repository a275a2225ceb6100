//! Classes of rows, and how much each row counts.

use std::ops::Range;

use crate::kernels::RowWeights;
use crate::numeric::Scalar;

/// Targets of a loss over classes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightedClasses<'a, T> {
    /// `[n]`; negative: none.
    pub classes: &'a [i32],
    /// `[n]`.
    pub weights: RowWeights<'a, T>,
}

impl<T: Scalar> WeightedClasses<'_, T> {
    /// Those of consecutive rows.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        Self { classes: &self.classes[rows.clone()], weights: self.weights.rows(rows) }
    }

    /// Panics unless z of `elements` numbers has a row of `dim` for each.
    pub(crate) fn check(&self, elements: usize, dim: usize) {
        assert_eq!(elements, self.classes.len() * dim, "rows of z and classes");
        self.weights.check(self.classes.len());
    }
}
