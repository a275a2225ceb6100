//! The model: from a configuration to a stack of layers with its parameters, and the passes over it.
//!
//! [`config`] says what it is, [`registry`] makes its parts, [`stack`] holds them, [`train`] runs them forward and back
//! and [`infer`] forward alone, in the memory that [`memory`] plans, [`state`] runs them one token at a time; [`expand`] and
//! [`freeze`] change what is there and what is trained, [`names`] translates names.

#![forbid(unsafe_code)]

pub mod buffers;
pub mod carried;
pub mod config;
pub mod expand;
pub mod freeze;
pub mod infer;
mod limits;
pub mod memory;
pub mod names;
pub mod registry;
mod sizes;
pub mod stack;
pub mod state;
pub mod train;

pub use carried::{Carried, States};
pub use config::{ActivationMemory, Component, InputConfig, ModelConfig, Predicted, TargetConfig};
pub use expand::ExpandPlan;
pub use freeze::FreezeSpec;
pub use registry::{BlockContext, HeadContext, Registry, StemContext};
pub use stack::Model;
pub use state::Stream;
