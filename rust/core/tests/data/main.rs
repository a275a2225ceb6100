//! Tests of shards and the loader, linked into one program.

mod corrupt_data;
mod damage;
mod loader;
mod mixed;
mod own;
mod positions;
mod reader;
mod shard_writer;
mod shards;
mod streams;
