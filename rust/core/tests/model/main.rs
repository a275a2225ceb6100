//! The model as a whole, in one program: what is generic is compiled once for all of it.

#[path = "../common/mod.rs"]
mod common;

mod determinism;
mod gradcheck;
mod invariants;
mod mamba2;
mod parts;
mod profile;
mod reference_parity;
mod refusals;
mod resume;
mod weights;
