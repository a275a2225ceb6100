//! The training pass over the whole stack, forward and back. [`super::infer`] has the forward pass alone.
//!
//! ```text
//! x_0 = input(batch)      x_{i+1} = layer_i(x_i)      hidden = norm_f(x_L)      features = hidden, or pooled by document
//! head(features) → loss, d features → d hidden → d x_L → … → d x_lowest → d input
//! ```
//!
//! All memory of a pass is carved from one [`Workspace`] by a [`MemoryPlan`]; after the first pass of the largest shape
//! nothing is allocated.

#![forbid(unsafe_code)]

use super::config::{ActivationMemory, InputConfig, TargetConfig};
use super::memory::{Extents, MemoryPlan, Storage};
use super::stack::Model;
use crate::blocks::residual::{Gradients, LayerSizes, Numbers};
use crate::blocks::workspace::{Carver, Workspace, padded};
use crate::data::{Batch, Input, Target};
use crate::error::{Error, Result};
use crate::head::pooling::Documents;
use crate::head::{Accuracy, HeadReport, Targets};
use crate::kernels::{Accumulate, Layout, embedding, matmul::MatRef, norm};
use crate::numeric::Scalar;
use crate::params::{Arena, Grads, Groups};
use crate::profile::{Phase, phase};

/// Memory that passes share, one after the other.
#[derive(Clone, Debug)]
pub struct PassMemory<T> {
    pub(super) workspace: Workspace<T>,
    pub(super) starts: Vec<u8>,
    /// What pooling keeps for its backward.
    pub(super) kept: Vec<u32>,
    /// Classes per token under a mask.
    pub(super) classes: Vec<i32>,
}

impl<T: Scalar> Default for PassMemory<T> {
    fn default() -> Self {
        Self { workspace: Workspace::default(), starts: Vec::new(), kept: Vec::new(), classes: Vec::new() }
    }
}

impl<T: Scalar> PassMemory<T> {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let words = self.kept.capacity() + self.classes.capacity();
        self.workspace.bytes() + self.starts.capacity() + words * size_of::<u32>()
    }
}

/// Shape of a pass: what its memory depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) length: usize,
    pub(super) segments: usize,
}

impl Shape {
    pub(super) fn of(batch: &Batch) -> Self {
        Self { rows: batch.rows, length: batch.length, segments: batch.segments.len() }
    }

    pub(super) fn tokens(self) -> usize {
        self.rows * self.length
    }
}

/// Marks the first token of every document; `None`, at no cost, if all of them start a row.
pub(super) fn layout<'a>(batch: &Batch, starts: &'a mut Vec<u8>) -> Layout<'a> {
    let (rows, length) = (batch.rows, batch.length);
    if batch.segments.iter().all(|segment| segment.start == 0) {
        return Layout::whole(rows, length);
    }
    starts.clear();
    starts.resize(rows * length, 0);
    for segment in &batch.segments {
        starts[segment.row as usize * length + segment.start as usize] = 1;
    }
    Layout { rows, length, starts: Some(starts) }
}

/// Numbers of a batch in the type of the model.
fn convert<T: Scalar>(from: &[f32], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = T::from_f64(f64::from(*from));
    }
}

/// The targets as a head takes them; `None` if the batch has none. A masked position has no class.
pub(super) fn targets<'a, T: Scalar>(
    batch: &'a Batch,
    numbers: &'a mut [T],
    unmasked: &'a mut Vec<i32>,
) -> Option<Targets<'a, T>> {
    match &batch.target {
        Target::None => None,
        Target::TokenClass(classes) => Some(Targets::Classes(match &batch.mask {
            None => classes,
            Some(mask) => {
                let class = |(&class, &mask): (&i32, &u8)| if mask == 0 { -1 } else { class };
                unmasked.clear();
                unmasked.extend(classes.iter().zip(mask).map(class));
                unmasked
            }
        })),
        Target::SequenceClass(classes) => Some(Targets::Classes(classes)),
        Target::SequenceValues(values) => {
            convert(values, numbers);
            Some(Targets::Values(numbers))
        }
        Target::Cotangent(cotangent) => {
            convert(cotangent, numbers);
            Some(Targets::Cotangent(numbers))
        }
    }
}

