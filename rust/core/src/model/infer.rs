//! The forward pass alone: hidden states and features of a batch, for scores and evaluation.

#![forbid(unsafe_code)]

use super::buffers::{PassMemory, Shape, layout, targets};
use super::memory::Extents;
use super::stack::Model;
use crate::data::Batch;
use crate::head::Targets;
use crate::numeric::Scalar;
use crate::pass::{Mode, Pass, padded};

/// What a forward pass found.
#[derive(Debug)]
pub struct Inferred<'a, T> {
    /// Hidden states after the final norm `[M, D]`.
    pub hidden: &'a [T],
    /// What the head sees: the hidden states, or one pooled vector per document `[S, D]`.
    pub features: &'a [T],
    /// What the head is compared with, if the batch says.
    pub targets: Option<Targets<'a, T>>,
    /// Free to use, enough for the head.
    pub scratch: &'a mut [T],
}

impl<T: Scalar> Model<T> {
    /// Runs a batch forward and hands what it found to `use_found`.
    pub fn infer<R>(
        &self,
        params: &[T],
        batch: &Batch,
        memory: &mut PassMemory<T>,
        use_found: impl FnOnce(Inferred<'_, T>) -> R,
    ) -> R {
        let shape = Shape::of(batch);
        let extents = self.extents(shape);
        let Extents { fixed, stream, saved_slice, scratch, .. } = extents;
        let elements = padded(fixed) + padded(stream) + padded(saved_slice) + padded(scratch);
        let PassMemory { workspace, starts, kept, classes } = memory;
        let layout = layout(batch, starts);
        let mut carver = workspace.carve(elements);
        let inputs = carver.take(self.input_elements(shape.tokens()));
        let values = carver.take(self.target_elements(shape));
        let x = carver.take(stream);
        let saved = carver.take(saved_slice);
        let scratch = carver.rest();
        self.read_input(params, batch, inputs, x);
        for layer in &self.layers {
            let params = self.params(params, layer.slots());
            let pass = Pass { saved, ..Pass::new(params, layout, Mode::Inference, scratch) };
            layer.forward_in_place(pass, x);
        }
        let mut head = self.head_parts(shape, scratch);
        self.features(params, batch, x, &mut head, kept);
        let hidden = &*head.hidden;
        let features = if self.config().target.pooling().is_some() { head.pooled } else { hidden };
        use_found(Inferred { hidden, features, targets: targets(batch, values, classes), scratch: head.rest })
    }
}
