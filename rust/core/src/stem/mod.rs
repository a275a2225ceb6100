//! Stems: from the input of a batch to the first hidden states.
//!
//! A user of the crate adds one of their own by implementing [`Stem`]. A stem may give fewer tokens than it reads: then
//! every document is shortened by itself, and the documents of a row stand one behind the other again.

#![forbid(unsafe_code)]

mod embedding;
pub(crate) mod filters;
mod identity;
mod interface;
mod linear;
pub(crate) mod windows;

pub use interface::{Stem, StemBatch, StemRows, StemSizes};

pub(crate) use embedding::Embedding;
pub(crate) use filters::FixedFilters;
pub(crate) use identity::Identity;
pub(crate) use interface::shortened;
pub(crate) use linear::Linear;
pub(crate) use windows::Windows;