/// Memory of a training pass.
struct Parts<'a, T> {
    /// Float inputs.
    inputs: &'a mut [T],
    /// Targets that are numbers.
    numbers: &'a mut [T],
    /// The input of every layer from the lowest on, and the output of the last.
    streams: &'a mut [T],
    /// Saved activations, one part per layer that keeps its own.
    saved: &'a mut [T],
    /// Gradient of the residual stream.
    gradient: &'a mut [T],
    scratch: &'a mut [T],
}

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

    fn final_norm(&self, tokens: usize) -> norm::Dims {
        norm::Dims { tokens, channels: self.config().d_model, eps: self.config().norm_eps }
    }

    /// Scratch of the head's phase: see [`HeadParts`].
    fn head_scratch(&self, shape: Shape) -> usize {
        let (m, d, n) = (shape.tokens(), self.config().d_model, self.n_features(shape));
        let pooled = if self.config().target.pooling().is_some() { 2 * padded(n * d) } else { 0 };
        let rest = self.head.scratch(n).max(norm::backward_scratch(self.final_norm(m)));
        2 * padded(m * d) + padded(m) + pooled + padded(rest)
    }

    fn memory_plan(&self, groups: &Groups, extents: &Extents) -> MemoryPlan {
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

    /// Adds the gradients of one batch, checked before, to the buffer, and returns the sums over its targets.
    pub fn train(
        &self,
        params: &[T],
        grads: &mut Arena<T>,
        groups: &Groups,
        batch: &Batch,
        accuracy: Accuracy,
        memory: &mut PassMemory<T>,
    ) -> HeadReport {
        let shape = Shape::of(batch);
        let extents = self.extents(shape);
        let plan = self.memory_plan(groups, &extents);
        let PassMemory { workspace, starts, kept, classes } = memory;
        let layout = layout(batch, starts);
        let mut parts = self.carve(shape, &extents, &plan, workspace.carve(plan.elements(&extents)));
        let numbers = Numbers { data: params, table: self.table() };
        let x = &mut parts.streams[..extents.stream];
        phase(Phase::Embedding, || self.read_input(numbers, batch, parts.inputs, x));
        self.layers_forward(numbers, &layout, &plan, &extents, &mut parts);
        let mut gradients = Gradients { data: grads.as_mut_slice(), trainable: &groups.trainable };
        let report = self.head_pass(
            numbers,
            batch,
            accuracy,
            &plan,
            &extents,
            &mut parts,
            kept,
            classes,
            &mut gradients,
        );
        if plan.depth.below_head && report.count > 0 {
            self.layers_backward(numbers, &layout, &plan, &extents, &mut parts, &mut gradients);
            phase(Phase::Embedding, || self.input_backward(batch, &mut parts, &mut gradients));
        }
        report
    }

    fn carve<'a>(
        &self,
        shape: Shape,
        extents: &Extents,
        plan: &MemoryPlan,
        mut carver: Carver<&'a mut [T]>,
    ) -> Parts<'a, T> {
        let stream = padded(extents.stream);
        Parts {
            inputs: carver.take(self.input_elements(shape.tokens())),
            numbers: carver.take(self.target_elements(shape)),
            streams: carver.take(plan.streams() * stream),
            saved: carver.take(plan.saved(extents)),
            gradient: carver.take(if plan.depth.below_head { extents.stream } else { 0 }),
            scratch: carver.rest(),
        }
    }

    /// x `[M, D]` from the batch; float inputs of a map stay in `inputs` for its backward.
    pub(super) fn read_input(&self, numbers: Numbers<T>, batch: &Batch, inputs: &mut [T], x: &mut [T]) {
        let d = self.config().d_model;
        let params = self.params(numbers.data, &self.input);
        match (&batch.input, self.config().input) {
            (Input::Tokens(ids), InputConfig::Tokens { vocab_size }) => {
                let dims = embedding::Dims { vocabulary: vocab_size, channels: d };
                embedding::forward(dims, ids, params.get(0), x);
            }
            (Input::Features(features), InputConfig::Features { n_features }) => {
                convert(features, inputs);
                let features = MatRef::new(inputs, x.len() / d, n_features);
                embedding::features_forward(
                    features,
                    MatRef::new(params.get(0), d, n_features),
                    params.get(1),
                    x,
                );
            }
            (Input::Features(hidden), InputConfig::Hidden {}) => convert(hidden, x),
            _ => unreachable!("the batch was checked against the model"),
        }
    }

    fn layers_forward(
        &self,
        numbers: Numbers<T>,
        layout: &Layout,
        plan: &MemoryPlan,
        extents: &Extents,
        parts: &mut Parts<T>,
    ) {
        let stream = padded(extents.stream);
        for (i, layer) in self.layers.iter().enumerate() {
            let saved = &mut parts.saved[plan.saved_at(extents, i)..];
            let storage = plan.storage(i);
            if storage == Storage::Through {
                let x = &mut parts.streams[..extents.stream];
                layer.forward_in_place(numbers, x, layout, saved, parts.scratch);
            } else {
                let (before, after) = parts.streams.split_at_mut((i - plan.depth.lowest + 1) * stream);
                let x = &before[before.len() - stream..][..extents.stream];
                let y = &mut after[..extents.stream];
                layer.forward(numbers, x, layout, storage, saved, parts.scratch, y);
            }
        }
    }

    /// Final norm, pooling and head, forward and back to the gradient of the last layer's output.
    #[expect(
        clippy::too_many_arguments,
        reason = "every buffer of the pass is named; nothing is hidden in an object"
    )]
    fn head_pass(
        &self,
        numbers: Numbers<T>,
        batch: &Batch,
        accuracy: Accuracy,
        plan: &MemoryPlan,
        extents: &Extents,
        parts: &mut Parts<T>,
        kept: &mut Vec<u32>,
        classes: &mut Vec<i32>,
        gradients: &mut Gradients<T>,
    ) -> HeadReport {
        let below = plan.depth.below_head;
        let x = &parts.streams[(plan.streams() - 1) * padded(extents.stream)..][..extents.stream];
        let mut head = self.head_parts(Shape::of(batch), parts.scratch);
        self.features(numbers, batch, x, &mut head, kept);
        let Some(targets) = targets(batch, parts.numbers, classes) else { return HeadReport::default() };
        let pooling = self.config().target.pooling();
        let (features, d_features) = match pooling {
            Some(_) => (&*head.pooled, &mut *head.d_pooled),
            None => (&*head.hidden, &mut *head.d_hidden),
        };
        let params = self.params(numbers.data, &self.head_slots);
        let mut dparams = Grads::new(gradients.data, numbers.table, &self.head_slots, gradients.trainable);
        let d_features = below.then_some(d_features);
        let dparams = dparams.any_trainable().then_some(&mut dparams);
        let report = phase(Phase::Head, || {
            self.head.forward_backward(&params, features, targets, accuracy, head.rest, d_features, dparams)
        });
        if below && report.count > 0 {
            if let Some(pooling) = pooling {
                let documents = Documents::of(batch, self.config().d_model);
                phase(Phase::Head, || pooling.backward(head.d_pooled, documents, kept, head.d_hidden));
            }
            let slots = [self.norm_f];
            let mut dnorm = Grads::new(gradients.data, numbers.table, &slots, gradients.trainable);
            let dims = self.final_norm(head.r.len());
            let weight = self.params(numbers.data, &slots).get(0);
            let overwrite = Accumulate::Overwrite;
            let (r, dy, dx) = (&*head.r, &*head.d_hidden, &mut *parts.gradient);
            phase(Phase::Norm, || {
                norm::backward(dims, x, weight, r, dy, dx, overwrite, dnorm.get(0), head.rest);
            });
        }
        report
    }

    /// The features of a batch from the output of the last layer, in `hidden` or, if they are pooled, in `pooled`.
    pub(super) fn features(
        &self,
        numbers: Numbers<T>,
        batch: &Batch,
        x: &[T],
        head: &mut HeadParts<T>,
        kept: &mut Vec<u32>,
    ) {
        let slots = [self.norm_f];
        let weight = self.params(numbers.data, &slots).get(0);
        let dims = self.final_norm(head.r.len());
        phase(Phase::Norm, || norm::forward(dims, x, weight, head.hidden, head.r));
        if let Some(pooling) = self.config().target.pooling() {
            let width = self.config().d_model;
            kept.resize(pooling.kept(batch.segments.len(), width), 0);
            let documents = Documents::of(batch, width);
            phase(Phase::Head, || pooling.forward(head.hidden, documents, kept, head.pooled));
        }
    }

    pub(super) fn head_parts<'a>(&self, shape: Shape, scratch: &'a mut [T]) -> HeadParts<'a, T> {
        let (m, d) = (shape.tokens(), self.config().d_model);
        let pooled = if self.config().target.pooling().is_some() { shape.segments * d } else { 0 };
        let mut carver = Carver::new(scratch);
        HeadParts {
            hidden: carver.take(m * d),
            d_hidden: carver.take(m * d),
            r: carver.take(m),
            pooled: carver.take(pooled),
            d_pooled: carver.take(pooled),
            rest: carver.rest(),
        }
    }

    fn layers_backward(
        &self,
        numbers: Numbers<T>,
        layout: &Layout,
        plan: &MemoryPlan,
        extents: &Extents,
        parts: &mut Parts<T>,
        gradients: &mut Gradients<T>,
    ) {
        for (i, layer) in self.layers.iter().enumerate().skip(plan.depth.lowest).rev() {
            let x = &parts.streams[(i - plan.depth.lowest) * padded(extents.stream)..][..extents.stream];
            let saved = &mut parts.saved[plan.saved_at(extents, i)..];
            let storage = plan.storage(i);
            layer.backward(numbers, x, layout, storage, saved, parts.scratch, parts.gradient, gradients);
        }
    }

    fn input_backward(&self, batch: &Batch, parts: &mut Parts<T>, gradients: &mut Gradients<T>) {
        let d = self.config().d_model;
        let mut grads = Grads::new(gradients.data, self.table(), &self.input, gradients.trainable);
        match (&batch.input, self.config().input) {
            (Input::Tokens(ids), InputConfig::Tokens { vocab_size }) => {
                if let Some(dw) = grads.get(0) {
                    let dims = embedding::Dims { vocabulary: vocab_size, channels: d };
                    embedding::backward(dims, ids, parts.gradient, dw);
                }
            }
            (_, InputConfig::Features { n_features }) => {
                let tokens = parts.gradient.len() / d;
                let features = MatRef::new(parts.inputs, tokens, n_features);
                let dy = MatRef::new(parts.gradient, tokens, d);
                let [dw, db] = grads.get_many([0, 1]);
                embedding::features_backward(features, dy, dw, db, parts.scratch);
            }
            _ => {}
        }
    }
}

/// Scratch of the head's phase.
pub(super) struct HeadParts<'a, T> {
    /// `[M, D]`
    pub(super) hidden: &'a mut [T],
    pub(super) d_hidden: &'a mut [T],
    /// Reciprocal root mean squares of the final norm `[M]`.
    pub(super) r: &'a mut [T],
    /// `[segments, D]`, empty without pooling.
    pub(super) pooled: &'a mut [T],
    pub(super) d_pooled: &'a mut [T],
    pub(super) rest: &'a mut [T],
}
