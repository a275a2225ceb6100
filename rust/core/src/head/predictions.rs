//! Predictions of a head: the best class and the numbers of each feature.

use crate::kernels::softmax::{self, Dims};
use crate::numeric::Scalar;

/// Results of a call besides the loss and the gradients.
///
/// ```
/// use ssm_hpn::head::{Predictions, Wanted};
///
/// // A head has scored two features in three classes; the second has no target.
/// let (classes, scores, targets) = (3, [0.1, 0.7, 0.2, 0.9, 0.0, 0.1], [1, -1]);
/// assert_eq!(Wanted::Loss.take_scores(classes, &scores, &targets), (0, 0));
/// assert_eq!(Wanted::Accuracy.take_scores(classes, &scores, &targets), (1, 1));
///
/// let mut found = Predictions::<f32>::default();
/// let mut wanted = Wanted::Predictions(&mut found);
/// assert_eq!(wanted.take_scores(classes, &scores, &targets), (1, 1));
/// wanted.take_numbers([2.5, 3.5]);
/// assert_eq!((found.classes, found.numbers), (vec![1, 0], vec![2.5, 3.5]));
/// ```
#[derive(Debug)]
pub enum Wanted<'a, T> {
    /// None; the pass computes the loss alone.
    Loss,
    /// The number of right predictions. A loss that computes no scores looks at a fixed subsample above 4,096 classes.
    Accuracy,
    /// The prediction for every feature, and the number of right ones among all that have a target.
    Predictions(&'a mut Predictions<T>),
}

/// Predictions for n features.
///
/// ```
/// use ssm_hpn::head::{Predictions, Wanted};
///
/// let mut found = Predictions::<f32>::default();
/// Wanted::Predictions(&mut found).take_numbers([0.5]); // a head calls it for the features in turn
/// assert_eq!(found, Predictions { classes: vec![], numbers: vec![0.5] });
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions<T> {
    /// `[n]` the class with the best score, of equal ones the lowest; empty for a head without classes.
    pub classes: Vec<u32>,
    /// `[n, K]` the numbers; without meaning where a feature has no number to compare with. Empty for a head without
    /// numbers.
    pub numbers: Vec<T>,
}

impl<T: Scalar> Wanted<'_, T> {
    /// Takes the scores `[rows, classes]` of the features that come next, a row for each target: (targets looked at, right
    /// predictions).
    ///
    /// # Panics
    /// If there are not as many scores, or a target is no class.
    pub fn take_scores(&mut self, classes: usize, scores: &[T], targets: &[i32]) -> (u64, u64) {
        let dims = Dims { rows: targets.len(), classes };
        match self {
            Self::Loss => (0, 0),
            Self::Accuracy => softmax::count_correct(dims, scores, targets, 1),
            Self::Predictions(found) => {
                let mut sums = (0, 0);
                for (row, &target) in scores.chunks_exact(dims.classes.max(1)).zip(targets) {
                    let best = best(row);
                    found.classes.push(best);
                    if let Ok(target) = u32::try_from(target) {
                        sums = (sums.0 + 1, sums.1 + u64::from(target == best));
                    }
                }
                sums
            }
        }
    }

    /// Takes the numbers of the features that come next.
    pub fn take_numbers(&mut self, numbers: impl IntoIterator<Item = T>) {
        if let Self::Predictions(found) = self {
            found.numbers.extend(numbers);
        }
    }
}

/// The first of the largest scores.
fn best<T: Scalar>(scores: &[T]) -> u32 {
    let best = scores.iter().enumerate().fold(0, |best, (i, x)| if *x > scores[best] { i } else { best });
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_a_prediction_and_only_targets_are_counted() {
        let scores = [1.0_f64, 3.0, 3.0, 2.0, 0.0, 1.0, 5.0, 5.0, 5.0];
        let (classes, targets) = (3, [1, -1, 2]);
        let mut found = Predictions::default();
        let mut wanted = Wanted::Predictions(&mut found);
        assert_eq!(wanted.take_scores(classes, &scores, &targets), (2, 1));
        wanted.take_numbers([0.5]);
        assert_eq!((found.classes, found.numbers), (vec![1, 0, 0], vec![0.5]));
        assert_eq!(Wanted::Accuracy.take_scores(classes, &scores, &targets), (2, 1));
        assert_eq!(Wanted::<f64>::Loss.take_scores(classes, &scores, &targets), (0, 0));
    }
}
