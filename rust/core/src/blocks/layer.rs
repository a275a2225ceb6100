//! A layer: `x + block(norm(x))`, forward, backward and one token at a time.
//!
//! ```text
//! y  = x + dropout(block(n))   n = norm(x)
//! dx = dy + norm'(dn)          dn = block'(dropout(dy))
//! ```
//!
//! The gradient of the residual stream is one buffer: it holds dy before the backward pass of a layer and dx after it.
//!
//! Rows are independent, so a layer takes them in slices of about [`SLICE_TOKENS`] tokens: buffers of a slice
//! are small and stay in the cache, and a slice has enough tokens for the products to run at full speed. Slices follow
//! from the shape alone; gradients are added in their order.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::block::{Block, Sizes};
use crate::error::{Error, Result};
use crate::kernels::blocks::copy;
use crate::kernels::dropout::Dropout;
use crate::kernels::{Accumulate, Layout, norm};
use crate::numeric::Scalar;
use crate::params::{Grads, Group, Init, ParamSpec, Slot, Table};
use crate::pass::{Carver, Mode, Pass, padded};
use crate::profile::{Phase, phase};

/// Tokens of a slice, more or less: whole rows, at least one.
///
/// Measured on one thread (AVX-512, D 256, 6 layers, 8 rows of 512 tokens): a step takes as long as one without slices,
/// in 40 MB less; with recomputation 97 % of the time, in 63 MB less. 2048 tie in time, 512 take a little more.
pub(crate) const SLICE_TOKENS: usize = 1024;

/// Activations that are kept of a layer's forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerActivations {
    /// Nothing, as no gradient is needed below this layer.
    Discard,
    /// Its input; the forward pass is repeated in the backward one.
    Recompute,
    /// Its input and everything that the block saves.
    Keep,
}

/// Elements that a layer needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LayerSizes {
    /// Saved by the block for all rows.
    pub saved: usize,
    /// Saved by the block for one slice.
    pub saved_slice: usize,
    /// Free to use during one call.
    pub scratch: usize,
}

/// Rows of a slice, for slices of nearly equal size.
fn rows_per_slice(rows: usize, length: usize) -> usize {
    let least = SLICE_TOKENS.div_ceil(length.max(1)).clamp(1, rows.max(1));
    rows.div_ceil((rows / least).max(1))
}

/// Tokens of the largest slice of a pass without a state.
pub(crate) fn slice_tokens(rows: usize, length: usize) -> usize {
    rows_per_slice(rows, length) * length
}

/// The slices of a pass: the rows and tokens of each. A pass with a state is one slice.
fn slices<'a, T>(pass: &Pass<'a, T>) -> impl Iterator<Item = (Range<usize>, Layout<'a>)> + use<'a, T> {
    let Layout { rows, length, starts } = pass.layout;
    let step = if pass.state.is_some() { rows } else { rows_per_slice(rows, length) };
    (0..rows).step_by(step.max(1)).map(move |row| {
        let count = step.min(rows - row);
        let tokens = row * length..(row + count) * length;
        let starts = starts.map(|starts| &starts[tokens.clone()]);
        (tokens, Layout { rows: count, length, starts })
    })
}

/// Sizes and settings that the layers of a model share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LayerConfig {
    /// Width of the residual stream (D).
    pub d_model: usize,
    /// Added to the mean square in the norm.
    pub eps: f64,
    /// Share of the block's outputs that training sets to zero.
    pub dropout: f64,
}

/// A block with its norm.
pub(crate) struct Layer<T> {
    block: Box<dyn Block<T>>,
    config: LayerConfig,
    /// The norm's weight, then the block's tensors.
    slots: Vec<Slot>,
}

impl<T: Scalar> Layer<T> {
    /// Declares the tensors of layer `index`.
    pub(crate) fn new(
        block: Box<dyn Block<T>>,
        config: LayerConfig,
        index: usize,
        table: &mut Table,
    ) -> Result<Self> {
        let specs = block.params();
        if let Some(id) =
            block.output_projections().iter().find(|id| specs.iter().all(|spec| spec.id != **id))
        {
            return Err(Error::shape("block", format!("its output projection {id}"), "no such tensor"));
        }
        if !block.capabilities().keeps_length {
            return Err(Error::shape("block", "as many tokens as it is given", "another number"));
        }
        let norm = ParamSpec::new("norm.weight", [config.d_model], Init::Ones).no_decay();
        let mut slots = table.declare(&format!("layers.{index}."), Group::Layer(index), vec![norm])?;
        slots.extend(table.declare(&format!("layers.{index}.mixer."), Group::Layer(index), specs)?);
        Ok(Self { block, config, slots })
    }

