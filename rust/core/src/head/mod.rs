//! Heads: maps from features to scores, with their loss and gradients.
//!
//! [`HeadConfig`] says which, `build` makes it; a user of the crate brings one of their own by implementing [`Head`].
//! `pooling` makes one feature of a document's hidden states before a head sees them.

#![forbid(unsafe_code)]

pub(crate) mod config;
pub mod kinds;
pub(crate) mod loss_config;
pub(crate) mod losses;
pub(crate) mod pooling;
#[doc(hidden)]
pub mod prototypes;
pub(crate) mod rows;

mod build;
mod cotangent;
mod interface;
mod linear_head;
mod operated_joint;
mod predictions;
mod prototype_head;
mod statistics;
#[cfg(test)]
mod tests;

#[doc(hidden)]
pub use build::{build, place};
#[doc(hidden)]
pub use config::{HeadConfig, LinearConfig, Placement, PrototypeConfig};
pub use interface::{Accuracy, Head, HeadReport, Targets, WeightedTargets};
#[doc(hidden)]
pub use loss_config::LossConfig;
pub use pooling::Pooling;
pub use predictions::{Predictions, Wanted};
pub use prototypes::ClassVectors;

pub(crate) use config::Expected;
pub(crate) use prototype_head::{PROJECTION, PROTOTYPES};
