//! What to do about a folder of shards that is not as it should be.

#![forbid(unsafe_code)]

/// For a folder that is not, or no longer, what the writer left.
pub(super) const PREPARE_AGAIN: &str = "prepare the data again";
/// Where the bytes are not those that were written.
pub(super) const DAMAGED: &str = "the file is damaged: copy it again, or prepare the data again";