    /// The layer's tensors.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The block.
    pub(crate) fn block(&self) -> &dyn Block<T> {
        &*self.block
    }

    /// Ids, relative to the layer, of the tensors that are zero while the layer adds nothing.
    pub(crate) fn output_projections(&self) -> Vec<String> {
        if self.block.hands_input_on() {
            return Vec::new();
        }
        self.block.output_projections().into_iter().map(|id| format!("mixer.{id}")).collect()
    }

    /// Sizes of a pass over all rows at once, which a pass with a state is.
    pub(crate) fn whole_sizes(&self, rows: usize, length: usize) -> Sizes {
        let slice = self.slice_sizes(rows, length);
        Sizes { scratch: slice.scratch + padded(slice.state), ..slice }
    }

    fn slice_sizes(&self, rows: usize, length: usize) -> Sizes {
        let block = self.block.sizes(rows, length);
        let dims = self.dims(rows * length);
        let stream = padded(dims.tokens * dims.channels);
        let streams = if self.config.dropout > 0.0 { 3 } else { 2 };
        let scratch =
            streams * stream + padded(dims.tokens) + padded(block.scratch.max(norm::backward_scratch(dims)));
        Sizes { scratch, ..block }
    }

    /// Sizes of a pass in slices.
    pub(crate) fn sizes(&self, rows: usize, length: usize) -> LayerSizes {
        let step = rows_per_slice(rows, length);
        let slice = self.slice_sizes(step, length);
        let saved_slice = padded(slice.saved);
        LayerSizes { saved: rows.div_ceil(step.max(1)) * saved_slice, saved_slice, scratch: slice.scratch }
    }

    /// The saved activations of a slice.
    fn saved_at(&self, pass: &Pass<T>, activations: LayerActivations, index: usize) -> Range<usize> {
        let Layout { rows, length, .. } = pass.layout;
        let size = match pass.state {
            Some(_) => self.whole_sizes(rows, length).saved,
            None => self.sizes(rows, length).saved_slice,
        };
        let start = if activations == LayerActivations::Keep { index * size } else { 0 };
        start..start + size
    }

    /// y = x + block(norm(x)). `saved` has one part per slice for [`LayerActivations::Keep`], else one that they share.
    ///
    /// A pass with a state is one slice, in memory of [`Layer::whole_sizes`].
    pub(crate) fn forward(&self, mut pass: Pass<T>, activations: LayerActivations, x: &[T], y: &mut [T]) {
        for (index, (tokens, slice)) in slices(&pass).enumerate() {
            let channels = tokens.start * self.config.d_model..tokens.end * self.config.d_model;
            let (x, y) = (&x[channels.clone()], &mut y[channels]);
            let saved = self.saved_at(&pass, activations, index);
            let (block, buffers) = self.open(&mut pass, (tokens.start, slice), saved, x);
            phase(Phase::Norm, || copy(x, y));
            self.block_forward(block, buffers, y);
        }
    }

    /// x += block(norm(x)), keeping nothing for a backward pass.
    pub(crate) fn forward_in_place(&self, mut pass: Pass<T>, x: &mut [T]) {
        for (tokens, slice) in slices(&pass) {
            let x = &mut x[tokens.start * self.config.d_model..tokens.end * self.config.d_model];
            let saved = self.saved_at(&pass, LayerActivations::Discard, 0);
            let (block, buffers) = self.open(&mut pass, (tokens.start, slice), saved, x);
            self.block_forward(block, buffers, x);
        }
    }

    /// y += dropout(block(n)).
    fn block_forward(&self, block: Pass<T>, buffers: LayerBuffers<T>, y: &mut [T]) {
        match self.dropout(block.mode) {
            None => self.block.forward(block, buffers.n, y),
            Some(dropout) => {
                let out = buffers.dn;
                out.fill(T::ZERO);
                self.block.forward(block, buffers.n, out);
                dropout.run(out, y, Accumulate::Add);
            }
        }
    }

    /// The dropout of the block's output in a training pass.
    fn dropout(&self, mode: Mode) -> Option<Dropout> {
        mode.dropout(self.config.dropout, self.config.d_model)
    }

