//! The plain linear head, the baseline to compare prototypes with.
//!
//! ```text
//! o = x·Wᵀ + b            `lm_head.weight` [C, D] (or the embedding, tied), `lm_head.bias` [C]
//! softmax   L = w·(ln Σ_k e^(o_k) - o_y)         g_o = w·(softmax(o) - onehot)      w the weight of the feature
//!           smoothed, share ε: t_k = (1-ε)·[k = y] + ε/C takes the place of the onehot (`losses::smoothing`)
//! squared   L_k = w·(o_k - y_k)² for each y_k    g_o = 2w(o - y)
//! g_x = g_o·W,  g_W = g_oᵀ·x,  g_b = Σ g_o
//! ```
//!
//! Each number is a target of its own; one that is NaN is none, with loss and gradient 0.
//!
//! Rows are taken in chunks, so that the outputs of some thousand rows and classes are in memory and no more.

use super::config::{LinearConfig, LinearLoss};
use super::interface::{Head, HeadReport, Targets, WeightedTargets};
use super::loss_config::Toward;
use super::losses::{Smoothing, WeightedClasses};
use super::predictions::Wanted;
use super::rows::chunk_rows;
use crate::error::Result;
use crate::kernels::matmul::{self, MatMut, MatRef, Precision};
use crate::kernels::softmax::{self, Dims, ScoreGradient};
use crate::kernels::{Accumulate, RowWeights};
use crate::numeric::Scalar;
use crate::params::{Grads, Init, ParamSpec, Params};
use crate::pass::Pass;

/// A linear head; see the module.
#[derive(Debug)]
pub(crate) struct LinearHead {
    config: LinearConfig,
    d_model: usize,
}

const WEIGHT: usize = 0;
const BIAS: usize = 1;

impl LinearHead {
    /// A head over features of `d_model`.
    pub(crate) fn new(config: LinearConfig, d_model: usize) -> Result<Self> {
        config.check()?;
        Ok(Self { config, d_model })
    }

    /// How targets are smoothed, where they are.
    fn smoothing<T: Scalar>(&self) -> Option<Smoothing<T>> {
        let share = T::from_f64(self.config.smoothing);
        (share > T::ZERO).then_some(Smoothing { share, toward: Toward::All, nearness: T::ZERO })
    }

    /// Loss of the outputs o `[n, C]`, which become their gradient; scratch for them if they are smoothed.
    fn cross_entropy<T: Scalar>(
        &self,
        o: &mut [T],
        targets: WeightedClasses<T>,
        gradient: ScoreGradient,
        scratch: &mut [T],
    ) -> softmax::Sums {
        let WeightedClasses { classes, weights } = targets;
        let dims = Dims { rows: classes.len(), classes: self.config.n_outputs };
        let Some(smoothing) = self.smoothing() else {
            return softmax::cross_entropy(dims, o, classes, weights, T::ONE, gradient);
        };
        let (shares, rest) = scratch.split_at_mut(o.len());
        let rest = &mut rest[..dims.rows];
        Smoothing::even(dims.classes, shares);
        let more = smoothing.forward(o, shares, targets, T::ONE, rest);
        let sums = softmax::cross_entropy(dims, o, classes, weights, T::ONE, gradient);
        if gradient == ScoreGradient::Write {
            smoothing.backward(o, shares, targets, T::ONE);
        }
        softmax::Sums { loss: sums.loss + more.loss, ..sums }
    }

    /// o `[n, C]` of x `[n, D]`.
    fn outputs<T: Scalar>(
        &self,
        params: &Params<T>,
        x: &[T],
        o: &mut [T],
        linear: impl FnOnce(MatRef<T>, MatRef<T>, MatMut<T>, Accumulate),
    ) {
        let (c, d) = (self.config.n_outputs, self.d_model);
        let n = x.len() / d;
        let accumulate = if self.config.bias { Accumulate::Add } else { Accumulate::Overwrite };
        if self.config.bias {
            matmul::fill_rows(MatMut::new(o, n, c), params.get(BIAS));
        }
        let weight = MatRef::new(params.get(WEIGHT), c, d);
        linear(MatRef::new(x, n, d), weight, MatMut::new(o, n, c), accumulate);
    }

    /// The backward of [`LinearHead::outputs`] for d_o `[n, C]`.
    fn outputs_backward<T: Scalar>(
        &self,
        (precision, params): (Precision, &Params<T>),
        x: &[T],
        d_o: &[T],
        dx: Option<&mut [T]>,
        dparams: Option<&mut Grads<T>>,
        scratch: &mut [T],
    ) {
        let (c, d) = (self.config.n_outputs, self.d_model);
        let n = x.len() / d;
        let d_o = MatRef::new(d_o, n, c);
        if let Some(dx) = dx {
            let weight = MatRef::new(params.get(WEIGHT), c, d);
            precision.linear_dx(d_o, weight, MatMut::new(dx, n, d), Accumulate::Overwrite);
        }
        let Some(dparams) = dparams else { return };
        if let Some(dweight) = dparams.get(WEIGHT) {
            precision.linear_dw(d_o, MatRef::new(x, n, d), MatMut::new(dweight, c, d), scratch);
        }
        if self.config.bias
            && let Some(dbias) = dparams.get(BIAS)
        {
            matmul::sum_rows(d_o, dbias, scratch);
        }
    }
}

