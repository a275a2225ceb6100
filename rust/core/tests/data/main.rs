//! Tests of shards and the loader, linked into one program.

mod corrupt_data;
mod loader;
mod reader;
mod shard_writer;
mod shards;
