//! The memory of a pass, and the check of a batch against the limit.

#![forbid(unsafe_code)]

use super::buffers::Shape;
use super::config::ActivationMemory;
use super::memory::{Depth, Extents, MemoryPlan};
use super::stack::Model;
use crate::blocks::Sizes;
use crate::blocks::layer::LayerSizes;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::kernels::norm;
use crate::numeric::Scalar;
use crate::params::TensorMasks;
use crate::pass::padded;
use crate::stem::shortened;

impl<T: Scalar> Model<T> {
    /// Elements of the parts of a pass.
    pub(super) fn extents(&self, shape: Shape, is_carried: bool) -> Extents {
        let stem = self.stem.sizes(shape.tokens());
        let layers = self.layers.iter().map(|layer| {
            if is_carried {
                let Sizes { saved, scratch, .. } = layer.whole_sizes(shape.rows, shape.length);
                LayerSizes { saved, saved_slice: saved, scratch }
            } else {
                layer.sizes(shape.rows, shape.length)
            }
        });
        let LayerSizes { saved, saved_slice, scratch } =
            layers.fold(LayerSizes::default(), |most, sizes| LayerSizes {
                saved: most.saved.max(sizes.saved),
                saved_slice: most.saved_slice.max(sizes.saved_slice),
                scratch: most.scratch.max(sizes.scratch),
            });
        let scratch = scratch.max(self.head_scratch(shape)).max(stem.scratch);
        let fixed = padded(stem.saved) + padded(self.target_elements(shape));
        let stream = shape.tokens() * self.config().d_model;
        Extents { fixed, stream, saved, saved_slice, scratch }
    }

    /// Shape of the residual stream of a batch.
    pub(super) fn shape(&self, batch: &Batch) -> Shape {
        Shape::of(batch, self.stem.stride())
    }

    pub(super) fn target_elements(&self, shape: Shape) -> usize {
        self.target.floats(shape.tokens(), shape.segments, self.config().d_model)
    }

    /// Features that the head sees: one per document if they are pooled, else one per token.
    fn n_features(&self, shape: Shape) -> usize {
        if self.config().target.pooling().is_some() { shape.segments } else { shape.tokens() }
    }

    pub(super) fn final_norm(&self, tokens: usize) -> norm::Dims {
        norm::Dims { tokens, channels: self.config().d_model, eps: self.config().norm_eps }
    }

    /// Scratch of the head's phase: see [`HeadParts`].
    fn head_scratch(&self, shape: Shape) -> usize {
        let (m, d, n) = (shape.tokens(), self.config().d_model, self.n_features(shape));
        let pooled = if self.config().target.pooling().is_some() { 2 * padded(n * d) } else { 0 };
        let rest = self.head.scratch(n).max(norm::backward_scratch(self.final_norm(m)));
        2 * padded(m * d) + padded(m) + pooled + padded(rest)
    }

    pub(super) fn memory_plan(&self, depth: Depth, extents: &Extents) -> MemoryPlan {
        let config = self.config();
        let limit = config
            .memory_limit_mb
            .map(|mb| usize::try_from(mb.saturating_mul(1_000_000)).unwrap_or(usize::MAX));
        let fits = |elements| limit.is_none_or(|limit| self.bytes_beside(elements) <= limit);
        MemoryPlan::new(config.activation_memory, self.layers.len(), depth, extents, fits)
    }

    /// Refuses a batch of which no way to store activations keeps to the memory limit that `auto` was given.
    pub(crate) fn check_memory(&self, masks: &TensorMasks, batch: &Batch) -> Result<()> {
        let (config, shape) = (self.config(), self.shape(batch));
        let (ActivationMemory::Auto, Some(limit)) = (config.activation_memory, config.memory_limit_mb) else {
            return Ok(());
        };
        let least = self.bytes_of(masks, shape).div_ceil(1_000_000) as u64;
        if least <= limit {
            return Ok(());
        }
        let expected = format!("{least} MB or more for a step on {} x {} tokens", batch.rows, batch.length);
        let advice = "raise it, or lower train.batch_size or data.length";
        Err(Error::config("model.memory_limit_mb", expected, format!("{limit} MB"), advice))
    }

    /// Bytes that a training step needs, with one document per row: parameters, gradients, both moments and activations.
    pub(crate) fn step_bytes(&self, masks: &TensorMasks, rows: usize, length: usize) -> usize {
        let length = shortened(length, self.stem.stride());
        self.bytes_of(masks, Shape { rows, length, segments: rows })
    }

    /// As [`Model::step_bytes`], for any shape.
    fn bytes_of(&self, masks: &TensorMasks, shape: Shape) -> usize {
        let extents = self.extents(shape, false);
        self.bytes_beside(self.memory_plan(self.depth(masks), &extents).elements(&extents))
    }

    /// Bytes of so many elements, the parameters, their gradients and both moments.
    fn bytes_beside(&self, elements: usize) -> usize {
        (4 * self.table().buffer_len() + elements) * size_of::<T>()
    }
}
