//! Blocks: what a layer computes between its norm and the residual sum.
//!
//! A new architecture is one file here, one in `kernels`, and one registration; a user of the crate brings one of their
//! own by implementing [`Block`].

#![forbid(unsafe_code)]

pub(crate) mod bidirectional;
mod block;
pub mod kinds;
pub(crate) mod layer;
pub(crate) mod mamba1;
pub(crate) mod mlp;
mod part;
pub(crate) mod residual;
pub(crate) mod sequential;
mod timed;

pub use block::{Block, Sizes};
#[doc(hidden)]
pub use mamba1::Mamba1Config;
pub use part::Named;

pub(crate) use bidirectional::Bidirectional;
pub(crate) use mamba1::Mamba1;
pub(crate) use mlp::Mlp;
pub(crate) use residual::Residual;
pub(crate) use sequential::Sequential;
