//! The training pass over the whole stack, forward and back. [`super::infer`] has the forward pass alone.
//!
//! ```text
//! x_0 = stem(batch)       x_{i+1} = layer_i(x_i)      hidden = norm_f(x_L)      features = hidden, or pooled by document
//! head(features) → loss, d features → d hidden → d x_L → … → d x_lowest → d input
//! ```
//!
//! All memory of a pass is carved from one workspace by a [`MemoryPlan`]; after the first pass of the largest shape
//! nothing is allocated.

#![forbid(unsafe_code)]

use std::sync::mpsc::Sender;

use super::buffers::{Outline, PassMemory, Shape, TargetMemory, targets};
use super::carried::Carried;
use super::memory::{Depth, Extents, LayerActivations, MemoryPlan, StepMemory};
use super::stack::Model;
use crate::data::{Batch, Input};
use crate::error::Result;
use crate::head::{Accuracy, HeadReport, Wanted};
use crate::kernels::matmul::Precision;
use crate::kernels::{Accumulate, Layout, norm};
use crate::numeric::Scalar;
use crate::params::{Arena, Grads, TensorMasks};
use crate::pass::{Carver, Key, Mode, Pass, Running, padded};
use crate::profile::{Phase, phase};
use crate::stem::StemBatch;

/// Takes gradients to which a pass adds nothing more while it goes on: whole rounds of them, from the end of the buffer on.
#[derive(Debug)]
pub(crate) struct Completed<'g, T> {
    /// Elements of a round.
    round: usize,
    to: Sender<&'g mut [T]>,
}

impl<'g, T> Completed<'g, T> {
    pub(crate) fn new(round: usize, to: Sender<&'g mut [T]>) -> Self {
        Self { round, to }
    }

    /// Those from an element on are complete: gives away their whole rounds, and returns the rest.
    fn give(&self, grads: &'g mut [T], from: usize) -> &'g mut [T] {
        let at = from.next_multiple_of(self.round).min(grads.len());
        let (rest, complete) = grads.split_at_mut(at);
        // Nobody takes them after an exchange that failed, which is told at the end of the pass.
        let _ = self.to.send(complete);
        rest
    }
}

/// Arguments of a training pass: parameters, the gradients that it adds to, and its memory.
#[derive(Debug)]
pub(crate) struct TrainingArguments<'a, 'g, T> {
    /// All parameters of the model.
    pub params: &'a [T],
    /// Their gradients.
    pub grads: &'g mut Arena<T>,
    /// Which tensors are trained.
    pub masks: &'a TensorMasks,
    /// Key of the batch's random numbers.
    pub key: Key,
    /// Precision of the factors of products, and what else the memory of a step depends on.
    pub step: StepMemory,
    /// States that the rows go on from; `None`: they start at zero.
    pub carried: Option<Carried<'a, T>>,
    /// Weight of each class, a factor of the weights of its documents; empty for 1 each.
    pub class_weights: &'a [f64],
    /// What the head keeps over the updates, if it does.
    pub running: Option<Running<'a>>,
    /// Takes gradients that are complete.
    pub completed: Option<Completed<'g, T>>,
    /// Memory that passes share.
    pub memory: &'a mut PassMemory<T>,
}

/// Results of a training pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Trained {
    /// Sums over the targets.
    pub sums: HeadReport,
    /// Sum of the targets' weights, for the mean of their losses: their number where each counts as 1.
    pub weight: f64,
}

/// Memory of a training pass, divided.
struct TrainingBuffers<'a, T> {
    /// Saved by the stem for its backward pass.
    stem: &'a mut [T],
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

/// Values of one training pass.
struct TrainingPass<'a, 'g, T> {
    model: &'a Model<T>,
    batch: &'a Batch,
    params: &'a [T],
    grads: &'g mut [T],
    trainable: &'a [bool],
    outline: Outline<'a>,
    mode: Mode,
    precision: Precision,
    plan: MemoryPlan,
    extents: Extents,
    carried: Option<Carried<'a, T>>,
    class_weights: &'a [f64],
    running: Option<Running<'a>>,
    completed: Option<Completed<'g, T>>,
    /// States before the first token, those of all layers concatenated; empty without any.
    first_states: &'a mut [T],
    buffers: TrainingBuffers<'a, T>,
}

