//! The trait of every head, its targets and its report.

#![forbid(unsafe_code)]

use super::predictions::Wanted;
use crate::kernels::RowWeights;
use crate::numeric::Scalar;
use crate::params::{Grads, ParamSpec, Params, ParamsMut};
use crate::pass::Pass;

/// Targets of n features.
///
/// ```
/// use ssm_hpn::head::Targets;
///
/// /// Features that have a loss.
/// fn count(targets: Targets<f32>) -> usize {
///     match targets {
///         Targets::Classes(classes) => classes.iter().filter(|class| **class >= 0).count(),
///         Targets::Values(values) => values.iter().filter(|value| !value.is_nan()).count(),
///         Targets::Joint { classes, values } => {
///             classes.iter().zip(values).filter(|(class, value)| **class >= 0 && !value.is_nan()).count()
///         }
///         Targets::Cotangent(_) => 1,
///     }
/// }
/// assert_eq!(count(Targets::Classes(&[2, -1, 0])), 2);
/// assert_eq!(count(Targets::Joint { classes: &[2, -1], values: &[f32::NAN, 0.5] }), 0);
/// ```
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

/// Targets of n features, and how much the loss of each of them counts.
///
/// ```
/// use ssm_hpn::head::{Targets, WeightedTargets};
/// use ssm_hpn::kernels::RowWeights;
///
/// let targets = Targets::Classes(&[2, 0]);
/// // The second feature counts three times as much as the first.
/// let weighted = WeightedTargets { targets, weights: RowWeights::new(&[0.5_f32, 1.5]) };
/// assert_eq!(weighted.weights.of(1), 3.0 * weighted.weights.of(0));
/// assert_eq!(WeightedTargets::<f32>::equal(targets).weights.of(1), 1.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WeightedTargets<'a, T> {
    /// The targets; a feature of weight 0 has none.
    pub targets: Targets<'a, T>,
    /// `[n]` a factor of each feature's loss, and so of its gradients.
    pub weights: RowWeights<'a, T>,
}

impl<'a, T: Scalar> WeightedTargets<'a, T> {
    /// Targets that count alike.
    pub fn equal(targets: Targets<'a, T>) -> Self {
        Self { targets, weights: RowWeights::EQUAL }
    }

    /// Panics unless there are n of both; see [`Targets`].
    pub(crate) fn check(&self, n: usize, width: usize) {
        self.targets.check(n, width);
        self.weights.check(n);
    }

    /// Sum of the weights of `count` targets, by which the sum of their losses is divided for the mean.
    pub(crate) fn weight(&self, count: u64) -> f64 {
        let Some(weights) = self.weights.given() else { return count as f64 };
        let known = |values: &[T]| values.iter().filter(|y| !y.is_nan()).count() as f64;
        let of_row = |i: usize| match self.targets {
            Targets::Classes(classes) => f64::from(u8::from(classes[i] >= 0)),
            Targets::Values(values) => {
                let width = values.len() / weights.len();
                known(&values[i * width..(i + 1) * width])
            }
            Targets::Joint { classes, values } => f64::from(u8::from(classes[i] >= 0 && !values[i].is_nan())),
            Targets::Cotangent(_) => 1.0,
        };
        weights.iter().enumerate().map(|(i, weight)| weight.to_f64() * of_row(i)).sum()
    }
}

/// Which predictions of a training pass are counted besides the loss.
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
/// assert_eq!((report.count, report.scored), (3, 3));
/// let report = session.forward_backward(&batch, Accuracy::Skip)?;
/// assert_eq!((report.count, report.scored, report.correct), (3, 0, 0));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accuracy {
    /// None: the pass costs the loss alone.
    Skip,
    /// The number of right predictions, see [`Wanted::Accuracy`].
    Count,
}

