//! The work that is per token: one file per kernel with its formulas and shapes, the forward and under it its backward.
//!
//! Activations are row-major `[rows, length, channels]`, or columns of a wider matrix with a row stride. Every kernel
//! checks its slices once at the edge; inner loops may then assume. Parameter gradients accumulate, input gradients
//! overwrite, unless a kernel says otherwise.
//!
//! Documented, and kept as they are between releases, are the products and the types that a block or head of one's own
//! needs: [`matmul`], [`Layout`], [`Accumulate`], [`Columns`], [`RowWeights`]. The other kernels can be called, but may change.

pub(crate) mod blocks;
pub(crate) mod channels;
#[doc(hidden)]
pub mod conv1d;
pub(crate) mod dropout;
#[doc(hidden)]
pub mod embedding;
pub(crate) mod layout;
pub mod matmul;
#[doc(hidden)]
pub mod norm;
pub(crate) mod reverse;
mod row_weights;
#[doc(hidden)]
pub mod selective_scan;
pub(crate) mod silu;
#[doc(hidden)]
pub mod softmax;
#[doc(hidden)]
pub mod state_filters;
#[cfg(test)]
pub(crate) mod testing;
mod transpose;

#[doc(hidden)]
pub use channels::{Columns, ColumnsMut};
pub use layout::{Accumulate, Layout};
pub use row_weights::RowWeights;
