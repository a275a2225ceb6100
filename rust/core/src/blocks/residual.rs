//! A layer: `x + block(norm(x))`, forward, backward and one token at a time.
//!
//! ```text
//! y  = x + block(n)            n = norm(x)
//! dx = dy + norm'(dn)          dn = block'(dy)
//! ```
//!
//! The gradient of the residual stream is one buffer: dy when the backward pass comes to a layer, dx when it leaves.

#![forbid(unsafe_code)]

use super::workspace::{Carver, padded};
use super::{Block, Sizes};
use crate::error::{Error, Result};
use crate::kernels::{Accumulate, Layout, norm};
use crate::numeric::Scalar;
use crate::params::{Grads, Group, Init, ParamSpec, Params, Slot, Table};

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

    /// What a pass needs.
    pub fn sizes(&self, rows: usize, length: usize) -> Sizes {
        let block = self.block.sizes(rows, length);
        let dims = self.dims(rows * length);
        let stream = padded(dims.tokens * dims.channels);
        let scratch =
            2 * stream + padded(dims.tokens) + padded(block.scratch.max(norm::backward_scratch(dims)));
        Sizes { scratch, ..block }
    }

    /// y = x + block(norm(x)), with what the backward pass needs in `saved`.
    pub fn forward(
        &self,
        numbers: Numbers<T>,
        x: &[T],
        layout: &Layout,
        saved: &mut [T],
        scratch: &mut [T],
        y: &mut [T],
    ) {
        let mut parts = self.carve(layout.tokens(), scratch);
        self.normalise(numbers, x, &mut parts);
        y.copy_from_slice(x);
        self.block.forward(&self.mixer(numbers), parts.n, layout, None, saved, parts.rest, y);
    }

    /// x += block(norm(x)), keeping nothing for a backward pass. With `state`, the sequence goes on from it.
    pub fn forward_in_place(
        &self,
        numbers: Numbers<T>,
        x: &mut [T],
        layout: &Layout,
        state: Option<&mut [T]>,
        saved: &mut [T],
        scratch: &mut [T],
    ) {
        let mut parts = self.carve(layout.tokens(), scratch);
        self.normalise(numbers, x, &mut parts);
        self.block.forward(&self.mixer(numbers), parts.n, layout, state, saved, parts.rest, x);
    }

    /// Fills `saved` again from the input.
    pub fn recompute(
        &self,
        numbers: Numbers<T>,
        x: &[T],
        layout: &Layout,
        saved: &mut [T],
        scratch: &mut [T],
    ) {
        let mut parts = self.carve(layout.tokens(), scratch);
        self.normalise(numbers, x, &mut parts);
        self.block.recompute(&self.mixer(numbers), parts.n, layout, saved, parts.rest, parts.dn);
    }

    /// From the gradient of the output, in `stream`, to that of the input, in its place.
    #[expect(clippy::too_many_arguments, reason = "every buffer of the pass is named")]
    pub fn backward(
        &self,
        numbers: Numbers<T>,
        x: &[T],
        layout: &Layout,
        saved: &[T],
        scratch: &mut [T],
        stream: &mut [T],
        gradients: &mut Gradients<T>,
    ) {
        let mut parts = self.carve(layout.tokens(), scratch);
        self.normalise(numbers, x, &mut parts);
        let table = numbers.table;
        let mut mixer = Grads::new(gradients.data, table, &self.slots[1..], gradients.trainable);
        self.block.backward(
            &self.mixer(numbers),
            parts.n,
            layout,
            saved,
            stream,
            parts.rest,
            parts.dn,
            &mut mixer,
        );
        let mut norm = Grads::new(gradients.data, table, &self.slots[..1], gradients.trainable);
        norm::backward(
            self.dims(layout.tokens()),
            x,
            self.norm_weight(numbers),
            parts.r,
            parts.dn,
            stream,
            Accumulate::Add,
            norm.get(0),
            parts.rest,
        );
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
        norm::forward(self.dims(parts.r.len()), x, self.norm_weight(numbers), parts.n, parts.r);
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
