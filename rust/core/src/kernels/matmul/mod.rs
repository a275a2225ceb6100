//! Matrix products of linear maps, forward and backward, on row-major matrices with a row stride.
//!
//! ```text
//! linear      y[M,N]  = x·wᵀ     y[m,n]  = Σ_k x[m,k]·w[n,k]
//! linear_dx   dx[M,K] = dy·w     dx[m,k] = Σ_n dy[m,n]·w[n,k]
//! linear_dw   dw[N,K] += dyᵀ·x   dw[n,k] += Σ_m dy[m,n]·x[m,k]
//! ```
//!
//! M tokens, K inputs, N outputs; w `[N, K]` as checkpoints store it.
//!
//! Bits: the tasks that threads share out follow from the shape alone, so results do not depend on the number of
//! threads. A row of y or dx does not depend on the other rows either, nor on their number: a sequence alone and inside
//! a batch agree to the bit. A sum over tokens is cut by their number, so dw of a batch and the sum of the dw of its
//! sequences differ by rounding, and so does [`linear_step`], which reads the weights in place.
//!
//! `benchmarks/records` says why these products are our own and not a library's.

mod bias;
mod blocked;
mod copies;
mod dw;
mod forward;
mod output;
mod precision;
mod split;
mod step;
mod tile;
mod view;

pub use dw::{linear_dw, linear_dw_scratch};
pub use forward::{linear, linear_dx};
pub use precision::Precision;
#[doc(hidden)]
pub use step::linear_step;
pub use view::{MatMut, MatRef};

pub(crate) use bias::{fill_rows, sum_rows, sum_rows_scratch};

#[cfg(test)]
mod tests;
