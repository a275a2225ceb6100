//! The memory of a pass, and the check of a batch against the limit.

#![forbid(unsafe_code)]

use super::buffers::Shape;
use super::config::ActivationMemory;
use super::memory::{Depth, Extents, MemoryPlan, StepMemory};
use super::stack::Model;
use crate::blocks::Sizes;
use crate::blocks::layer::{LayerSizes, slice_tokens};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::kernels::matmul::Precision;
use crate::kernels::norm;
use crate::numeric::Scalar;
use crate::params::{Group, Slot, TensorMasks};
use crate::pass::padded;
use crate::stem::shortened;

/// Most tokens of a batch whose memory is computed: positions are numbers of 32 bits.
const MOST_TOKENS: usize = u32::MAX as usize;

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

    /// The plan of a pass; `beside` are the elements of everything else, see [`Model::beside`].
    pub(super) fn memory_plan(&self, depth: Depth, extents: &Extents, beside: usize) -> MemoryPlan {
        let config = self.config();
        let limit = config
            .memory_limit_mb
            .map(|mb| usize::try_from(mb.saturating_mul(1_000_000)).unwrap_or(usize::MAX));
        let fits = |elements| limit.is_none_or(|limit| bytes::<T>(beside, elements) <= limit);
        MemoryPlan::new(config.activation_memory, self.layers.len(), depth, extents, fits)
    }

    /// Refuses a batch of which no way to store activations keeps to the memory limit that `auto` was given.
    pub(crate) fn check_memory(&self, masks: &TensorMasks, batch: &Batch, step: StepMemory) -> Result<()> {
        let (config, shape) = (self.config(), self.shape(batch));
        let (ActivationMemory::Auto, Some(limit)) = (config.activation_memory, config.memory_limit_mb) else {
            return Ok(());
        };
        let least = self.bytes_of(masks, shape, step).div_ceil(1_000_000) as u64;
        if least <= limit {
            return Ok(());
        }
        let expected = format!("{least} MB or more for a step on {} x {} tokens", batch.rows, batch.length);
        let advice = match step.more_gradients {
            0 => "raise it, or lower train.batch_size or data.length",
            _ => "raise it, or lower train.batch_size, data.length or train.virtual_ranks",
        };
        Err(Error::config("model.memory_limit_mb", expected, format!("{limit} MB"), advice))
    }

    /// Bytes that a training step needs, with one document per row: parameters, gradients, both moments, activations and
    /// copies of factors. The largest number where positions are more than there may be.
    pub(crate) fn step_bytes(
        &self,
        masks: &TensorMasks,
        (rows, length): (usize, usize),
        step: StepMemory,
    ) -> usize {
        if rows.checked_mul(length).is_none_or(|tokens| tokens > MOST_TOKENS) {
            return usize::MAX;
        }
        let length = shortened(length, self.stem.stride());
        self.bytes_of(masks, Shape { rows, length, segments: rows }, step)
    }

    /// As [`Model::step_bytes`], for any shape.
    fn bytes_of(&self, masks: &TensorMasks, shape: Shape, step: StepMemory) -> usize {
        let extents = self.extents(shape, false);
        let beside = self.beside(self.copies(shape, false, step.precision), step);
        let plan = self.memory_plan(self.depth(masks), &extents, beside);
        bytes::<T>(beside, plan.elements(&extents))
    }

    /// Elements of what a step takes besides its pass: the parameters, their gradients, both moments, what ranks exchange at a
    /// time, and so many copies.
    pub(super) fn beside(&self, copies: usize, step: StepMemory) -> usize {
        (4 + step.more_gradients) * self.table().buffer_len() + step.exchange + copies
    }

    /// Elements of the copies that the largest product of a pass reads.
    ///
    /// The weights of products are the tensors of two axes and more that weight decay applies to, and an embedding that
    /// is the head's too.
    pub(super) fn copies(&self, shape: Shape, is_carried: bool, precision: Precision) -> usize {
        let tokens = shape.tokens();
        let slice = if is_carried { tokens } else { slice_tokens(shape.rows, shape.length) };
        let stem = self.largest_copies(&self.stem_slots, tokens, precision);
        let layers = self.layers.iter().map(|layer| self.largest_copies(layer.slots(), slice, precision));
        let head = self.largest_copies(&self.head_slots, self.n_features(shape), precision);
        layers.max().unwrap_or(0).max(stem).max(head)
    }

    /// As [`Model::copies`], of the products of so many rows with the weights of a part.
    fn largest_copies(&self, slots: &[Slot], rows: usize, precision: Precision) -> usize {
        let is_tied =
            |slot: Slot| self.head_slots.contains(&slot) && self.table().entry(slot).group == Group::Input;
        let weights = slots.iter().filter(|&&slot| self.table().entry(slot).spec.decay || is_tied(slot));
        let shapes =
            weights.map(|&slot| &self.table().entry(slot).spec.shape).filter(|shape| shape.len() > 1);
        let copied = shapes.map(|shape| precision.copied::<T>(rows, shape[0], shape[1..].iter().product()));
        copied.max().unwrap_or(0)
    }
}

fn bytes<T>(beside: usize, elements: usize) -> usize {
    (beside + elements) * size_of::<T>()
}
