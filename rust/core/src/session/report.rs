//! What the calls of a session answer.

use crate::head::HeadReport;

/// Sums over the targets of one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepReport {
    /// Mean loss; 0 without targets.
    pub loss: f64,
    /// Sum of the losses.
    pub loss_sum: f64,
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

impl From<HeadReport> for StepReport {
    fn from(sums: HeadReport) -> Self {
        Self {
            loss: mean(sums.loss, sums.count),
            loss_sum: sums.loss,
            count: sums.count,
            scored: sums.scored,
            correct: sums.correct,
            squared_error: sums.squared_error,
            absolute_error: sums.absolute_error,
        }
    }
}

/// The mean of `count` numbers with this sum; 0 for none.
pub(super) fn mean(sum: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// One update.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplyReport {
    /// Updates applied so far.
    pub step: u64,
    /// False if this one was not: a value was not finite, or there was no target.
    pub applied: bool,
    /// Learning rate.
    pub lr: f64,
    /// Global norm of the mean gradient before clipping.
    pub grad_norm: f64,
    /// Global norm of the change of the parameters.
    pub update_norm: f64,
    /// Whether the gradient was scaled down.
    pub clipped: bool,
    /// Updates skipped so far.
    pub skipped: u64,
    /// Mean loss over all targets of the update.
    pub loss: f64,
    /// Targets of the update.
    pub count: u64,
    /// What was not finite, if anything: the first such tensor, else `loss`.
    pub fault: Option<String>,
}

/// One evaluated batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvalReport {
    /// Sums over the targets.
    pub sums: StepReport,
    /// For targets that are classes, the class with the best score, one per target.
    pub predicted: Vec<i64>,
    /// The targets themselves, likewise.
    pub expected: Vec<i64>,
}
