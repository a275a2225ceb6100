//! The model: from a configuration to a stack of layers with its parameters, and the passes over it.
//!
//! `config` says what it is, `registry` makes its parts (`contexts` has what stems and heads are told), `stack` holds
//! them, `train` runs them forward and back and `infer` forward alone, in the memory that `memory` plans, `state` runs
//! them one token at a time; `expand` and `freeze` change what is there and what is trained, `names` translates names.

#![forbid(unsafe_code)]

pub(crate) mod buffers;
pub(crate) mod carried;
pub(crate) mod config;
mod contexts;
pub(crate) mod expand;
pub(crate) mod freeze;
pub(crate) mod infer;
mod limits;
pub(crate) mod memory;
pub(crate) mod names;
pub(crate) mod registry;
mod sizes;
pub(crate) mod stack;
pub(crate) mod state;
pub(crate) mod train;

pub use carried::{Carried, States};
pub use config::{ActivationMemory, Component, InputConfig, ModelConfig, Predicted, TargetConfig};
pub use contexts::{HeadContext, StemContext};
pub use expand::ExpandPlan;
pub use freeze::FreezeSpec;
pub use registry::{BlockContext, Registry};
pub use stack::Model;
pub use state::Stream;
