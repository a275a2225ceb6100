//! The trait of every head, its targets and its report.

#![forbid(unsafe_code)]

use super::predictions::Wanted;
use crate::numeric::Scalar;
use crate::params::{Grads, ParamSpec, Params};
use crate::pass::Pass;

/// Targets of n features.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, T> {
    /// `[n]` class of each feature, -1 for none.
    Classes(&'a [i32]),
    /// `[n, K]` numbers, each a target of its own; NaN for none.
    Values(&'a [T]),
    /// One class and one number for each feature.
    Joint {
        /// `[n]` class, -1 for none: then the number has no loss either.
        classes: &'a [i32],
        /// `[n]` numbers, NaN for none: then the class has no loss either.
        values: &'a [T],
    },
    /// `[n, D]`: the loss is the sum of features · cotangent.
    Cotangent(&'a [T]),
}

impl<T> Targets<'_, T> {
    /// Name of the kind.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Classes(_) => "classes",
            Self::Values(_) => "numbers",
            Self::Joint { .. } => "classes with numbers",
            Self::Cotangent(_) => "a cotangent",
        }
    }

    /// Panics unless there are n of them; `width` numbers each, where they are numbers.
    pub(crate) fn check(&self, n: usize, width: usize) {
        match self {
            Self::Classes(classes) => assert_eq!(classes.len(), n, "classes"),
            Self::Values(values) => assert_eq!(values.len(), n * width, "numbers"),
            Self::Joint { classes, values } => {
                assert_eq!((classes.len(), values.len()), (n, n), "joint targets");
            }
            Self::Cotangent(cotangent) => assert_eq!(cotangent.len(), n * width, "numbers of the cotangent"),
        }
    }
}

/// Which predictions of a training pass are counted besides the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accuracy {
    /// None: the pass costs the loss alone.
    Skip,
    /// As [`Wanted::Accuracy`].
    Count,
}

/// Sums over the targets of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeadReport {
    /// Sum of the losses.
    pub loss: f64,
    /// Targets that have a loss.
    pub count: u64,
    /// Targets whose prediction was counted.
    pub scored: u64,
    /// Counted predictions that were right.
    pub correct: u64,
    /// Sum of squared errors of predicted numbers, in their units.
    pub squared_error: f64,
    /// Sum of absolute errors of predicted numbers, in their units.
    pub absolute_error: f64,
}

/// A map from features to scores, with its loss and gradients.
pub trait Head<T: Scalar>: Send + Sync {
    /// The tensors, with absolute ids (`head.projection.weight`).
    fn params(&self) -> Vec<ParamSpec>;

    /// Elements of scratch for n features.
    fn scratch(&self, n: usize) -> usize;

    /// Scores of one feature: classes, numbers, or 0 for a head that only passes a cotangent back.
    fn n_scores(&self) -> usize;

    /// Factor from scores of classes to logits: the scale of a softmax over cosines, else 1.
    fn logit_scale(&self, _params: &Params<T>) -> f64 {
        1.0
    }

    /// Loss over x `[n, D]` and, where asked, gradients of the SUM of losses: dx is overwritten, `dparams` accumulated. The
    /// pass has the n features as rows of one token, and scratch for them.
    fn forward_backward(
        &self,
        pass: Pass<T>,
        x: &[T],
        targets: Targets<T>,
        wanted: Wanted<T>,
        dx: Option<&mut [T]>,
        dparams: Option<&mut Grads<T>>,
    ) -> HeadReport;

    /// Scores of x `[n, D]` into out `[n, n_scores]`: cosines, logits or numbers in their units.
    fn scores(&self, pass: Pass<T>, x: &[T], out: &mut [T]);
}