/// Sums over the targets of one call.
///
/// ```
/// use ssm_hpn::head::HeadReport;
/// use ssm_hpn::session::StepReport;
///
/// // Sums over two numbers, by a head that counts no predictions of classes; users see their means.
/// let report = HeadReport { loss: 0.5, count: 2, squared_error: 0.5, absolute_error: 1.0, ..HeadReport::default() };
/// let users = StepReport::from(report);
/// assert_eq!((users.loss, users.loss_sum, users.count, users.scored), (0.25, 0.5, 2, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeadReport {
    /// Sum of the losses, each times the weight of its feature.
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
///
/// ```
/// use ssm_hpn::data::{Batch, Input};
/// use ssm_hpn::head::{Head, HeadReport, Targets, Wanted, WeightedTargets};
/// use ssm_hpn::model::{ModelConfig, Registry};
/// use ssm_hpn::params::{Grads, Init, ParamSpec};
/// use ssm_hpn::pass::Pass;
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::head::Accuracy;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
///
/// /// s = w·x, with the absolute error |s - y| as its loss.
/// struct Median {
///     width: usize,
/// }
///
/// fn dot(x: &[f32], w: &[f32]) -> f32 {
///     x.iter().zip(w).map(|(x, w)| x * w).sum()
/// }
///
/// impl Head<f32> for Median {
///     fn params(&self) -> Vec<ParamSpec> {
///         vec![ParamSpec::new("median.weight", [self.width], Init::Zeros)]
///     }
///
///     fn scratch(&self, _n: usize) -> usize {
///         0
///     }
///
///     fn n_scores(&self) -> usize {
///         1
///     }
///
///     // dx = v·sign(s - y)·w      dw += Σ v·sign(s - y)·x      v the weight of the feature
///     fn forward_backward(
///         &self,
///         pass: Pass<f32>,
///         x: &[f32],
///         targets: WeightedTargets<f32>,
///         mut wanted: Wanted<f32>,
///         mut dx: Option<&mut [f32]>,
///         mut dparams: Option<&mut Grads<f32>>,
///     ) -> HeadReport {
///         let WeightedTargets { targets, weights } = targets;
///         let Targets::Values(values) = targets else { panic!("this head takes numbers") };
///         let (d, w) = (self.width, pass.params.get(0));
///         let mut report = HeadReport::default();
///         for (i, (x, y)) in x.chunks_exact(d).zip(values).enumerate() {
///             let score = dot(x, w);
///             wanted.take_numbers([score]);
///             let (error, sign) = if y.is_nan() { (0.0, 0.0) } else { (score - y, (score - y).signum()) };
///             report.count += u64::from(!y.is_nan());
///             report.loss += f64::from(weights.of(i) * error.abs());
///             report.absolute_error += f64::from(error.abs());
///             report.squared_error += f64::from(error * error);
///             let slope = weights.of(i) * sign;
///             if let Some(dx) = &mut dx {
///                 dx[i * d..][..d].iter_mut().zip(w).for_each(|(dx, w)| *dx = slope * w);
///             }
///             if let Some(dw) = dparams.as_mut().and_then(|grads| grads.get(0)) {
///                 dw.iter_mut().zip(x).for_each(|(dw, x)| *dw += slope * x);
///             }
///         }
///         report
///     }
///
///     fn scores(&self, pass: Pass<f32>, x: &[f32], out: &mut [f32]) {
///         for (x, out) in x.chunks_exact(self.width).zip(out) {
///             *out = dot(x, pass.params.get(0));
///         }
///     }
/// }
///
/// let mut registry = Registry::standard();
/// registry.register_head("median", |_, context| Ok(Box::new(Median { width: context.d_model })));
/// let model = ModelConfig::from_json(
///     r#"{"input": {"kind": "features", "n_features": 1}, "d_model": 8, "n_layers": 1,
///         "target": {"kind": "sequence_values", "pooling": "mean"}, "head": {"kind": "median"}}"#,
/// )?;
/// # let optim = OptimConfig { lr: 0.01, ..OptimConfig::default() };
/// let mut session = Session::with_registry(model, optim, 0, Threads::new(Some(1))?, &registry)?;
/// let batch = Batch::whole(1, 3, Input::Features(vec![0.1, 0.2, 0.3]), Target::sequence_values(vec![2.0]));
/// let report = session.forward_backward(&batch, Accuracy::Skip)?;
/// assert_eq!((report.loss, report.squared_error), (2.0, 4.0)); // the weights are zero, and so the score
/// session.apply()?;
/// assert!(session.predict(&batch)?[0] > 0.0);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
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

    /// How many numbers the head keeps besides its parameters for a model that has had so many updates
    /// ([`Pass::running`]): zero at first, cut off at the end where later there are fewer.
    fn statistics(&self, _updates: u64) -> usize {
        0
    }

    /// Takes what the passes of an update gathered into `kept`, when it has been applied as number `updates`; may change
    /// parameters.
    fn updated(&self, _updates: u64, _kept: &mut [f64], _gathered: &[f64], _params: ParamsMut<T>) {}

    /// Loss over x `[n, D]` and, where asked, gradients of the SUM of losses, each times the weight of its feature: dx is
    /// overwritten, `dparams` accumulated. Errors, counts and predictions are not weighted. The pass has the n features as
    /// rows of one token, and scratch for them.
    fn forward_backward(
        &self,
        pass: Pass<T>,
        x: &[T],
        targets: WeightedTargets<T>,
        wanted: Wanted<T>,
        dx: Option<&mut [T]>,
        dparams: Option<&mut Grads<T>>,
    ) -> HeadReport;

    /// Scores of x `[n, D]` into out `[n, n_scores]`: cosines, logits or numbers in their units.
    fn scores(&self, pass: Pass<T>, x: &[T], out: &mut [T]);

    /// Numbers of a point in the space of the prototypes; 0 for a head that has none.
    fn embedding_width(&self) -> usize {
        0
    }

    /// Points of x `[n, D]` on the unit sphere of the prototypes, into out `[n, embedding_width]`: their products with the
    /// prototypes are the scores of the classes.
    fn embed(&self, _pass: Pass<T>, _x: &[T], _out: &mut [T]) {}
}
