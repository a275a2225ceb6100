//! Shards and the loader, in one program.

mod corrupt_data;
mod loader;
mod reader;
mod shard_writer;
mod shards;
