//! The training pass over the whole stack, forward and back. [`super::infer`] has the forward pass alone.
//!
//! ```text
//! x_0 = input(batch)      x_{i+1} = layer_i(x_i)      hidden = norm_f(x_L)      features = hidden, or pooled by document
//! head(features) → loss, d features → d hidden → d x_L → … → d x_lowest → d input
//! ```
//!
//! All memory of a pass is carved from one workspace by a [`MemoryPlan`]; after the first pass of the largest shape
//! nothing is allocated.

#![forbid(unsafe_code)]

use super::buffers::{PassMemory, Shape, convert, layout, targets};
use super::config::InputConfig;
use super::memory::{Extents, MemoryPlan, Storage};
use super::stack::Model;
use crate::data::{Batch, Input};
use crate::head::pooling::Documents;
use crate::head::{Accuracy, HeadReport};
use crate::kernels::{Accumulate, Layout, embedding, matmul::MatRef, norm};
use crate::numeric::Scalar;
use crate::params::{Arena, Grads, Groups};
use crate::pass::{Carver, Key, Mode, Pass, padded};
use crate::profile::{Phase, phase};

/// What a training pass computes with: parameters, the gradients that it adds to, and its memory.
#[derive(Debug)]
pub struct Training<'a, T> {
    /// All parameters of the model.
    pub params: &'a [T],
    /// Their gradients.
    pub grads: &'a mut Arena<T>,
    /// Which tensors are trained.
    pub groups: &'a Groups,
    /// Key of the batch's random numbers.
    pub key: Key,
    /// Memory that passes share.
    pub memory: &'a mut PassMemory<T>,
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

/// A training pass under way.
struct Run<'a, T> {
    model: &'a Model<T>,
    batch: &'a Batch,
    params: &'a [T],
    grads: &'a mut [T],
    trainable: &'a [bool],
    layout: Layout<'a>,
    mode: Mode,
    plan: MemoryPlan,
    extents: Extents,
    parts: Parts<'a, T>,
}

