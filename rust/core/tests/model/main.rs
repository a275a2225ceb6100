//! Tests of whole models, linked into one program so that generic code is compiled once.

#[path = "../common/mod.rs"]
mod common;

mod added_classes;
mod assignment;
mod called_once;
mod determinism;
mod document_weights;
mod dropping_stem;
mod gradcheck;
mod invariants;
mod mamba2;
mod nearly_equal;
mod older_checkpoints;
mod overlap;
mod parts;
mod precision;
mod profile;
mod reference_parity;
mod refusals;
mod resume;
mod states;
mod virtual_ranks;
mod weights;