impl<T: Scalar> Model<T> {
    /// Adds the gradients of one batch, checked before, to the buffer, and returns the sums over its targets.
    /// Refused, before anything is changed, where the memory is not there.
    pub(crate) fn train(
        &self,
        training: TrainingArguments<T>,
        batch: &Batch,
        accuracy: Accuracy,
    ) -> Result<Trained> {
        let TrainingArguments {
            params,
            grads,
            masks,
            key,
            step,
            carried,
            class_weights,
            running,
            completed,
            memory,
        } = training;
        let shape = self.shape(batch);
        let extents = self.extents(shape, carried.is_some());
        let mut depth = self.depth(masks);
        if carried.as_ref().is_some_and(|carried| carried.gradient.is_some()) {
            // The gradient of every layer's state is wanted.
            depth = Depth { lowest: 0, below_head: true, ..depth };
        }
        let copies = self.copies(shape, carried.is_some(), step.precision);
        let plan = self.memory_plan(depth, &extents, self.beside(copies, step));
        let states = carried.iter().flat_map(|carried| carried.states.layers()).map(<[T]>::len).sum();
        let boundaries = self.boundaries(carried.is_some());
        memory.make_room(batch, boundaries, self.pooling_notes(shape), states, class_weights)?;
        Precision::make_room::<T>(copies)?;
        let PassMemory { workspace, outline, pooling, targets, first_states } = memory;
        let buffers = self.carve(shape, &extents, &plan, workspace.carve(plan.elements(&extents))?);
        for states in carried.iter().flat_map(|carried| carried.states.layers()) {
            first_states.extend_from_slice(states);
        }
        let mut run = TrainingPass {
            model: self,
            batch,
            params,
            grads: grads.as_mut_slice(),
            trainable: &masks.trainable,
            outline: Outline::new(batch, boundaries, outline),
            mode: Mode::Training(key),
            precision: step.precision,
            buffers,
            plan,
            extents,
            carried,
            class_weights,
            running,
            completed,
            first_states,
        };
        run.stem_forward();
        run.layers_forward();
        let trained = run.head(accuracy, pooling, targets);
        if plan.depth.below_head && (trained.sums.count > 0 || run.wants_gradient_of_states()) {
            run.layers_backward();
            run.stem_backward();
        }
        Ok(trained)
    }

