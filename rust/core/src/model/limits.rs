//! The checks of batches against the model, before anything is computed or changed.

#![forbid(unsafe_code)]

use super::buffers::Boundaries;
use super::stack::Model;
use crate::data::{Batch, Limits};
use crate::error::{Error, Result};
use crate::numeric::Scalar;

/// Most rows of a stream or of carried states.
const MOST_ROWS: usize = 1 << 20;

/// Refuses a number of rows for `what` that is 0 or too large.
pub(super) fn check_rows(what: &str, rows: usize) -> Result<()> {
    let holds = (1..=MOST_ROWS).contains(&rows);
    if holds { Ok(()) } else { Err(Error::shape(what, format!("1 to {MOST_ROWS}"), rows)) }
}

impl<T: Scalar> Model<T> {
    /// Refuses a batch that does not fit the model.
    pub(crate) fn check(&self, batch: &Batch) -> Result<()> {
        batch.check(&self.limits())?;
        let (target, kind) = (&batch.target, self.target.kind);
        let fits = target.arrays().map(|(array, _)| array).eq(kind.arrays.iter().copied());
        if target.is_none() || fits {
            return Ok(());
        }
        Err(Error::shape("target", kind.holds(), target.holds()))
    }

    /// Refuses a model that cannot be read token by token.
    pub(super) fn check_recurrent(&self) -> Result<()> {
        let refuse =
            |found: String| Err(Error::shape("stream", "a model that can read token by token", found));
        if !self.stem.capabilities().recurrent {
            let stride = self.stem.stride();
            let one = format!("a stem that makes one token of {stride}");
            return refuse(if stride > 1 { one } else { "a stem that reads whole documents".to_owned() });
        }
        match self.layers.iter().position(|layer| !layer.block().capabilities().recurrent) {
            None => Ok(()),
            Some(index) => {
                let kind = &self.config().layer(index).1.kind;
                refuse(format!("layer {index} of the kind {kind}, which sees whole documents"))
            }
        }
    }

    /// The properties of this model for the outline of a batch.
    pub(super) fn boundaries(&self, continued: bool) -> Boundaries {
        let ends = self.layers.iter().any(|layer| !layer.block().capabilities().causal);
        Boundaries { stride: self.stem.stride(), ends, continued }
    }

    /// Inputs and targets that the model accepts.
    pub(crate) fn limits(&self) -> Limits {
        let config = self.config();
        let input = self.stem.reads();
        Limits { input, widths: self.target.widths(self.head.n_scores(), config.d_model) }
    }
}