    /// From the gradient of the output, in `stream`, to that of the input, in its place. `saved` as the forward pass
    /// left it, or, for [`LayerActivations::Recompute`], room for one slice.
    pub(crate) fn backward(
        &self,
        mut pass: Pass<T>,
        activations: LayerActivations,
        x: &[T],
        stream: &mut [T],
        gradients: &mut Grads<T>,
    ) {
        for (index, (tokens, slice)) in slices(&pass).enumerate() {
            let channels = tokens.start * self.config.d_model..tokens.end * self.config.d_model;
            let (x, stream) = (&x[channels.clone()], &mut stream[channels]);
            let weight = pass.params.get(0);
            let saved = self.saved_at(&pass, activations, index);
            let (mut block, buffers) = self.open(&mut pass, (tokens.start, slice), saved, x);
            if activations == LayerActivations::Recompute {
                let state = block.state.as_deref().map(|state| {
                    buffers.state.copy_from_slice(state);
                    buffers.state
                });
                self.block.recompute(Pass { state, dstate: None, ..block.reborrow() }, buffers.n, buffers.dn);
            }
            let mut mixer = gradients.part(1..self.len());
            let dout = match self.dropout(block.mode) {
                None => &*stream,
                Some(dropout) => {
                    dropout.run(stream, buffers.dout, Accumulate::Overwrite);
                    &*buffers.dout
                }
            };
            self.block.backward(block.reborrow(), buffers.n, dout, buffers.dn, &mut mixer);
            let mut norm = gradients.part(0..1);
            let (dims, dweight) = (self.dims(slice.tokens()), norm.get(0));
            phase(Phase::Norm, || {
                let add = Accumulate::Add;
                let saved = norm::Saved { x, w: weight, r: buffers.r };
                norm::backward(dims, saved, buffers.dn, stream, add, dweight, block.scratch);
            });
        }
    }

    /// x += block(norm(x)) for one token per row.
    pub(crate) fn step(&self, mut pass: Pass<T>, x: &mut [T]) {
        let layout = pass.layout;
        let (block, buffers) = self.open(&mut pass, (0, layout), 0..0, x);
        let Sizes { scratch, .. } = self.block.sizes(layout.rows, layout.length);
        self.block.step(Pass { scratch: exactly(scratch, block.scratch), ..block }, buffers.n, x);
    }

    /// The block's pass over a slice that begins at a token, and the scratch around it, with norm(x) computed.
    fn open<'a>(
        &self,
        pass: &'a mut Pass<T>,
        (first_token, slice): (usize, Layout<'a>),
        saved: Range<usize>,
        x: &[T],
    ) -> (Pass<'a, T>, LayerBuffers<'a, T>) {
        let tokens = slice.tokens();
        let mut carver = Carver::new(&mut *pass.scratch);
        let stream = tokens * self.config.d_model;
        let state = pass.state.as_ref().map_or(0, |state| state.len());
        let (n, dn, r) = (carver.take(stream), carver.take(stream), carver.take(tokens));
        let dout = carver.take(if self.config.dropout > 0.0 { stream } else { 0 });
        let buffers = LayerBuffers { n, dn, r, dout, state: carver.take(state) };
        let weight = pass.params.get(0);
        phase(Phase::Norm, || norm::forward(self.dims(tokens), x, weight, buffers.n, buffers.r));
        let scratch = self.block.sizes(slice.rows, slice.length).scratch;
        let scratch = scratch.max(norm::backward_scratch(self.dims(tokens)));
        let block = Pass {
            params: pass.params.part(1..self.len()),
            layout: slice,
            mode: pass.mode.map(|key| key.later(first_token)),
            precision: pass.precision,
            state: pass.state.as_deref_mut(),
            dstate: pass.dstate.as_deref_mut(),
            saved: &mut pass.saved[saved],
            running: None,
            scratch: exactly(scratch, carver.rest()),
        };
        (block, buffers)
    }

    /// Number of tensors: the norm's weight and the block's.
    fn len(&self) -> usize {
        self.slots.len()
    }

    fn dims(&self, tokens: usize) -> norm::Dims {
        norm::Dims { tokens, channels: self.config.d_model, eps: self.config.eps }
    }
}

/// The first `len` elements of a scratch, no numbers in builds with assertions: a block that needs more scratch than it
/// declares, or that reads it before it writes it, fails in tests.
fn exactly<T: Scalar>(len: usize, scratch: &mut [T]) -> &mut [T] {
    let scratch = &mut scratch[..len];
    if cfg!(debug_assertions) {
        scratch.fill(T::from_f64(f64::NAN));
    }
    scratch
}

/// Scratch of a layer, divided.
struct LayerBuffers<'a, T> {
    /// norm(x) `[tokens, D]`.
    n: &'a mut [T],
    /// Gradient of norm(x) `[tokens, D]`.
    dn: &'a mut [T],
    /// Reciprocal root mean squares `[tokens]`.
    r: &'a mut [T],
    /// Gradient of the block's output under dropout `[tokens, D]`, else empty.
    dout: &'a mut [T],
    /// Room for the block's state, where the pass has one.
    state: &'a mut [T],
}
