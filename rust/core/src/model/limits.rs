//! What a model accepts: batches are checked against it before anything is touched.

#![forbid(unsafe_code)]

use super::config::{InputConfig, TargetConfig};
use super::stack::Model;
use crate::data::{Batch, InputLimit, Limits, Target};
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

    /// What the model accepts.
    pub fn limits(&self) -> Limits {
        let config = self.config();
        let input = match (config.input, config.input.width(config.d_model)) {
            (InputConfig::Tokens { vocab_size }, _) => InputLimit::Tokens { vocab_size },
            (_, width) => InputLimit::Features { n_features: width.unwrap_or(config.d_model) },
        };
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
