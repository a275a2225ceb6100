//! Files that are whole or absent, whatever interrupts their writing; bounded reads; digests in hexadecimal.
//!
//! Every file of this crate that is kept is written here: [`write_whole`] and `WholeFile` for a file of
//! its own, `SyncedFile` for one inside a folder that appears as a whole. What is read whole is read by
//! `read_bounded`, which never takes more memory than the caller allows.
//!
//! On Windows folders cannot be synced: a new name may be lost there when the power fails.

#![forbid(unsafe_code)]

pub(crate) mod crash;
pub(crate) mod digest;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod write;

#[doc(hidden)]
pub use digest::sha256;
pub use record::FileRecord;
pub use write::write_whole;

pub(crate) use read::{Content, read_bounded};
pub(crate) use record::{is_plain_name, shown_name};
pub(crate) use write::SyncedFile;
#[cfg(feature = "shards")]
pub(crate) use write::WholeFile;
