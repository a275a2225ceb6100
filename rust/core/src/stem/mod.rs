//! Stems: from the input of a batch to the first hidden states.
//!
//! A user of the crate brings one of their own by implementing [`Stem`]. A stem may give fewer tokens than it reads: then
//! every document is shortened by itself, and the documents of a row stand one behind the other again.

#![forbid(unsafe_code)]

mod embedding;
mod identity;
mod interface;
mod linear;
mod windows;

pub use embedding::Embedding;
pub use identity::Identity;
pub use interface::{Source, Stem, StemRows, StemSizes, shortened};
pub use linear::Linear;
pub use windows::Windows;