impl<T: Scalar> Head<T> for LinearHead {
    fn params(&self) -> Vec<ParamSpec> {
        let (c, d) = (self.config.n_outputs, self.d_model);
        let bound = 1.0 / (d as f64).sqrt();
        let mut specs = vec![if self.config.tied {
            ParamSpec::shared("embedding.weight", [c, d])
        } else {
            ParamSpec::new("lm_head.weight", [c, d], Init::Uniform { bound })
        }];
        if self.config.bias {
            specs.push(ParamSpec::new("lm_head.bias", [c], Init::Zeros).no_decay());
        }
        specs
    }

    fn scratch(&self, n: usize) -> usize {
        let c = self.config.n_outputs;
        let rows = chunk_rows(n, c);
        let smoothing = if self.smoothing::<T>().is_some() { Smoothing::<T>::scratch(rows, c, 0) } else { 0 };
        rows * c
            + smoothing
            + matmul::linear_dw_scratch(rows, c, self.d_model).max(matmul::sum_rows_scratch(rows, c))
    }

    fn n_scores(&self) -> usize {
        self.config.n_outputs
    }

    #[expect(clippy::panic, reason = "the batch was checked against the loss")]
    fn forward_backward(
        &self,
        pass: Pass<T>,
        x: &[T],
        targets: WeightedTargets<T>,
        mut wanted: Wanted<T>,
        mut dx: Option<&mut [T]>,
        mut dparams: Option<&mut Grads<T>>,
    ) -> HeadReport {
        let Pass { params, precision, scratch, .. } = pass;
        let (c, d) = (self.config.n_outputs, self.d_model);
        let n = x.len() / d;
        targets.check(n, c);
        let gradient =
            if dx.is_some() || dparams.is_some() { ScoreGradient::Write } else { ScoreGradient::Skip };
        let rows = chunk_rows(n, c).max(1);
        let mut report = HeadReport::default();
        for first in (0..n).step_by(rows) {
            let range = first..n.min(first + rows);
            let x = &x[range.start * d..range.end * d];
            let (o, scratch) = scratch.split_at_mut(range.len() * c);
            self.outputs(&params, x, o, |x, w, y, accumulate| precision.linear(x, w, y, accumulate));
            let weights = targets.weights.rows(range.clone());
            match (self.config.loss, targets.targets) {
                (LinearLoss::Softmax, Targets::Classes(classes)) => {
                    let classes = &classes[range.clone()];
                    let (scored, correct) = wanted.take_scores(c, o, classes);
                    let sums = self.cross_entropy(o, WeightedClasses { classes, weights }, gradient, scratch);
                    report.loss += sums.loss;
                    report.count += sums.count;
                    report.scored += scored;
                    report.correct += correct;
                }
                (LinearLoss::Squared, Targets::Values(values)) => {
                    wanted.take_numbers(o.iter().copied());
                    squared(c, o, &values[range.start * c..range.end * c], weights, &mut report);
                }
                (loss, targets) => panic!("the loss {loss:?} cannot be compared with {}", targets.name()),
            }
            if gradient == ScoreGradient::Write {
                let dx = dx.as_deref_mut().map(|dx| &mut dx[range.start * d..range.end * d]);
                self.outputs_backward((precision, &params), x, o, dx, dparams.as_deref_mut(), scratch);
            }
        }
        report
    }

    fn scores(&self, pass: Pass<T>, x: &[T], out: &mut [T]) {
        let is_step = pass.state.is_some();
        self.outputs(&pass.params, x, out, |x, w, y, accumulate| {
            if is_step {
                matmul::linear_step(x, w, y, accumulate);
            } else {
                pass.precision.linear(x, w, y, accumulate);
            }
        });
    }
}

/// Replaces o `[n, c]` by 2w(o - y), and by 0 where y is missing.
fn squared<T: Scalar>(c: usize, o: &mut [T], values: &[T], weights: RowWeights<T>, report: &mut HeadReport) {
    for (i, (o, &y)) in o.iter_mut().zip(values).enumerate() {
        if y.is_nan() {
            *o = T::ZERO;
            continue;
        }
        let (error, weight) = (*o - y, weights.of(i / c));
        let square = error.to_f64() * error.to_f64();
        report.loss += square * weight.to_f64();
        report.squared_error += square;
        report.absolute_error += error.to_f64().abs();
        report.count += 1;
        *o = (error + error) * weight;
    }
}
