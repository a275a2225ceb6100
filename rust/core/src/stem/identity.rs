//! Input vectors of the model's width D, used unchanged.

use super::interface::{Stem, StemBatch, StemSizes, convert, features};
use crate::data::InputLimit;
use crate::numeric::Scalar;
use crate::params::{Grads, ParamSpec};
use crate::pass::Pass;

/// x = f.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// Width (D).
    pub d_model: usize,
}

impl<T: Scalar> Stem<T> for Identity {
    fn params(&self) -> Vec<ParamSpec> {
        Vec::new()
    }

    fn reads(&self) -> InputLimit {
        InputLimit::Features { n_features: self.d_model }
    }

    fn sizes(&self, _: usize) -> StemSizes {
        StemSizes::default()
    }

    fn forward(&self, _: Pass<T>, batch: &StemBatch, y: &mut [T]) {
        convert(features(batch.input), y);
    }

    fn backward(&self, _: Pass<T>, _: &StemBatch, _: &[T], _: &mut Grads<T>) {}
}
