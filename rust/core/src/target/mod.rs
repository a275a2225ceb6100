//! Targets: one description of each kind, used by the loader, heads, metrics and bindings.
//!
//! A [`kinds::TargetKind`] is a choice of [`arrays::TargetArray`]s. From the two descriptions follow the columns that the
//! loader reads, the shapes that a batch is checked against, whether documents are pooled, what a head has to answer and
//! which metrics there are. The kinds of this crate are in [`kinds`]; a crate that brings one of its own declares it in the
//! same way and registers it under its name (`model::Registry::register_target`).
//!
//! ```
//! use ssm_hpn::target::kinds;
//! let joint = kinds::find("joint").unwrap();
//! assert!(joint.is_pooled());
//! assert_eq!(joint.columns().collect::<Vec<_>>(), ["label", "values"]);
//! ```

#![forbid(unsafe_code)]

pub mod arrays;
pub mod kinds;
mod values;

#[doc(hidden)]
pub use values::Widths;
pub use values::{Target, Values};
