//! A linear map of features: x = w·f + b, `input.weight` `[D, F]`, `input.bias` `[D]`.

use super::interface::{Stem, StemBatch, StemSizes, convert, features};
use crate::data::InputLimit;
use crate::kernels::{embedding, matmul::MatRef};
use crate::numeric::Scalar;
use crate::params::{Grads, Init, ParamSpec};
use crate::pass::Pass;

/// A linear map of every token's features.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    /// Features per token (F).
    pub n_features: usize,
    /// Width (D).
    pub d_model: usize,
}

/// First values of a map from `fan_in` numbers, and of its bias.
pub(super) fn init(fan_in: usize) -> Init {
    Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
}

impl<T: Scalar> Stem<T> for Linear {
    fn params(&self) -> Vec<ParamSpec> {
        let (d, f) = (self.d_model, self.n_features);
        vec![
            ParamSpec::new("input.weight", [d, f], init(f)),
            ParamSpec::new("input.bias", [d], init(f)).no_decay(),
        ]
    }

    fn reads(&self) -> InputLimit {
        InputLimit::Features { n_features: self.n_features }
    }

    fn sizes(&self, tokens: usize) -> StemSizes {
        let (d, f) = (self.d_model, self.n_features);
        StemSizes { saved: tokens * f, scratch: embedding::features_backward_scratch(tokens, d, f) }
    }

    fn forward(&self, pass: Pass<T>, batch: &StemBatch, y: &mut [T]) {
        let (m, d, f) = (batch.after.tokens(), self.d_model, self.n_features);
        let saved = &mut pass.saved[..m * f];
        convert(features(batch.input), saved);
        let weight = MatRef::new(pass.params.get(0), d, f);
        embedding::features_forward(pass.precision, MatRef::new(saved, m, f), weight, pass.params.get(1), y);
    }

    fn backward(&self, pass: Pass<T>, batch: &StemBatch, dy: &[T], dparams: &mut Grads<T>) {
        let (m, d, f) = (batch.after.tokens(), self.d_model, self.n_features);
        let features = MatRef::new(&pass.saved[..m * f], m, f);
        let [dw, db] = dparams.get_many([0, 1]);
        embedding::features_backward(pass.precision, features, MatRef::new(dy, m, d), dw, db, pass.scratch);
    }
}
