//! A block with a norm before it and its input added to its output, for use in a chain.
//!
//! ```text
//! out += n + f(norm(n))        dn = dout + norm'(f'(dout))
//! ```
//!
//! The tensors are `norm.weight` `[D]` and those of f, under `block.`.

#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::block::{Block, Sizes};
use super::part::{Named, PlacedBlock};
use crate::kernels::blocks::{add, copy};
use crate::kernels::{Accumulate, norm};
use crate::numeric::Scalar;
use crate::params::{Grads, Init, ParamSpec};
use crate::pass::{Capabilities, Carver, Pass, padded};

/// n + f(norm(n)).
pub(crate) struct Residual<T> {
    part: PlacedBlock<T>,
    /// Width of the residual stream (D).
    d_model: usize,
    eps: f64,
}

/// Scratch of the norm, and the rest of the scratch.
struct Buffers<'a, T> {
    /// norm(n) `[M, D]`.
    normed: &'a mut [T],
    /// Gradient of norm(n) `[M, D]`.
    dnormed: &'a mut [T],
    /// Reciprocal root mean squares `[M]`.
    r: &'a mut [T],
    rest: &'a mut [T],
}

impl<T: Scalar> Residual<T> {
    /// Wraps a block, named `block`, for a residual stream of width `d_model`; the norm adds `eps` to the mean square.
    pub(crate) fn new(part: Named<T>, d_model: usize, eps: f64) -> Self {
        Self { part: PlacedBlock::place(part, 0, 1), d_model, eps }
    }

    fn dims(&self, tokens: usize) -> norm::Dims {
        norm::Dims { tokens, channels: self.d_model, eps: self.eps }
    }

    /// The block's pass and norm(n).
    fn open<'a>(&self, pass: Pass<'a, T>, x: &[T]) -> (Pass<'a, T>, Buffers<'a, T>) {
        let tokens = pass.layout.tokens();
        let mut carver = Carver::new(pass.scratch);
        let (normed, dnormed) = (carver.take(tokens * self.d_model), carver.take(tokens * self.d_model));
        let r = carver.take(tokens);
        norm::forward(self.dims(tokens), x, pass.params.get(0), normed, r);
        let buffers = Buffers { normed, dnormed, r, rest: carver.rest() };
        (self.part.pass(Pass { scratch: &mut [], ..pass }), buffers)
    }
}

impl<T: Scalar> Block<T> for Residual<T> {
    fn params(&self) -> Vec<ParamSpec> {
        let norm = ParamSpec::new("norm.weight", [self.d_model], Init::Ones).no_decay();
        std::iter::once(norm).chain(self.part.params()).collect()
    }

    fn capabilities(&self) -> Capabilities {
        self.part.block.capabilities()
    }

    fn sizes(&self, rows: usize, length: usize) -> Sizes {
        let (block, tokens) = (self.part.block.sizes(rows, length), rows * length);
        let rest = block.scratch.max(norm::backward_scratch(self.dims(tokens)));
        Sizes { scratch: 2 * padded(tokens * self.d_model) + padded(tokens) + rest, ..block }
    }

    fn forward(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        let (block, Buffers { normed, rest, .. }) = self.open(pass, x);
        add(x, y);
        self.part.block.forward(Pass { scratch: rest, ..block }, normed, y);
    }

    fn recompute(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        let (block, Buffers { normed, rest, .. }) = self.open(pass, x);
        self.part.block.recompute(Pass { scratch: rest, ..block }, normed, y);
    }

    fn backward(&self, pass: Pass<T>, x: &[T], dy: &[T], dx: &mut [T], dparams: &mut Grads<T>) {
        let (weight, dims) = (pass.params.get(0), self.dims(pass.layout.tokens()));
        let (block, Buffers { normed, dnormed, r, rest }) = self.open(pass, x);
        let grads = &mut dparams.part(self.part.tensors());
        self.part.block.backward(Pass { scratch: &mut *rest, ..block }, normed, dy, dnormed, grads);
        copy(dy, dx);
        let saved = norm::Saved { x, w: weight, r };
        norm::backward(dims, saved, dnormed, dx, Accumulate::Add, dparams.get(0), rest);
    }

    fn step(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        let (block, Buffers { normed, rest, .. }) = self.open(pass, x);
        add(x, y);
        self.part.block.step(Pass { scratch: rest, ..block }, normed, y);
    }

    fn output_projections(&self) -> Vec<String> {
        self.part.output_projections().collect()
    }

    fn hands_input_on(&self) -> bool {
        true
    }

    fn resolved(&self) -> Option<Value> {
        Some(json!({"block": self.part.settings}))
    }
}
