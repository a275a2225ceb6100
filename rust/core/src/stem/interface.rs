//! The trait of every stem.

#![forbid(unsafe_code)]

use crate::data::{Input, InputLimit, Segment};
use crate::numeric::Scalar;
use crate::params::{Grads, ParamSpec};
use crate::pass::{Capabilities, Pass};

/// Elements that a stem needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StemSizes {
    /// Kept from the forward pass for the backward one.
    pub saved: usize,
    /// Free to use during the backward pass.
    pub scratch: usize,
}

/// Rows of tokens and the documents in them, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StemRows<'a> {
    /// Rows.
    pub rows: usize,
    /// Tokens of a row.
    pub length: usize,
    /// Documents; positions in none of them are padding at a row's end.
    pub documents: &'a [Segment],
}

impl StemRows<'_> {
    /// Tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.rows * self.length
    }
}

/// Input of a stem, and the rows and documents of its tokens before and after it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Ids or features of the tokens before.
    pub input: &'a Input,
    /// The tokens of the batch.
    pub before: StemRows<'a>,
    /// The tokens of the residual stream: as many documents, in the same order.
    pub after: StemRows<'a>,
}

/// A map from the input of a batch to the residual stream, with its backward pass.
pub trait Stem<T: Scalar>: Send + Sync {
    /// The tensors, with absolute ids (`embedding.weight`).
    fn params(&self) -> Vec<ParamSpec>;

    /// The input that it reads.
    fn reads(&self) -> InputLimit;

    /// Tokens of a document that become one of the residual stream; the last ones may be fewer. 1 keeps the length.
    fn stride(&self) -> usize {
        1
    }

    /// Capabilities of the stem: all, unless it has a stride, since then single tokens cannot be read.
    fn capabilities(&self) -> Capabilities {
        let keeps_length = self.stride() == 1;
        Capabilities { keeps_length, recurrent: keeps_length, ..Capabilities::ALL }
    }

    /// What a pass needs that makes `tokens` tokens of the residual stream.
    fn sizes(&self, tokens: usize) -> StemSizes;

    /// Overwrites y `[rows, length after, D]`.
    fn forward(&self, pass: Pass<T>, source: &Source, y: &mut [T]);

    /// Adds the gradients of the trained tensors, from dy `[rows, length after, D]`. `saved` as the forward pass left it.
    fn backward(&self, pass: Pass<T>, source: &Source, dy: &[T], dparams: &mut Grads<T>);
}

/// Tokens that a document of `length` tokens becomes.
pub(crate) fn shortened(length: usize, stride: usize) -> usize {
    length.div_ceil(stride)
}

/// Numbers of a batch in the type of the model.
pub(super) fn convert<T: Scalar>(from: &[f32], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = T::from_f64(f64::from(*from));
    }
}

/// The features of an input that was checked to be features.
pub(super) fn features(input: &Input) -> &[f32] {
    match input {
        Input::Features(features) => features,
        Input::Tokens(_) => unreachable!("the batch was checked against the stem"),
    }
}
