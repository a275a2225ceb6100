//! Recurrent states in training, for a long sequence in several batches.

#![forbid(unsafe_code)]

use super::stack::Model;
use crate::error::{Error, Result};
use crate::numeric::Scalar;

/// The recurrent states of all layers for some rows, or their gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct States<T> {
    rows: usize,
    layers: Vec<Vec<T>>,
}

impl<T: Scalar> States<T> {
    /// Zero states, those of a sequence's start. An error for a model without recurrent states.
    pub(crate) fn zeros(model: &Model<T>, rows: usize) -> Result<Self> {
        model.check_recurrent()?;
        let state =
            |layer: &crate::blocks::layer::Layer<T>| vec![T::ZERO; layer.block().sizes(rows, 1).state];
        Ok(Self { rows, layers: model.layers.iter().map(state).collect() })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Every layer's numbers, in the order that its block has them.
    pub fn layers(&self) -> impl Iterator<Item = &[T]> {
        self.layers.iter().map(Vec::as_slice)
    }

    /// The numbers of one layer, to be changed.
    pub fn layer_mut(&mut self, index: usize) -> &mut [T] {
        &mut self.layers[index]
    }

    /// Refuses states of another model or of another number of rows.
    pub(super) fn check(&self, model: &Model<T>, rows: usize) -> Result<()> {
        let sizes = model.layers.iter().map(|layer| layer.block().sizes(self.rows, 1).state);
        if self.rows == rows && sizes.eq(self.layers.iter().map(Vec::len)) {
            return Ok(());
        }
        let found = format!("those of {} rows, or of another model", self.rows);
        Err(Error::shape("states", format!("those of {rows} rows of this model"), found))
    }
}

/// States around a training pass.
#[derive(Debug)]
pub struct Carried<'a, T> {
    /// Before the first token of every row; after the pass, after the last.
    pub states: &'a mut States<T>,
    /// The gradient of the loss of everything that follows with respect to the states after the last token; after the
    /// pass, that with respect to the states before the first. `None`: it is zero.
    pub gradient: Option<&'a mut States<T>>,
}

impl<T: Scalar> Carried<'_, T> {
    /// Refuses what does not fit the model or the batch.
    pub(crate) fn check(&self, model: &Model<T>, rows: usize) -> Result<()> {
        self.states.check(model, rows)?;
        self.gradient.as_ref().map_or(Ok(()), |gradient| gradient.check(model, rows))
    }
}
