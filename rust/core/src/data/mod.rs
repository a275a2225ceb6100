//! Data: shards on disk, the order in which they are read, and the batches made from them.
//!
//! The path of a token: `writer` puts documents into Arrow files in record batches (here called *groups*) and lists
//! them in a `manifest`; `shard` reads one group by its position and checks it before anything parses it;
//! `index` joins the groups of all shards; `shuffle` says in which order an epoch takes them; a window holds a
//! few groups and `pack`s their documents into rows; a `mixture` says which of several sources the next row comes from; a
//! `cursor` walks over the rows and cuts them into batches, of which a loader makes its `own`; and
//! `prefetch` does all that ahead of time, for the `loader` to hand out.
//!
//! Everything but the types of a batch is behind the feature `shards`, which is on unless default features are off.

#![forbid(unsafe_code)]

#[cfg(feature = "shards")]
mod advice;
#[cfg(feature = "shards")]
mod assemble;
pub(crate) mod batch;
#[cfg(feature = "shards")]
pub(crate) mod cursor;
#[cfg(feature = "shards")]
pub(crate) mod digests;
#[cfg(feature = "shards")]
mod files;
#[cfg(feature = "shards")]
pub(crate) mod index;
#[cfg(feature = "shards")]
pub(crate) mod loader;
#[cfg(feature = "shards")]
pub(crate) mod loader_config;
#[cfg(feature = "shards")]
mod made;
#[cfg(feature = "shards")]
pub(crate) mod manifest;
#[cfg(feature = "shards")]
mod mixture;
#[cfg(feature = "shards")]
mod own;
#[cfg(feature = "shards")]
pub(crate) mod pack;
#[cfg(feature = "shards")]
mod plan;
#[cfg(feature = "shards")]
mod pool;
#[cfg(feature = "shards")]
mod prefetch;
#[cfg(feature = "shards")]
pub(crate) mod reader;
#[cfg(feature = "shards")]
pub(crate) mod schema;
#[cfg(feature = "shards")]
pub(crate) mod shard;
#[cfg(feature = "shards")]
pub(crate) mod shuffle;
#[cfg(feature = "shards")]
pub(crate) mod sorter;
#[cfg(feature = "shards")]
pub(crate) mod texts;
#[cfg(feature = "shards")]
pub(crate) mod verify;
#[cfg(feature = "shards")]
mod window;
#[cfg(feature = "shards")]
pub(crate) mod writer;

#[doc(hidden)]
pub use batch::Limits;
pub use batch::{Batch, Input, InputLimit, Segment};
#[cfg(feature = "shards")]
pub use cursor::{Cursor, Place};
#[cfg(feature = "shards")]
pub use digests::ContentDigests;
#[cfg(feature = "shards")]
#[doc(hidden)]
pub use index::Dataset;
#[cfg(feature = "shards")]
pub use loader::Loader;
#[cfg(feature = "shards")]
pub use loader_config::{LoaderConfig, MixedSource, OnCorrupt, Packing};
#[cfg(feature = "shards")]
pub use manifest::{Manifest, Normalisation};
#[cfg(feature = "shards")]
pub use own::OwnBatches;
#[cfg(feature = "shards")]
#[doc(hidden)]
pub use reader::ShardReader;
#[cfg(feature = "shards")]
#[doc(hidden)]
pub use schema::WantedColumns;
#[cfg(feature = "shards")]
pub use schema::{ColumnValues, Kind};
#[cfg(feature = "shards")]
#[doc(hidden)]
pub use shard::{GroupColumn, GroupInput, ShardGroup};
#[cfg(feature = "shards")]
#[doc(hidden)]
pub use sorter::{Cell, Column, Field, FieldValues, RowSorter, SortedRows};
#[cfg(feature = "shards")]
#[doc(hidden)]
pub use texts::TextNumbers;
#[cfg(feature = "shards")]
pub use verify::{VerifyReport, verify_shards};
#[cfg(feature = "shards")]
pub use writer::{DocumentColumns, Elements, Extra, ShardWriter, WriterConfig};
