//! Blocks: what a layer computes between its norm and the residual sum.
//!
//! A new architecture is one file here, one in `kernels`, and one registration; a user of the crate brings one of their
//! own by implementing [`Block`].

#![forbid(unsafe_code)]

pub mod bidirectional;
mod block;
pub mod layer;
pub mod mamba1;
pub mod mlp;
mod part;
pub mod residual;
pub mod sequential;
mod timed;

pub use bidirectional::Bidirectional;
pub use block::{Block, Sizes};
pub use mamba1::{Mamba1, Mamba1Config};
pub use mlp::{Mlp, MlpConfig};
pub use part::Named;
pub use residual::Residual;
pub use sequential::Sequential;
