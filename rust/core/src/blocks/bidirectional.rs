//! Two blocks over the same input, one of them from the end of every document to its start.
//!
//! ```text
//! out += forward(n) + reverse(backward(reverse(n)))        reverse: the tokens of each document in the opposite order
//! dn   = forward'(dout) + reverse(backward'(reverse(dout)))
//! ```
//!
//! The tensors are those of the two blocks, under `forward.` and `backward.`. Every token sees its whole document, so the
//! block has no recurrent form.

#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::block::{Block, Sizes};
use super::part::{Named, PlacedBlock, together};
use crate::kernels::Accumulate;
use crate::kernels::blocks::add;
use crate::kernels::reverse::reverse;
use crate::numeric::Scalar;
use crate::params::{Grads, ParamSpec};
use crate::pass::{Capabilities, Carver, Pass, padded};

/// Two blocks that read in opposite directions.
pub(crate) struct Bidirectional<T> {
    /// The block that reads from the start, and the one that reads from the end.
    parts: [PlacedBlock<T>; 2],
    /// Width of the residual stream (D).
    d_model: usize,
}

/// Buffers of the block that reads from the end, `[M, D]` each, and the rest of the scratch.
struct Buffers<'a, T> {
    x: &'a mut [T],
    y: &'a mut [T],
    rest: &'a mut [T],
}

impl<T: Scalar> Bidirectional<T> {
    /// A block made of two blocks, named `forward` and `backward`, for a residual stream of width `d_model`.
    pub(crate) fn new(forward: Named<T>, backward: Named<T>, d_model: usize) -> Self {
        let forward = PlacedBlock::place(forward, 0, 0);
        let backward = PlacedBlock::place(backward, 1, forward.tensors().end);
        Self { parts: [forward, backward], d_model }
    }

    fn buffers<'a>(&self, tokens: usize, scratch: &'a mut [T]) -> Buffers<'a, T> {
        let mut carver = Carver::new(scratch);
        let (x, y) = (carver.take(tokens * self.d_model), carver.take(tokens * self.d_model));
        Buffers { x, y, rest: carver.rest() }
    }

    /// Elements that each of the two saves.
    fn saved<'a>(&self, pass: &Pass<'_, T>, saved: &'a mut [T]) -> [&'a mut [T]; 2] {
        let [forward, backward] =
            self.parts.each_ref().map(|part| part.block.sizes(pass.layout.rows, pass.layout.length).saved);
        let mut carver = Carver::new(saved);
        [carver.take(forward), carver.take(backward)]
    }
}

impl<T: Scalar> Block<T> for Bidirectional<T> {
    fn params(&self) -> Vec<ParamSpec> {
        self.parts.iter().flat_map(PlacedBlock::params).collect()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { causal: false, recurrent: false, ..together(&self.parts) }
    }

    fn sizes(&self, rows: usize, length: usize) -> Sizes {
        let stream = padded(rows * length * self.d_model);
        let [a, b] = self.parts.each_ref().map(|part| part.block.sizes(rows, length));
        let scratch = 2 * stream + a.scratch.max(b.scratch);
        Sizes { saved: padded(a.saved) + padded(b.saved), scratch, state: 0 }
    }

    fn forward(&self, mut pass: Pass<T>, x: &[T], y: &mut [T]) {
        let saved = std::mem::take(&mut pass.saved);
        let saved = self.saved(&pass, saved);
        let Buffers { x: rx, y: ry, rest } = self.buffers(pass.layout.tokens(), pass.scratch);
        let [forward, backward] = &self.parts;
        let [first, second] = saved;
        let mut whole = Pass { saved: first, scratch: rest, ..pass };
        forward.block.forward(forward.pass(whole.reborrow()), x, y);
        reverse(&whole.layout, self.d_model, x, rx, Accumulate::Overwrite);
        ry.fill(T::ZERO);
        whole.saved = second;
        let layout = whole.layout;
        backward.block.forward(backward.pass(whole), rx, ry);
        reverse(&layout, self.d_model, ry, y, Accumulate::Add);
    }

    fn recompute(&self, mut pass: Pass<T>, x: &[T], y: &mut [T]) {
        let saved = std::mem::take(&mut pass.saved);
        let [first, second] = self.saved(&pass, saved);
        let Buffers { x: rx, rest, .. } = self.buffers(pass.layout.tokens(), pass.scratch);
        let [forward, backward] = &self.parts;
        let mut whole = Pass { saved: first, scratch: rest, ..pass };
        forward.block.recompute(forward.pass(whole.reborrow()), x, y);
        reverse(&whole.layout, self.d_model, x, rx, Accumulate::Overwrite);
        whole.saved = second;
        backward.block.recompute(backward.pass(whole), rx, y);
    }

    fn backward(&self, mut pass: Pass<T>, x: &[T], dy: &[T], dx: &mut [T], dparams: &mut Grads<T>) {
        let saved = std::mem::take(&mut pass.saved);
        let [first, second] = self.saved(&pass, saved);
        let Buffers { x: rx, y: rdy, rest } = self.buffers(pass.layout.tokens(), pass.scratch);
        let [forward, backward] = &self.parts;
        let (layout, d_model) = (pass.layout, self.d_model);
        let mut whole = Pass { saved: second, scratch: rest, ..pass };
        reverse(&layout, d_model, x, rx, Accumulate::Overwrite);
        reverse(&layout, d_model, dy, rdy, Accumulate::Overwrite);
        let grads = &mut dparams.part(backward.tensors());
        // dx is used as a buffer until the other block writes it.
        backward.block.backward(backward.pass(whole.reborrow()), rx, rdy, dx, grads);
        reverse(&layout, d_model, dx, rdy, Accumulate::Overwrite);
        whole.saved = first;
        forward.block.backward(forward.pass(whole), x, dy, dx, &mut dparams.part(forward.tensors()));
        add(rdy, dx);
    }

    #[expect(
        clippy::unreachable,
        reason = "its capabilities say that it is not recurrent, which is checked before"
    )]
    fn step(&self, _: Pass<T>, _: &[T], _: &mut [T]) {
        unreachable!("a block without a recurrent form is not read token by token")
    }

    fn output_projections(&self) -> Vec<String> {
        self.parts.iter().flat_map(PlacedBlock::output_projections).collect()
    }

    fn hands_input_on(&self) -> bool {
        self.parts.iter().any(|part| part.block.hands_input_on())
    }

    fn resolved(&self) -> Option<Value> {
        let [forward, backward] = self.parts.each_ref().map(|part| &part.settings);
        Some(if forward == backward {
            json!({"block": forward})
        } else {
            json!({"block": forward, "backward": backward})
        })
    }
}
