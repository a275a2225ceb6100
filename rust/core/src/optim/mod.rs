//! The optimiser: a guard against values that are not finite, then clipping by the global norm, then AdamW, with the
//! learning rate of a [`Schedule`]. Each part is a function of its own; [`AdamW::apply`] is the three in a row.
//!
//! ```text
//! gradients of the sum of losses → guard (norm, finiteness) → clip (coefficient) → AdamW (one fused pass)
//!                                                               schedule (rate) ↗
//! ```

#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod adamw;
#[doc(hidden)]
pub mod clip;
#[doc(hidden)]
pub mod config;
mod fused;
#[doc(hidden)]
pub mod guard;
#[doc(hidden)]
pub mod plan;
mod require;
#[doc(hidden)]
pub mod schedule;

pub use adamw::{AdamW, Update};
pub use config::OptimConfig;
pub use guard::Counters;
pub use schedule::{Schedule, ScheduleKind};