impl<T: Scalar> Model<T> {
    /// Adds the gradients of one batch, checked before, to the buffer, and returns the sums over its targets.
    pub fn train(&self, training: Training<T>, batch: &Batch, accuracy: Accuracy) -> HeadReport {
        let Training { params, grads, groups, key, memory } = training;
        let shape = Shape::of(batch);
        let extents = self.extents(shape);
        let plan = self.memory_plan(groups, &extents);
        let PassMemory { workspace, starts, kept, classes } = memory;
        let mut run = Run {
            model: self,
            batch,
            params,
            grads: grads.as_mut_slice(),
            trainable: &groups.trainable,
            layout: layout(batch, starts),
            mode: Mode::Training(key),
            parts: self.carve(shape, &extents, &plan, workspace.carve(plan.elements(&extents))),
            plan,
            extents,
        };
        run.input_forward();
        run.layers_forward();
        let report = run.head(accuracy, kept, classes);
        if plan.depth.below_head && report.count > 0 {
            run.layers_backward();
            run.input_backward();
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
    pub(super) fn read_input(&self, params: &[T], batch: &Batch, inputs: &mut [T], x: &mut [T]) {
        let d = self.config().d_model;
        let params = self.params(params, &self.input);
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

    /// The features of a batch from the output of the last layer, in `hidden` or, if they are pooled, in `pooled`.
    pub(super) fn features(
        &self,
        params: &[T],
        batch: &Batch,
        x: &[T],
        head: &mut HeadParts<T>,
        kept: &mut Vec<u32>,
    ) {
        let slots = [self.norm_f];
        let weight = self.params(params, &slots).get(0);
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
}

impl<T: Scalar> Run<'_, T> {
    fn input_forward(&mut self) {
        let Self { model, batch, params, extents, parts, .. } = self;
        let x = &mut parts.streams[..extents.stream];
        phase(Phase::Embedding, || model.read_input(params, batch, parts.inputs, x));
    }

    fn layers_forward(&mut self) {
        let Self { model, params, layout, mode, plan, extents, parts, .. } = self;
        let stream = padded(extents.stream);
        for (i, layer) in model.layers.iter().enumerate() {
            let storage = plan.storage(i);
            let pass = Pass {
                saved: &mut parts.saved[plan.saved_at(extents, i)..],
                ..Pass::new(model.params(params, layer.slots()), *layout, mode.layer(i), parts.scratch)
            };
            if storage == Storage::Through {
                layer.forward_in_place(pass, &mut parts.streams[..extents.stream]);
            } else {
                let (before, after) = parts.streams.split_at_mut((i - plan.depth.lowest + 1) * stream);
                let x = &before[before.len() - stream..][..extents.stream];
                layer.forward(pass, storage, x, &mut after[..extents.stream]);
            }
        }
    }

    /// Final norm, pooling and head, forward and back to the gradient of the last layer's output.
    fn head(&mut self, accuracy: Accuracy, kept: &mut Vec<u32>, classes: &mut Vec<i32>) -> HeadReport {
        let Self { model, batch, params, grads, trainable, mode, plan, extents, parts, .. } = self;
        let below = plan.depth.below_head;
        let x = &parts.streams[(plan.streams() - 1) * padded(extents.stream)..][..extents.stream];
        let mut head = model.head_parts(Shape::of(batch), parts.scratch);
        model.features(params, batch, x, &mut head, kept);
        let Some(targets) = targets(batch, parts.numbers, classes) else { return HeadReport::default() };
        let (pooling, d) = (model.config().target.pooling(), model.config().d_model);
        let (features, d_features) = match pooling {
            Some(_) => (&*head.pooled, &mut *head.d_pooled),
            None => (&*head.hidden, &mut *head.d_hidden),
        };
        let mut dparams = Grads::new(grads, model.table(), &model.head_slots, trainable);
        let d_features = below.then_some(d_features);
        let dparams = dparams.any_trainable().then_some(&mut dparams);
        let layout = Layout::whole(features.len() / d, 1);
        let pass =
            Pass::new(model.head_params(params), layout, mode.map(|key| key.layer(Key::HEAD)), head.rest);
        let report = phase(Phase::Head, || {
            model.head.forward_backward(pass, features, targets, accuracy, d_features, dparams)
        });
        if below && report.count > 0 {
            if let Some(pooling) = pooling {
                let documents = Documents::of(batch, d);
                phase(Phase::Head, || pooling.backward(head.d_pooled, documents, kept, head.d_hidden));
            }
            let slots = [model.norm_f];
            let mut dnorm = Grads::new(grads, model.table(), &slots, trainable);
            let dims = model.final_norm(head.r.len());
            let weight = model.params(params, &slots).get(0);
            let overwrite = Accumulate::Overwrite;
            let (r, dy, dx) = (&*head.r, &*head.d_hidden, &mut *parts.gradient);
            phase(Phase::Norm, || {
                norm::backward(dims, x, weight, r, dy, dx, overwrite, dnorm.get(0), head.rest);
            });
        }
        report
    }

    fn layers_backward(&mut self) {
        let Self { model, params, grads, trainable, layout, mode, plan, extents, parts, .. } = self;
        for (i, layer) in model.layers.iter().enumerate().skip(plan.depth.lowest).rev() {
            let x = &parts.streams[(i - plan.depth.lowest) * padded(extents.stream)..][..extents.stream];
            let pass = Pass {
                saved: &mut parts.saved[plan.saved_at(extents, i)..],
                ..Pass::new(model.params(params, layer.slots()), *layout, mode.layer(i), parts.scratch)
            };
            let mut dparams = Grads::new(grads, model.table(), layer.slots(), trainable);
            layer.backward(pass, plan.storage(i), x, parts.gradient, &mut dparams);
        }
    }

    fn input_backward(&mut self) {
        let Self { model, batch, grads, trainable, parts, .. } = self;
        let d = model.config().d_model;
        let mut grads = Grads::new(grads, model.table(), &model.input, trainable);
        phase(Phase::Embedding, || match (&batch.input, model.config().input) {
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
        });
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
