//! A layer: `x + block(norm(x))`, forward, backward and one token at a time.
//!
//! ```text
//! y  = x + block(n)            n = norm(x)
//! dx = dy + norm'(dn)          dn = block'(dy)
//! ```
//!
//! The gradient of the residual stream is one buffer: dy when the backward pass comes to a layer, dx when it leaves.
//!
//! Rows do not see each other, so a layer takes them in slices of about [`SLICE_TOKENS`] tokens: what lives only within
//! a slice stays small and near the core, and enough tokens are left for the products to run at full speed. Slices follow
//! from the shape alone; gradients add up in their order.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::workspace::{Carver, padded};
use super::{Block, Sizes};
use crate::error::{Error, Result};
use crate::kernels::{Accumulate, Layout, copy, norm};
use crate::numeric::Scalar;
use crate::params::{Grads, Group, Init, ParamSpec, Params, Slot, Table};
use crate::profile::{Phase, phase};

/// Where a layer's parameters are.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a, T> {
    /// All parameters of the model.
    pub data: &'a [T],
    /// Their table.
    pub table: &'a Table,
}

/// Gradients of all parameters, those of frozen tensors left alone.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// All gradients of the model.
    pub data: &'a mut [T],
    /// By slot.
    pub trainable: &'a [bool],
}

/// Tokens of a slice, more or less: whole rows, at least one.
///
/// Measured on one thread (AVX-512, D 256, 6 layers, 8 rows of 512 tokens): a step takes as long as one without slices, in
/// 40 MB less; with recomputation 97 % of the time, in 63 MB less. 2048 tie in time, 512 take a little more.
pub const SLICE_TOKENS: usize = 1024;

/// What is kept of a layer's forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Nothing: no gradient comes here.
    Through,
    /// Its input; the forward pass is repeated in the backward one.
    Recompute,
    /// Its input and everything that the block saves.
    Keep,
}

/// Elements that a layer needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerSizes {
    /// What the block saves of all rows.
    pub saved: usize,
    /// What it saves of one slice.
    pub saved_slice: usize,
    /// Free to use during one call.
    pub scratch: usize,
}

/// Rows of a slice, for slices of nearly equal size.
fn rows_per_slice(rows: usize, length: usize) -> usize {
    let least = SLICE_TOKENS.div_ceil(length.max(1)).clamp(1, rows.max(1));
    rows.div_ceil((rows / least).max(1))
}

