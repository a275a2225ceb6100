//! All parameters of a model: one declarative table, one aligned buffer per kind of value.
//!
//! [`table`] names the tensors and places them, [`arena`] holds the numbers and lends views, [`init`] fills them,
//! [`masks`] says which are trained and which decay.

#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod arena;
#[doc(hidden)]
pub mod init;
#[doc(hidden)]
pub mod masks;
#[doc(hidden)]
pub mod table;

pub(crate) use arena::aligned_zeros;
pub use arena::{Arena, Grads, Params};
pub use init::Init;
pub use masks::TensorMasks;
pub use table::{Entry, Group, ParamSpec, Slot, Table};
