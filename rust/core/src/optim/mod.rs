//! The optimiser: a guard against values that are not finite, then clipping by the global norm, then AdamW, with the
//! learning rate of a [`Schedule`]. Each part is a function of its own; [`AdamW::apply`] is the three in a row.
//!
//! ```text
//! gradients of the sum of losses → guard (norm, finiteness) → clip (coefficient) → AdamW (one fused pass)
//!                                                               schedule (rate) ↗
//! ```

#![forbid(unsafe_code)]

pub(crate) mod adamw;
pub(crate) mod clip;
pub(crate) mod config;
mod fused;
pub(crate) mod guard;
pub(crate) mod plan;
mod require;
pub(crate) mod schedule;
pub(crate) mod shared;
pub(crate) mod shares;

#[doc(hidden)]
pub use adamw::{AdamW, Update};
pub use config::OptimConfig;
#[doc(hidden)]
pub use guard::Counters;
pub use schedule::{Schedule, ScheduleKind};
