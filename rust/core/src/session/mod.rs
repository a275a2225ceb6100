//! A session: a model with its parameters, gradients and optimiser, and all operations on them.
//!
//! ```text
//! forward_backward(batch) … forward_backward(batch)   gradients of the SUM of losses add up, in the order of the calls
//! apply()                                             divides by the number of targets of all of them, then updates
//! ```
//!
//! Micro-batches of different sizes so give the gradient of the mean over all targets, and the same micro-batches give
//! the same bits wherever they were computed. Batches are checked before anything is touched. Every call runs on the
//! session's own threads, and its result has the same bits for any number of them.

#![forbid(unsafe_code)]

mod bounds;
mod grow;
mod infer;
mod overlap;
mod parameters;
mod pending;
mod profile;
mod report;
mod save;
mod statistics;
mod training;
mod virtual_ranks;
mod workspaces;

pub use bounds::bounds;
pub use infer::Sampling;
pub use parameters::ParameterRow;
pub use profile::PEAK_SIDE;
pub use report::{ApplyReport, EvalReport, StepReport};
pub use save::{Restored, SessionCopy};
pub use training::Session;
