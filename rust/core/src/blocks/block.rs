//! The trait of every block, and the sizes of its buffers.

#![forbid(unsafe_code)]

use crate::numeric::Scalar;
use crate::params::{Grads, ParamSpec};
use crate::pass::{Capabilities, Pass};

/// Elements that a block needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Kept from the forward pass for the backward one.
    pub saved: usize,
    /// Free to use during one call, contents undefined.
    pub scratch: usize,
    /// Recurrent state of all rows, carried between calls.
    pub state: usize,
}

/// A sequence mixer with its backward pass and its recurrent form.
pub trait Block<T: Scalar>: Send + Sync {
    /// The tensors, with ids relative to the block (`in_proj.weight`).
    fn params(&self) -> Vec<ParamSpec>;

    /// What a pass over `rows` rows of `length` tokens needs.
    fn sizes(&self, rows: usize, length: usize) -> Sizes;

    /// Adds the block's output for x `[rows, length, D]` to y (the residual stream).
    ///
    /// A state in the pass is the one before the first token and is replaced by the one after the last; without it, the
    /// sequence starts at zero.
    fn forward(&self, pass: Pass<T>, x: &[T], y: &mut [T]);

    /// Fills `saved` again, for a layer that kept only its input. `y` `[rows, length, D]` is free to use.
    ///
    /// The default is the whole forward pass; a block may leave out what only its output needs.
    fn recompute(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        y.fill(T::ZERO);
        self.forward(pass, x, y);
    }

    /// Gradients of a pass: overwrites dx, adds to the trainable parameters' gradients. The pass has the state that the
    /// forward pass started from, if there was one, and its gradient. `saved` is not read afterwards: gradients may take
    /// the places of what they belong to.
    fn backward(&self, pass: Pass<T>, x: &[T], dy: &[T], dx: &mut [T], dparams: &mut Grads<T>);

    /// One token per row, x `[rows, D]`: adds the output to y and updates the pass's state. Equal to `forward` on the
    /// whole sequence. Scratch as for `sizes(rows, 1)`; nothing is saved. Never called for a block that is not
    /// recurrent.
    fn step(&self, pass: Pass<T>, x: &[T], y: &mut [T]);

    /// Capabilities of the block; the default is all of them.
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    /// Relative ids of the tensors that, where all of them are zero, make the block add nothing (its input at most, if it
    /// hands that on): a layer grown into a trained model starts so. Every other tensor then still gets a gradient as soon
    /// as these have moved. Without any the block cannot be grown.
    fn output_projections(&self) -> Vec<String> {
        vec!["out_proj.weight".to_owned()]
    }

    /// Whether the output contains the input itself.
    fn hands_input_on(&self) -> bool {
        false
    }

    /// Settings of the block with every default resolved, where its configuration left some open.
    fn resolved(&self) -> Option<serde_json::Value> {
        None
    }
}
