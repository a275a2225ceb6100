//! No head: the caller computes the loss and provides the gradient of the hidden states.

use super::interface::{Head, HeadReport, Targets, WeightedTargets};
use super::predictions::Wanted;
use crate::numeric::Scalar;
use crate::params::{Grads, ParamSpec};
use crate::pass::Pass;

/// L = Σ x·cotangent, one target; dx = cotangent. It has no scores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CotangentHead {
    d_model: usize,
}

impl CotangentHead {
    /// Over hidden states of `d_model`.
    pub(crate) fn new(d_model: usize) -> Self {
        Self { d_model }
    }
}

impl<T: Scalar> Head<T> for CotangentHead {
    fn params(&self) -> Vec<ParamSpec> {
        Vec::new()
    }

    fn scratch(&self, _n: usize) -> usize {
        0
    }

    fn n_scores(&self) -> usize {
        0
    }

    #[expect(clippy::panic, reason = "the batch was checked against the model")]
    fn forward_backward(
        &self,
        _pass: Pass<T>,
        x: &[T],
        targets: WeightedTargets<T>,
        _wanted: Wanted<T>,
        dx: Option<&mut [T]>,
        _dparams: Option<&mut Grads<T>>,
    ) -> HeadReport {
        let Targets::Cotangent(cotangent) = targets.targets else {
            panic!("a model without a head takes a cotangent, not {}", targets.targets.name())
        };
        targets.check(x.len() / self.d_model, self.d_model);
        if let Some(dx) = dx {
            dx.copy_from_slice(cotangent);
        }
        let loss = x.iter().zip(cotangent).map(|(x, c)| x.to_f64() * c.to_f64()).sum();
        HeadReport { loss, count: 1, ..HeadReport::default() }
    }

    fn scores(&self, _pass: Pass<T>, _x: &[T], out: &mut [T]) {
        assert!(out.is_empty(), "a model without a head has no scores");
    }
}
