//! Data: shards on disk, the order they are read in, and the batches that come of them.

#![forbid(unsafe_code)]

pub mod batch;

pub use batch::{Batch, Input, Segment, Target};
