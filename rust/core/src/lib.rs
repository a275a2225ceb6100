//! Training of selective state space models (the Mamba family) with hyperspherical prototype heads on CPUs.
//!
//! The crate knows no Python and prints nothing. What comes from outside is refused by an error: code that may panic says why
//! it does not.

#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::todo, clippy::unimplemented)]

#[doc(hidden)]
pub mod allocate;
pub mod blocks;
pub mod bounds;
pub mod checkpoint;
pub mod data;
mod error;
mod exchange;
pub mod features;
pub mod head;
pub mod kernels;
pub mod model;
mod numeric;
pub mod optim;
mod parallel;
pub mod params;
pub mod pass;
pub mod profile;
mod real;
pub mod session;
pub mod simd;
pub mod stem;
pub mod storage;
pub mod target;

pub use error::{Error, Result};
pub use exchange::Exchange;
pub use numeric::Scalar;
pub use parallel::Threads;
pub use real::Real;

/// Runs the program in the crate's readme.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
