//! What a model accepts: batches are checked against it before anything is touched.

#![forbid(unsafe_code)]

use super::buffers::Boundaries;
use super::config::TargetConfig;
use super::stack::Model;
use crate::data::{Batch, Limits, Target};
use crate::error::{Error, Result};
use crate::numeric::Scalar;

impl<T: Scalar> Model<T> {
    /// Refuses a batch that does not fit the model.
    pub fn check(&self, batch: &Batch) -> Result<()> {
        batch.check(&self.limits())?;
        let found = match &batch.target {
            Target::None => return Ok(()),
            Target::TokenClass(_) => "a class per token",
            Target::SequenceClass(_) => "a class per document",
            Target::SequenceValues(_) => "numbers per document",
            Target::Cotangent(_) => "a cotangent",
        };
        let expected = match self.config().target {
            TargetConfig::NextToken {} | TargetConfig::TokenClass {} => "a class per token",
            TargetConfig::SequenceClass { .. } => "a class per document",
            TargetConfig::SequenceValues { .. } => "numbers per document",
            TargetConfig::Cotangent {} => "a cotangent",
        };
        if expected == found { Ok(()) } else { Err(Error::shape("target", expected, found)) }
    }

    /// Refuses a model that cannot be read token by token.
    pub(super) fn check_recurrent(&self) -> Result<()> {
        let refuse =
            |found: String| Err(Error::shape("stream", "a model that can read token by token", found));
        if !self.stem.capabilities().recurrent {
            return refuse(format!("a stem that makes one token of {}", self.stem.stride()));
        }
        match self.layers.iter().position(|layer| !layer.block().capabilities().recurrent) {
            None => Ok(()),
            Some(index) => {
                let kind = &self.config().layer(index).1.kind;
                refuse(format!("layer {index} of the kind {kind}, which sees whole documents"))
            }
        }
    }

    /// What the outline of a batch has to show.
    pub(super) fn boundaries(&self, continued: bool) -> Boundaries {
        let ends = self.layers.iter().any(|layer| !layer.block().capabilities().causal);
        Boundaries { stride: self.stem.stride(), ends, continued }
    }

    /// What the model accepts.
    pub fn limits(&self) -> Limits {
        let config = self.config();
        let input = self.stem.reads();
        let scores = Some(self.head.n_scores());
        let none = Limits { input, n_classes: None, n_values: None, d_model: None };
        match config.target {
            TargetConfig::NextToken {} | TargetConfig::TokenClass {} | TargetConfig::SequenceClass { .. } => {
                Limits { n_classes: scores, ..none }
            }
            TargetConfig::SequenceValues { n_values, .. } => Limits { n_values: Some(n_values), ..none },
            TargetConfig::Cotangent {} => Limits { d_model: Some(config.d_model), ..none },
        }
    }
}