    fn carve<'a>(
        &self,
        shape: Shape,
        extents: &Extents,
        plan: &MemoryPlan,
        mut carver: Carver<&'a mut [T]>,
    ) -> TrainingBuffers<'a, T> {
        let stream = padded(extents.stream);
        TrainingBuffers {
            stem: carver.take(self.stem.sizes(shape.tokens()).saved),
            numbers: carver.take(self.target_elements(shape)),
            streams: carver.take(plan.streams() * stream),
            saved: carver.take(plan.saved(extents)),
            gradient: carver.take(if plan.depth.below_head { extents.stream } else { 0 }),
            scratch: carver.rest(),
        }
    }

    /// x `[M, D]` from the batch; what the stem keeps for its backward stays in `saved`. `mode` has the key of the batch.
    pub(super) fn stem_forward(
        &self,
        params: &[T],
        input: &Input,
        outline: &Outline,
        (mode, precision): (Mode, Precision),
        saved: &mut [T],
        x: &mut [T],
    ) {
        let stem_batch = stem_batch(input, outline);
        phase(Phase::Embedding, || {
            let pass = self.stem_pass(params, outline, mode, saved, &mut []);
            self.stem.forward(Pass { precision, ..pass }, &stem_batch, x);
        });
    }

    fn stem_pass<'a>(
        &'a self,
        params: &'a [T],
        outline: &Outline<'a>,
        mode: Mode,
        saved: &'a mut [T],
        scratch: &'a mut [T],
    ) -> Pass<'a, T> {
        let params = self.params(params, &self.stem_slots);
        let mode = mode.map(|key| key.layer(Key::STEM));
        Pass { saved, ..Pass::new(params, outline.layout, mode, scratch) }
    }

    /// Elements that pooling keeps for its backward pass.
    pub(super) fn pooling_notes(&self, shape: Shape) -> usize {
        let pooling = self.config().target.pooling();
        pooling.map_or(0, |pooling| pooling.saved_len(shape.segments, self.config().d_model))
    }

    /// The features of a batch from the output of the last layer, in `hidden` or, if they are pooled, in `pooled`.
    pub(super) fn features(
        &self,
        params: &[T],
        outline: &Outline,
        x: &[T],
        head: &mut HeadParts<T>,
        saved: &mut Vec<u32>,
    ) {
        let slots = [self.norm_f];
        let weight = self.params(params, &slots).get(0);
        let dims = self.final_norm(head.r.len());
        phase(Phase::Norm, || norm::forward(dims, x, weight, head.hidden, head.r));
        if let Some(pooling) = self.config().target.pooling() {
            let documents = outline.documents(self.config().d_model);
            saved.resize(pooling.saved_len(documents.segments.len(), documents.width), 0);
            phase(Phase::Head, || pooling.forward(head.hidden, documents, saved, head.pooled));
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

impl<T: Scalar> TrainingPass<'_, '_, T> {
    fn stem_forward(&mut self) {
        let Self { model, batch, params, outline, mode, precision, extents, buffers, .. } = self;
        let x = &mut buffers.streams[..extents.stream];
        model.stem_forward(params, &batch.input, outline, (*mode, *precision), buffers.stem, x);
    }

    fn layers_forward(&mut self) {
        let Self { model, params, outline, mode, precision, plan, extents, carried, buffers, .. } = self;
        let stream = padded(extents.stream);
        for (i, layer) in model.layers.iter().enumerate() {
            let activations = plan.activations(i);
            let pass = Pass {
                precision: *precision,
                state: carried.as_mut().map(|carried| carried.states.layer_mut(i)),
                saved: &mut buffers.saved[plan.saved_at(extents, i)..],
                ..Pass::new(
                    model.params(params, layer.slots()),
                    outline.layout,
                    mode.layer(i),
                    buffers.scratch,
                )
            };
            if activations == LayerActivations::Discard {
                layer.forward_in_place(pass, &mut buffers.streams[..extents.stream]);
            } else {
                let (before, after) = buffers.streams.split_at_mut((i - plan.depth.lowest + 1) * stream);
                let x = &before[before.len() - stream..][..extents.stream];
                layer.forward(pass, activations, x, &mut after[..extents.stream]);
            }
        }
    }

    fn wants_gradient_of_states(&self) -> bool {
        self.carried.as_ref().is_some_and(|carried| carried.gradient.is_some())
    }

    /// Final norm, pooling and head, forward and back to the gradient of the last layer's output.
    fn head(
        &mut self,
        accuracy: Accuracy,
        saved: &mut Vec<u32>,
        of_targets: &mut TargetMemory<T>,
    ) -> Trained {
        let Self { model, batch, params, grads, trainable, outline, mode, plan, extents, buffers, .. } = self;
        let below = plan.depth.below_head;
        let x = &buffers.streams[(plan.streams() - 1) * padded(extents.stream)..][..extents.stream];
        let mut head = model.head_parts(model.shape(batch), buffers.scratch);
        model.features(params, outline, x, &mut head, saved);
        let Some(targets) = targets(batch, self.class_weights, buffers.numbers, of_targets) else {
            buffers.gradient.fill(T::ZERO);
            return Trained::default();
        };
        let (pooling, d) = (model.config().target.pooling(), model.config().d_model);
        let (features, d_features) = match pooling {
            Some(_) => (&mut *head.pooled, &mut *head.d_pooled),
            None => (&mut *head.hidden, &mut *head.d_hidden),
        };
        let mode = mode.map(|key| key.layer(Key::HEAD));
        let dropout = mode.dropout(model.config().head_dropout, d);
        if let Some(dropout) = dropout {
            phase(Phase::Head, || dropout.run_in_place(features));
        }
        let mut dparams = Grads::new(grads, model.table(), &model.head_slots, trainable);
        let d_features = below.then_some(d_features);
        let dparams = dparams.any_trainable().then_some(&mut dparams);
        let layout = Layout::whole(features.len() / d, 1);
        let pass = Pass::new(model.head_params(params), layout, mode, head.rest);
        let running = self.running.as_mut().map(Running::reborrow);
        let pass = Pass { precision: self.precision, running, ..pass };
        let wanted = if accuracy == Accuracy::Count { Wanted::Accuracy } else { Wanted::Loss };
        let report = phase(Phase::Head, || {
            model.head.forward_backward(pass, features, targets, wanted, d_features, dparams)
        });
        if report.count == 0 {
            buffers.gradient.fill(T::ZERO);
        } else if below {
            if let Some(dropout) = dropout {
                let d_features = if pooling.is_some() { &mut *head.d_pooled } else { &mut *head.d_hidden };
                phase(Phase::Head, || dropout.run_in_place(d_features));
            }
            if let Some(pooling) = pooling {
                let documents = outline.documents(d);
                phase(Phase::Head, || pooling.backward(head.d_pooled, documents, saved, head.d_hidden));
            }
            let slots = [model.norm_f];
            let mut dnorm = Grads::new(grads, model.table(), &slots, trainable);
            let dims = model.final_norm(head.r.len());
            let weight = model.params(params, &slots).get(0);
            let overwrite = Accumulate::Overwrite;
            let saved = norm::Saved { x, w: weight, r: &*head.r };
            let (dy, dx) = (&*head.d_hidden, &mut *buffers.gradient);
            phase(Phase::Norm, || {
                norm::backward(dims, saved, dy, dx, overwrite, dnorm.get(0), head.rest);
            });
        }
        Trained { sums: report, weight: targets.weight(report.count) }
    }

    fn layers_backward(&mut self) {
        let Self {
            model,
            params,
            grads,
            trainable,
            outline,
            mode,
            precision,
            plan,
            extents,
            completed,
            buffers,
            ..
        } = self;
        if let Some(completed) = completed {
            *grads = completed.give(std::mem::take(grads), model.first_complete(model.layers.len()));
        }
        let mut states_end = self.first_states.len();
        for (i, layer) in model.layers.iter().enumerate().skip(plan.depth.lowest).rev() {
            let x = &buffers.streams[(i - plan.depth.lowest) * padded(extents.stream)..][..extents.stream];
            let (state, dstate) = match &mut self.carried {
                None => (None, None),
                Some(Carried { states, gradient }) => {
                    let end = states_end;
                    states_end -= states.layer_mut(i).len();
                    let first = &mut self.first_states[states_end..end];
                    (Some(first), gradient.as_mut().map(|gradient| gradient.layer_mut(i)))
                }
            };
            let pass = Pass {
                precision: *precision,
                state,
                dstate,
                saved: &mut buffers.saved[plan.saved_at(extents, i)..],
                ..Pass::new(
                    model.params(params, layer.slots()),
                    outline.layout,
                    mode.layer(i),
                    buffers.scratch,
                )
            };
            let mut dparams = Grads::new(grads, model.table(), layer.slots(), trainable);
            layer.backward(pass, plan.activations(i), x, buffers.gradient, &mut dparams);
            if let Some(completed) = completed {
                *grads = completed.give(std::mem::take(grads), model.first_complete(i));
            }
        }
    }

    fn stem_backward(&mut self) {
        let Self { model, batch, params, grads, trainable, outline, mode, buffers, .. } = self;
        let pass = model.stem_pass(params, outline, *mode, buffers.stem, buffers.scratch);
        let pass = Pass { precision: self.precision, ..pass };
        let mut grads = Grads::new(grads, model.table(), &model.stem_slots, trainable);
        let stem_batch = stem_batch(&batch.input, outline);
        phase(Phase::Embedding, || model.stem.backward(pass, &stem_batch, buffers.gradient, &mut grads));
    }
}

fn stem_batch<'a>(input: &'a Input, outline: &Outline<'a>) -> StemBatch<'a> {
    StemBatch { input, before: outline.before, after: outline.after }
}

/// Scratch of the head's phase.
pub(super) struct HeadParts<'a, T> {
    /// Output of the final norm `[M, D]`.
    pub(super) hidden: &'a mut [T],
    pub(super) d_hidden: &'a mut [T],
    /// Reciprocal root mean squares of the final norm `[M]`.
    pub(super) r: &'a mut [T],
    /// `[segments, D]`, empty without pooling.
    pub(super) pooled: &'a mut [T],
    pub(super) d_pooled: &'a mut [T],
    pub(super) rest: &'a mut [T],
}
