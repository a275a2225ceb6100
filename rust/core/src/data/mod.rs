//! Data: shards on disk, the order they are read in, and the batches that come of them.
//!
//! The path of a token: [`writer`] puts documents into Arrow files in record batches (here called *groups*) and lists
//! them in a [`manifest`]; [`shard`] reads one group by its position and checks it before anything parses it;
//! [`index`] joins the groups of all shards; [`shuffle`] says in which order an epoch takes them; a window holds a
//! few groups and [`pack`]s their documents into rows; a [`cursor`] walks over the rows and cuts them into batches; and
//! `prefetch` does all that ahead of time, for the [`loader`] to hand out.

#![forbid(unsafe_code)]

mod advice;
mod assemble;
pub mod batch;
pub mod cursor;
mod files;
pub mod index;
pub mod loader;
pub mod manifest;
pub mod pack;
mod prefetch;
pub mod reader;
pub mod schema;
pub mod shard;
pub mod shuffle;
pub mod verify;
mod window;
pub mod writer;

pub use batch::{Batch, Input, InputLimit, Limits, Segment, Target};
pub use cursor::Cursor;
pub use index::Dataset;
pub use loader::{Loader, LoaderConfig, Packing, TargetKind};
pub use manifest::{Manifest, Normalisation};
pub use reader::ShardReader;
pub use verify::{VerifyReport, verify_shards};
pub use writer::{Documents, Elements, Extra, ShardWriter, WriterConfig};
