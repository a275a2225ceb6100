//! How much memory a pass takes, and whether a batch fits into the limit.

#![forbid(unsafe_code)]

use super::buffers::Shape;
use super::config::{ActivationMemory, InputConfig, TargetConfig};
use super::memory::{Extents, MemoryPlan};
use super::stack::Model;
use crate::blocks::residual::LayerSizes;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::kernels::{embedding, norm};
use crate::numeric::Scalar;
use crate::params::Groups;
use crate::pass::padded;

impl<T: Scalar> Model<T> {
    /// Elements of the parts of a pass.
    pub(super) fn extents(&self, shape: Shape) -> Extents {
        let d = self.config().d_model;
        let m = shape.tokens();
        let layers = self.layers.iter().map(|layer| layer.sizes(shape.rows, shape.length));
        let LayerSizes { saved, saved_slice, scratch } =
            layers.fold(LayerSizes::default(), |most, sizes| LayerSizes {
                saved: most.saved.max(sizes.saved),
                saved_slice: most.saved_slice.max(sizes.saved_slice),
                scratch: most.scratch.max(sizes.scratch),
            });
        let scratch = scratch.max(self.head_scratch(shape)).max(match self.config().input {
            InputConfig::Features { n_features } => embedding::features_backward_scratch(m, d, n_features),
            InputConfig::Tokens { .. } | InputConfig::Hidden {} => 0,
        });
        let fixed = padded(self.input_elements(m)) + padded(self.target_elements(shape));
        Extents { fixed, stream: m * d, saved, saved_slice, scratch }
    }

    /// Float inputs that are kept: those of the input map. Hidden inputs are the stream itself.
    pub(super) fn input_elements(&self, tokens: usize) -> usize {
        match self.config().input {
            InputConfig::Features { n_features } => tokens * n_features,
            InputConfig::Tokens { .. } | InputConfig::Hidden {} => 0,
        }
    }

    pub(super) fn target_elements(&self, shape: Shape) -> usize {
        match self.config().target {
            TargetConfig::SequenceValues { n_values, .. } => shape.segments * n_values,
            TargetConfig::Cotangent {} => shape.tokens() * self.config().d_model,
            _ => 0,
        }
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

    pub(super) fn memory_plan(&self, groups: &Groups, extents: &Extents) -> MemoryPlan {
        let config = self.config();
        let limit = config.memory_limit_mb.map(|mb| usize::try_from(mb * 1_000_000).unwrap_or(usize::MAX));
        let fits = |elements| limit.is_none_or(|limit| self.bytes_beside(elements) <= limit);
        MemoryPlan::new(config.activation_memory, self.layers.len(), self.depth(groups), extents, fits)
    }

    /// Refuses a batch of which no way to store activations keeps to the memory limit that `auto` was given.
    pub fn check_memory(&self, groups: &Groups, batch: &Batch) -> Result<()> {
        let (config, shape) = (self.config(), Shape::of(batch));
        let (ActivationMemory::Auto, Some(limit)) = (config.activation_memory, config.memory_limit_mb) else {
            return Ok(());
        };
        let least = self.bytes_of(groups, shape).div_ceil(1_000_000) as u64;
        if least <= limit {
            return Ok(());
        }
        let expected = format!("{least} MB or more for a step on {} x {} tokens", shape.rows, shape.length);
        let advice = "raise it, or take fewer or shorter rows at a time";
        Err(Error::config("model.memory_limit_mb", expected, format!("{limit} MB"), advice))
    }

    /// Bytes that a training step needs, with one document per row: parameters, gradients, both moments and activations.
    pub fn step_bytes(&self, groups: &Groups, rows: usize, length: usize) -> usize {
        self.bytes_of(groups, Shape { rows, length, segments: rows })
    }

    /// As [`Model::step_bytes`], for any shape.
    fn bytes_of(&self, groups: &Groups, shape: Shape) -> usize {
        let extents = self.extents(shape);
        self.bytes_beside(self.memory_plan(groups, &extents).elements(&extents))
    }

    /// Bytes of so many elements, the parameters, their gradients and both moments.
    fn bytes_beside(&self, elements: usize) -> usize {
        (4 * self.table().buffer_len() + elements) * size_of::<T>()
    }
}
