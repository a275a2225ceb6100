//! Results of a session's calls.

use crate::allocate::try_room;
use crate::error::Result;
use crate::head::{HeadReport, Predictions, Targets};
use crate::numeric::Scalar;

/// Sums over the targets of one batch.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::{Batch, Input};
/// # use ssm_hpn::head::Accuracy;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let batch = Batch::whole(1, 4, Input::Tokens(vec![1, 2, 3, 4]), Target::token_class(vec![2, 3, 4, -1]));
/// let report = session.forward_backward(&batch, Accuracy::Count)?;
/// assert_eq!((report.count, report.scored), (3, 3)); // the last position has no class
/// assert_eq!(report.loss, report.loss_sum / 3.0);
/// assert!(report.correct <= report.scored);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepReport {
    /// Mean loss, `loss_sum / weight`; 0 without targets.
    pub loss: f64,
    /// Sum of the losses, each times its document's weight.
    pub loss_sum: f64,
    /// Targets that have a loss.
    pub count: u64,
    /// Sum of their weights; as much as `count` where the batch has none.
    pub weight: f64,
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
        Self::weighted(sums, sums.count as f64)
    }
}

impl StepReport {
    /// Of targets whose weights have this sum.
    pub(super) fn weighted(sums: HeadReport, weight: f64) -> Self {
        Self {
            loss: mean(sums.loss, weight),
            loss_sum: sums.loss,
            count: sums.count,
            weight,
            scored: sums.scored,
            correct: sums.correct,
            squared_error: sums.squared_error,
            absolute_error: sums.absolute_error,
        }
    }
}

/// The mean of numbers with this weighted sum; 0 for none.
pub(super) fn mean(sum: f64, weight: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { sum / weight }
}

/// One update.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::{Batch, Input};
/// # use ssm_hpn::head::Accuracy;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let batch = Batch::whole(1, 4, Input::Tokens(vec![1, 2, 3, 4]), Target::token_class(vec![2, 3, 4, -1]));
/// let loss = session.forward_backward(&batch, Accuracy::Skip)?.loss;
/// let update = session.apply()?;
/// assert_eq!((update.step, update.applied, update.skipped), (1, true, 0));
/// assert_eq!((update.loss, update.count, update.lr), (loss, 3, 3e-3));
/// assert_eq!(update.clipped, update.grad_norm > 1.0);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
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
    /// Mean loss over all targets of the update, by their weights.
    pub loss: f64,
    /// Targets of the update.
    pub count: u64,
    /// Targets whose prediction was counted.
    pub scored: u64,
    /// Counted predictions that were right.
    pub correct: u64,
    /// Name of what was not finite, if anything: the first such tensor, else `loss`.
    pub fault: Option<String>,
}

/// One evaluated batch: the sums over its targets, and each target with its prediction.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::{Batch, Input};
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let batch = Batch::whole(1, 4, Input::Tokens(vec![1, 2, 3, 4]), Target::token_class(vec![2, 3, 4, -1]));
/// let report = session.evaluate(&batch)?;
/// assert_eq!(report.expected, [2, 3, 4]); // the last position has no class
/// let right = report.predicted.iter().zip(&report.expected).filter(|(p, e)| p == e).count();
/// assert_eq!(right as u64, report.sums.correct);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvalReport {
    /// Sums over the targets.
    pub sums: StepReport,
    /// For targets with classes, the class with the best score, one per target.
    pub predicted: Vec<i64>,
    /// The classes themselves, likewise.
    pub expected: Vec<i64>,
    /// For targets with numbers, the predicted ones `[m, n_values]`, a row for each feature that has a number.
    pub predicted_values: Vec<f64>,
    /// The numbers themselves, likewise; NaN for one that was not measured.
    pub expected_values: Vec<f64>,
    /// Numbers of a row.
    pub n_values: usize,
}

impl EvalReport {
    /// From the predictions of a head and the targets.
    pub(super) fn new<T: Scalar>(
        sums: HeadReport,
        targets: &Targets<T>,
        found: &Predictions<T>,
        n_values: usize,
    ) -> Result<Self> {
        let mut report = Self { sums: sums.into(), n_values, ..Self::default() };
        let (classes, values) = match *targets {
            Targets::Classes(classes) => (classes, &[][..]),
            Targets::Values(values) => (&[][..], values),
            Targets::Joint { classes, values } => (classes, values),
            Targets::Cotangent(_) => return Ok(report),
        };
        let what = "the predictions of this batch";
        for of_classes in [&mut report.predicted, &mut report.expected] {
            *of_classes = try_room(&[classes.len()], what)?;
        }
        for of_values in [&mut report.predicted_values, &mut report.expected_values] {
            *of_values = try_room(&[values.len()], what)?;
        }
        for (&class, &best) in classes.iter().zip(&found.classes).filter(|(class, _)| **class >= 0) {
            report.predicted.push(i64::from(best));
            report.expected.push(i64::from(class));
        }
        let width = n_values.max(1);
        let rows = values.chunks_exact(width).zip(found.numbers.chunks_exact(width)).enumerate();
        for (i, (expected, predicted)) in rows {
            let without_loss = classes.get(i).is_some_and(|class| *class < 0);
            if without_loss || expected.iter().all(|y| y.is_nan()) {
                continue;
            }
            report.predicted_values.extend(predicted.iter().map(|x| x.to_f64()));
            report.expected_values.extend(expected.iter().map(|x| x.to_f64()));
        }
        Ok(report)
    }
}
