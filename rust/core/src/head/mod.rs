//! Heads: from features to a loss and back.
//!
//! [`HeadConfig`] says which, [`build`] makes it; a user of the crate brings one of their own by implementing [`Head`].
//! [`pooling`] makes one feature of a document's hidden states before a head sees them.

#![forbid(unsafe_code)]

pub mod config;
pub mod losses;
pub mod pooling;
pub mod prototypes;
pub mod rows;

mod build;
mod cotangent;
mod interface;
mod linear_head;
mod predictions;
mod prototype_head;
#[cfg(test)]
mod tests;

pub use build::build;
pub use config::{Expected, HeadConfig};
pub use cotangent::CotangentHead;
pub use interface::{Accuracy, Head, HeadReport, Targets};
pub use linear_head::LinearHead;
pub use pooling::Pooling;
pub use predictions::{Predictions, Wanted};
pub use prototype_head::PrototypeHead;
