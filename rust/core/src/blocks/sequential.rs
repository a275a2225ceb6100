//! A chain of blocks, each of which reads the output of the one before.
//!
//! ```text
//! h_0 = n      h_i = f_i(h_{i-1})      out += h_k
//! ```
//!
//! The tensors are those of the blocks, under `0.`, `1.`, …. Saved are h_1 … h_{k-1} and what each block saves. The
//! state is the states of the blocks, concatenated.

#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::block::{Block, Sizes};
use super::part::{Named, PlacedBlock, together};
use crate::numeric::Scalar;
use crate::params::{Grads, ParamSpec};
use crate::pass::{Capabilities, Carver, Pass, padded};

/// A chain of blocks.
pub(crate) struct Sequential<T> {
    parts: Vec<PlacedBlock<T>>,
    /// Width of the residual stream (D).
    d_model: usize,
}

impl<T: Scalar> Sequential<T> {
    /// A chain of at least one block for a residual stream of width `d_model`; tensors are named by the index of the
    /// block.
    ///
    /// # Panics
    /// Without a block.
    pub(crate) fn new(parts: Vec<Named<T>>, d_model: usize) -> Self {
        assert!(!parts.is_empty(), "a chain has at least one block");
        let mut first = 0;
        let place = |(index, part)| {
            let part = PlacedBlock::place(part, index, first);
            first = part.tensors().end;
            part
        };
        Self { parts: parts.into_iter().enumerate().map(place).collect(), d_model }
    }

    /// Elements of h_1 … h_{k-1}.
    fn streams_len(&self, tokens: usize) -> usize {
        (self.parts.len() - 1) * padded(tokens * self.d_model)
    }

    /// The pass of a block, with its part of the state and of what is saved; of the latter `whole` has that of all blocks.
    fn pass<'a>(&self, whole: &'a mut Pass<T>, index: usize) -> Pass<'a, T> {
        let (rows, length) = (whole.layout.rows, whole.layout.length);
        let sizes = |part: &PlacedBlock<T>| part.block.sizes(rows, length);
        let before = |size: fn(Sizes) -> usize| -> usize {
            self.parts[..index].iter().map(|part| size(sizes(part))).sum()
        };
        let Sizes { saved, state, .. } = sizes(&self.parts[index]);
        let (first, from) = (before(|sizes| padded(sizes.saved)), before(|sizes| sizes.state));
        let part = Pass {
            state: whole.state.as_deref_mut().map(|x| &mut x[from..from + state]),
            dstate: whole.dstate.as_deref_mut().map(|x| &mut x[from..from + state]),
            saved: whole.saved.get_mut(first..first + saved).unwrap_or_default(),
            scratch: whole.scratch,
            precision: whole.precision,
            ..Pass::new(whole.params, whole.layout, whole.mode, &mut [])
        };
        self.parts[index].pass(part)
    }

    /// Calls `run(index, pass, h_{i-1}, h_i)` for every block, h_i zero or y; `streams` has room for the others.
    fn forward_with(
        &self,
        mut whole: Pass<T>,
        streams: &mut [T],
        x: &[T],
        y: &mut [T],
        run: impl Fn(usize, Pass<T>, &[T], &mut [T]),
    ) {
        let len = whole.layout.tokens() * self.d_model;
        for index in 0..self.parts.len() {
            let (before, after) = streams.split_at_mut(index * padded(len));
            let h = if index == 0 { x } else { &before[(index - 1) * padded(len)..][..len] };
            let pass = self.pass(&mut whole, index);
            if index + 1 == self.parts.len() {
                run(index, pass, h, y);
            } else {
                let next = &mut after[..len];
                next.fill(T::ZERO);
                run(index, pass, h, next);
            }
        }
    }
}

impl<T: Scalar> Block<T> for Sequential<T> {
    fn params(&self) -> Vec<ParamSpec> {
        self.parts.iter().flat_map(PlacedBlock::params).collect()
    }

    fn capabilities(&self) -> Capabilities {
        together(&self.parts)
    }

    fn sizes(&self, rows: usize, length: usize) -> Sizes {
        let (stream, streams) = (padded(rows * length * self.d_model), self.streams_len(rows * length));
        let sum = |all: Sizes, part: &PlacedBlock<T>| {
            let sizes = part.block.sizes(rows, length);
            Sizes {
                saved: all.saved + padded(sizes.saved),
                scratch: all.scratch.max(sizes.scratch),
                state: all.state + sizes.state,
            }
        };
        let all = self.parts.iter().fold(Sizes::default(), sum);
        Sizes { saved: streams + all.saved, scratch: streams.max(2 * stream) + all.scratch, ..all }
    }

    fn forward(&self, mut pass: Pass<T>, x: &[T], y: &mut [T]) {
        let saved = std::mem::take(&mut pass.saved);
        let (streams, saved) = saved.split_at_mut(self.streams_len(pass.layout.tokens()));
        self.forward_with(Pass { saved, ..pass }, streams, x, y, |index, pass, h, next| {
            self.parts[index].block.forward(pass, h, next);
        });
    }

    fn recompute(&self, mut pass: Pass<T>, x: &[T], y: &mut [T]) {
        let saved = std::mem::take(&mut pass.saved);
        let (streams, saved) = saved.split_at_mut(self.streams_len(pass.layout.tokens()));
        self.forward_with(Pass { saved, ..pass }, streams, x, y, |index, pass, h, next| {
            let block = &self.parts[index].block;
            if index + 1 == self.parts.len() {
                block.recompute(pass, h, next);
            } else {
                block.forward(pass, h, next);
            }
        });
    }

    fn backward(&self, mut pass: Pass<T>, x: &[T], dy: &[T], dx: &mut [T], dparams: &mut Grads<T>) {
        let len = pass.layout.tokens() * self.d_model;
        let saved = std::mem::take(&mut pass.saved);
        let (streams, saved) = saved.split_at_mut(self.streams_len(pass.layout.tokens()));
        let mut carver = Carver::new(pass.scratch);
        let (mut given, mut found) = (carver.take(len), carver.take(len));
        let mut whole = Pass { saved, scratch: carver.rest(), ..pass };
        for (index, part) in self.parts.iter().enumerate().rev() {
            let h = if index == 0 { x } else { &streams[(index - 1) * padded(len)..][..len] };
            let dh = if index + 1 == self.parts.len() { dy } else { &*given };
            let dh_before = if index == 0 { &mut *dx } else { &mut *found };
            let grads = &mut dparams.part(part.tensors());
            part.block.backward(self.pass(&mut whole, index), h, dh, dh_before, grads);
            std::mem::swap(&mut given, &mut found);
        }
    }

    fn step(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        let (streams, scratch) = pass.scratch.split_at_mut(self.streams_len(pass.layout.tokens()));
        self.forward_with(Pass { scratch, ..pass }, streams, x, y, |index, pass, h, next| {
            self.parts[index].block.step(pass, h, next);
        });
    }

    /// The output projections of the last block, and of those before it while a block adds its input to its output.
    fn output_projections(&self) -> Vec<String> {
        let last = self.parts.iter().rposition(|part| !part.block.hands_input_on());
        last.map_or(Vec::new(), |last| {
            self.parts[last..].iter().flat_map(PlacedBlock::output_projections).collect()
        })
    }

    fn hands_input_on(&self) -> bool {
        self.parts.iter().all(|part| part.block.hands_input_on())
    }

    fn resolved(&self) -> Option<Value> {
        let blocks: Vec<&Value> = self.parts.iter().map(|part| &part.settings).collect();
        Some(json!({"blocks": blocks}))
    }
}