/// The slices of a pass: the rows and tokens of each.
fn slices<'a>(layout: &Layout<'a>) -> impl Iterator<Item = (Range<usize>, Layout<'a>)> + use<'a> {
    let Layout { rows, length, starts } = *layout;
    let step = rows_per_slice(rows, length);
    (0..rows).step_by(step.max(1)).map(move |row| {
        let count = step.min(rows - row);
        let tokens = row * length..(row + count) * length;
        let starts = starts.map(|starts| &starts[tokens.clone()]);
        (tokens, Layout { rows: count, length, starts })
    })
}

/// A block with its norm.
pub struct Residual<T> {
    block: Box<dyn Block<T>>,
    d_model: usize,
    eps: f64,
    /// The norm's weight, then the block's tensors.
    slots: Vec<Slot>,
}

impl<T: Scalar> Residual<T> {
    /// Declares the tensors of layer `index`.
    pub fn new(
        block: Box<dyn Block<T>>,
        (d_model, eps): (usize, f64),
        index: usize,
        table: &mut Table,
    ) -> Result<Self> {
        let closing = block.closing().to_owned();
        let specs = block.params();
        if !specs.iter().any(|spec| spec.id == closing) {
            return Err(Error::shape("block", format!("a tensor {closing} that closes it"), "none"));
        }
        let norm = ParamSpec::new("norm.weight", [d_model], Init::Ones).no_decay();
        let mut slots = table.declare(&format!("layers.{index}."), Group::Layer(index), vec![norm])?;
        slots.extend(table.declare(&format!("layers.{index}.mixer."), Group::Layer(index), specs)?);
        Ok(Self { block, d_model, eps, slots })
    }

    /// The layer's tensors.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The block.
    pub fn block(&self) -> &dyn Block<T> {
        &*self.block
    }

    /// Id, relative to the layer, of the tensor that is zero while the layer adds nothing.
    pub fn closing(&self) -> String {
        format!("mixer.{}", self.block.closing())
    }

    /// What a pass over all rows at once needs, as one that goes on from a state is.
    pub fn whole_sizes(&self, rows: usize, length: usize) -> Sizes {
        let block = self.block.sizes(rows, length);
        let dims = self.dims(rows * length);
        let stream = padded(dims.tokens * dims.channels);
        let scratch =
            2 * stream + padded(dims.tokens) + padded(block.scratch.max(norm::backward_scratch(dims)));
        Sizes { scratch, ..block }
    }

    /// What a pass in slices needs.
    pub fn sizes(&self, rows: usize, length: usize) -> LayerSizes {
        let step = rows_per_slice(rows, length);
        let slice = self.whole_sizes(step, length);
        let saved_slice = padded(slice.saved);
        LayerSizes { saved: rows.div_ceil(step.max(1)) * saved_slice, saved_slice, scratch: slice.scratch }
    }

    /// Where the saved activations of a slice lie.
    fn saved_at(&self, layout: &Layout, storage: Storage, index: usize) -> Range<usize> {
        let size = self.sizes(layout.rows, layout.length).saved_slice;
        let start = if storage == Storage::Keep { index * size } else { 0 };
        start..start + size
    }

    /// y = x + block(norm(x)). `saved` has one part per slice for [`Storage::Keep`], else one that they share.
    #[expect(clippy::too_many_arguments, reason = "every buffer of the pass is named")]
    pub fn forward(
        &self,
        numbers: Numbers<T>,
        x: &[T],
        layout: &Layout,
        storage: Storage,
        saved: &mut [T],
        scratch: &mut [T],
        y: &mut [T],
    ) {
        for (index, (tokens, slice)) in slices(layout).enumerate() {
            let channels = tokens.start * self.d_model..tokens.end * self.d_model;
            let (x, y) = (&x[channels.clone()], &mut y[channels]);
            let mut parts = self.carve(slice.tokens(), scratch);
            self.normalise(numbers, x, &mut parts);
            phase(Phase::Norm, || copy(x, y));
            let saved = &mut saved[self.saved_at(layout, storage, index)];
            self.block.forward(&self.mixer(numbers), parts.n, &slice, None, saved, parts.rest, y);
        }
    }

    /// x += block(norm(x)), keeping nothing for a backward pass.
    pub fn forward_in_place(
        &self,
        numbers: Numbers<T>,
        x: &mut [T],
        layout: &Layout,
        saved: &mut [T],
        scratch: &mut [T],
    ) {
        for (tokens, slice) in slices(layout) {
            let x = &mut x[tokens.start * self.d_model..tokens.end * self.d_model];
            let mut parts = self.carve(slice.tokens(), scratch);
            self.normalise(numbers, x, &mut parts);
            self.block.forward(&self.mixer(numbers), parts.n, &slice, None, saved, parts.rest, x);
        }
    }

    /// As [`Residual::forward_in_place`] for a sequence that goes on from a state, in memory of
    /// [`Residual::whole_sizes`].
    pub fn forward_from(
        &self,
        numbers: Numbers<T>,
        x: &mut [T],
        layout: &Layout,
        state: &mut [T],
        saved: &mut [T],
        scratch: &mut [T],
    ) {
        let mut parts = self.carve(layout.tokens(), scratch);
        self.normalise(numbers, x, &mut parts);
        self.block.forward(&self.mixer(numbers), parts.n, layout, Some(state), saved, parts.rest, x);
    }

    /// From the gradient of the output, in `stream`, to that of the input, in its place. `saved` as the forward pass
    /// left it, or, for [`Storage::Recompute`], room for one slice.
    #[expect(clippy::too_many_arguments, reason = "every buffer of the pass is named")]
    pub fn backward(
        &self,
        numbers: Numbers<T>,
        x: &[T],
        layout: &Layout,
        storage: Storage,
        saved: &mut [T],
        scratch: &mut [T],
        stream: &mut [T],
        gradients: &mut Gradients<T>,
    ) {
        for (index, (tokens, slice)) in slices(layout).enumerate() {
            let channels = tokens.start * self.d_model..tokens.end * self.d_model;
            let (x, stream) = (&x[channels.clone()], &mut stream[channels]);
            let saved = &mut saved[self.saved_at(layout, storage, index)];
            let mut parts = self.carve(slice.tokens(), scratch);
            self.normalise(numbers, x, &mut parts);
            if storage == Storage::Recompute {
                self.block.recompute(&self.mixer(numbers), parts.n, &slice, saved, parts.rest, parts.dn);
            }
            self.slice_backward(numbers, x, &slice, saved, parts, stream, gradients);
        }
    }

    /// One slice of the backward pass, its norm computed.
    #[expect(clippy::too_many_arguments, reason = "every buffer of the pass is named")]
    fn slice_backward(
        &self,
        numbers: Numbers<T>,
        x: &[T],
        layout: &Layout,
        saved: &mut [T],
        parts: Parts<T>,
        stream: &mut [T],
        gradients: &mut Gradients<T>,
    ) {
        let Parts { n, dn, r, rest } = parts;
        let (table, params) = (numbers.table, self.mixer(numbers));
        let mut mixer = Grads::new(gradients.data, table, &self.slots[1..], gradients.trainable);
        self.block.backward(&params, n, layout, saved, stream, rest, dn, &mut mixer);
        let mut norm = Grads::new(gradients.data, table, &self.slots[..1], gradients.trainable);
        let (dims, weight) = (self.dims(layout.tokens()), self.norm_weight(numbers));
        let dweight = norm.get(0);
        phase(Phase::Norm, || {
            norm::backward(dims, x, weight, r, dn, stream, Accumulate::Add, dweight, rest);
        });
    }

    /// x += block(norm(x)) for one token per row.
    pub fn step(&self, numbers: Numbers<T>, x: &mut [T], state: &mut [T], scratch: &mut [T]) {
        let mut parts = self.carve(x.len() / self.d_model, scratch);
        self.normalise(numbers, x, &mut parts);
        self.block.step(&self.mixer(numbers), parts.n, state, parts.rest, x);
    }

    fn dims(&self, tokens: usize) -> norm::Dims {
        norm::Dims { tokens, channels: self.d_model, eps: self.eps }
    }

    fn mixer<'a>(&'a self, numbers: Numbers<'a, T>) -> Params<'a, T> {
        Params::new(numbers.data, numbers.table, &self.slots[1..])
    }

    fn norm_weight<'a>(&'a self, numbers: Numbers<'a, T>) -> &'a [T] {
        Params::new(numbers.data, numbers.table, &self.slots).get(0)
    }

    fn normalise(&self, numbers: Numbers<T>, x: &[T], parts: &mut Parts<T>) {
        phase(Phase::Norm, || {
            norm::forward(self.dims(parts.r.len()), x, self.norm_weight(numbers), parts.n, parts.r);
        });
    }

    fn carve<'a>(&self, tokens: usize, scratch: &'a mut [T]) -> Parts<'a, T> {
        let mut carver = Carver::new(scratch);
        let stream = tokens * self.d_model;
        let (n, dn, r) = (carver.take(stream), carver.take(stream), carver.take(tokens));
        Parts { n, dn, r, rest: carver.rest() }
    }
}

/// Scratch of a layer.
struct Parts<'a, T> {
    /// norm(x) `[tokens, D]`.
    n: &'a mut [T],
    /// Its gradient.
    dn: &'a mut [T],
    /// Reciprocal root mean squares `[tokens]`.
    r: &'a mut [T],
    /// For the block.
    rest: &'a mut [T],
}
