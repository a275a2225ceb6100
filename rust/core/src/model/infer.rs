//! The forward pass alone: hidden states and features of a batch, for scores and evaluation.

#![forbid(unsafe_code)]

use super::buffers::{Outline, PassMemory, targets};
use super::memory::Extents;
use super::stack::Model;
use crate::data::Batch;
use crate::error::Result;
use crate::head::WeightedTargets;
use crate::kernels::matmul::Precision;
use crate::numeric::Scalar;
use crate::pass::{Mode, Pass, padded};

/// Results of a forward pass.
#[derive(Debug)]
pub(crate) struct Inferred<'a, T> {
    /// Hidden states after the final norm `[M, D]`.
    pub hidden: &'a [T],
    /// Input of the head: the hidden states `[M, D]`, or one pooled vector per document `[S, D]`.
    pub features: &'a [T],
    /// Targets, if the batch has any.
    pub targets: Option<WeightedTargets<'a, T>>,
    /// Free to use, enough for the head.
    pub scratch: &'a mut [T],
}

impl<T: Scalar> Model<T> {
    /// Runs a batch forward and passes the results to `use_found`.
    pub(crate) fn infer<R>(
        &self,
        params: &[T],
        batch: &Batch,
        memory: &mut PassMemory<T>,
        use_found: impl FnOnce(Inferred<'_, T>) -> Result<R>,
    ) -> Result<R> {
        let shape = self.shape(batch);
        let extents = self.extents(shape, false);
        let Extents { fixed, stream, saved_slice, scratch, .. } = extents;
        let elements = padded(fixed) + padded(stream) + padded(saved_slice) + padded(scratch);
        let boundaries = self.boundaries(false);
        memory.make_room(batch, boundaries, self.pooling_notes(shape), 0, &[])?;
        let PassMemory { workspace, outline, pooling, targets: of_targets, .. } = memory;
        let outline = Outline::new(batch, boundaries, outline);
        let mut carver = workspace.carve(elements)?;
        let stem = carver.take(self.stem.sizes(shape.tokens()).saved);
        let values = carver.take(self.target_elements(shape));
        let x = carver.take(stream);
        let saved = carver.take(saved_slice);
        let scratch = carver.rest();
        self.stem_forward(params, &batch.input, &outline, (Mode::Inference, Precision::F32), stem, x);
        for layer in &self.layers {
            let params = self.params(params, layer.slots());
            let pass = Pass { saved, ..Pass::new(params, outline.layout, Mode::Inference, scratch) };
            layer.forward_in_place(pass, x);
        }
        let mut head = self.head_parts(shape, scratch);
        self.features(params, &outline, x, &mut head, pooling);
        let hidden = &*head.hidden;
        let features = if self.config().target.pooling().is_some() { head.pooled } else { hidden };
        let targets = targets(batch, &[], values, of_targets);
        use_found(Inferred { hidden, features, targets, scratch: head.rest })
    }
}
