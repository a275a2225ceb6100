//! All parameters of a model: one declarative table, one aligned buffer per kind of value.
//!
//! `table` names the tensors and places them, `arena` holds the numbers and lends views, [`init`] fills them,
//! `masks` says which are trained and which decay.

#![forbid(unsafe_code)]

pub(crate) mod arena;
#[doc(hidden)]
pub mod init;
pub(crate) mod masks;
pub(crate) mod table;

#[doc(hidden)]
pub use arena::Arena;
pub(crate) use arena::aligned_zeros;
pub use arena::{Grads, Params, ParamsMut};
pub use init::{Init, Maker};
#[doc(hidden)]
pub use masks::TensorMasks;
pub use table::ParamSpec;
#[doc(hidden)]
pub use table::{Entry, Group, Slot, Table};
