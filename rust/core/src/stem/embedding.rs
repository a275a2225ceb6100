//! The embedding of token ids: x = w\[id\], `embedding.weight` `[V, D]`.

use super::interface::{Stem, StemBatch, StemSizes};
use crate::data::{Input, InputLimit};
use crate::kernels::embedding;
use crate::numeric::Scalar;
use crate::params::{Grads, Init, ParamSpec};
use crate::pass::Pass;

/// Standard deviation of a new embedding (docs/mathematics.md, 1).
const STD: f64 = 0.02;

/// A table of token vectors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Embedding {
    /// Distinct tokens (V).
    pub vocab_size: usize,
    /// Width (D).
    pub d_model: usize,
}

impl Embedding {
    fn dims(&self) -> embedding::Dims {
        embedding::Dims { vocabulary: self.vocab_size, channels: self.d_model }
    }
}

#[expect(clippy::unreachable, reason = "the batch was checked against the stem")]
fn ids(input: &Input) -> &[u32] {
    match input {
        Input::Tokens(ids) => ids,
        Input::Features(_) => unreachable!("the batch was checked against the stem"),
    }
}

impl<T: Scalar> Stem<T> for Embedding {
    fn params(&self) -> Vec<ParamSpec> {
        let shape = [self.vocab_size, self.d_model];
        vec![ParamSpec::new("embedding.weight", shape, Init::Normal { std: STD }).no_decay()]
    }

    fn reads(&self) -> InputLimit {
        InputLimit::Tokens { vocab_size: self.vocab_size }
    }

    fn sizes(&self, _: usize) -> StemSizes {
        StemSizes::default()
    }

    fn forward(&self, pass: Pass<T>, batch: &StemBatch, y: &mut [T]) {
        embedding::forward(self.dims(), ids(batch.input), pass.params.get(0), y);
    }

    fn backward(&self, _: Pass<T>, batch: &StemBatch, dy: &[T], dparams: &mut Grads<T>) {
        if let Some(dw) = dparams.get(0) {
            embedding::backward(self.dims(), ids(batch.input), dy, dw);
        }
    }
}
