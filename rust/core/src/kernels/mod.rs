//! The work that is per token: one file per kernel with its formulas and shapes, the forward and under it its backward.
//!
//! Activations are row-major `[rows, length, channels]`, or columns of a wider matrix with a row stride. Every kernel
//! checks its slices once at the edge; inner loops may then assume. Parameter gradients accumulate, input gradients
//! overwrite, unless a kernel says otherwise.

pub(crate) mod blocks;
pub mod channels;
pub mod conv1d;
pub mod embedding;
pub mod layout;
pub mod matmul;
pub mod norm;
pub mod selective_scan;
pub mod softmax;
#[cfg(test)]
pub(crate) mod testing;
mod transpose;

pub use channels::{Columns, ColumnsMut};
pub use layout::{Accumulate, Layout};
