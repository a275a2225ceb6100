//! Advice in errors about a folder of shards.

#![forbid(unsafe_code)]

/// For a folder that differs from what the writer left.
pub(super) const PREPARE_AGAIN: &str = "prepare the data again";
/// For a file whose bytes differ from those written.
pub(super) const DAMAGED: &str = "the file is damaged: copy it again, or prepare the data again";
