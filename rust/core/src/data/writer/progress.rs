//! The shards that a writer has finished, noted so that another writer of the same documents goes on after them.
//!
//! A shard ends between two pieces of documents, with nothing pending, so the finished shards hold a prefix of the pieces,
//! and a writer that passes over as many of them is in the state in which the last finished shard was left.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::WriterConfig;
use crate::data::manifest::{self, ShardEntry};
use crate::error::Result;
use crate::storage::{Content, FileRecord, read_bounded, write_whole};

/// Name of the file.
pub(super) const NAME: &str = "progress.json";
/// Most bytes of it that are read.
const MAX_BYTES: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    /// Settings of the writer: others make other shards.
    config: WriterConfig,
    shards: Vec<ShardEntry>,
}

/// Notes the finished shards.
pub(super) fn write(folder: &Path, config: &WriterConfig, shards: &[ShardEntry]) -> Result<()> {
    let progress = Progress { config: config.clone(), shards: shards.to_vec() };
    #[expect(clippy::expect_used, reason = "plain fields serialise")]
    let json = serde_json::to_vec(&progress).expect("plain fields serialise");
    write_whole(&path(folder), &json).map(|_| ())
}

/// The finished shards of a writer with the same settings, up to the first whose file is not as it was noted; none where
/// nothing is noted. A part that was closed has all of its own.
pub(super) fn read(folder: &Path, config: &WriterConfig) -> Result<Vec<ShardEntry>> {
    let noted = match bytes_of(&path(folder))? {
        Some(bytes) => serde_json::from_slice::<Progress>(&bytes).ok(),
        None => manifest::Manifest::load(folder)
            .ok()
            .map(|manifest| Progress { config: config.clone(), shards: manifest.shards }),
    };
    let noted = noted.filter(|noted| noted.config == *config).map_or(Vec::new(), |noted| noted.shards);
    let mut whole = Vec::with_capacity(noted.len());
    for (i, entry) in noted.into_iter().enumerate() {
        let file = folder.join(&entry.file);
        let named_so = entry.file == shard_name(i);
        let is_whole = named_so
            && entry.check(&file, "shard").is_ok()
            && FileRecord::of_file(&file)
                .is_ok_and(|record| record.bytes == entry.bytes && record.sha256 == entry.sha256);
        if !is_whole {
            break;
        }
        whole.push(entry);
    }
    Ok(whole)
}

/// The file of a folder.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Name of the shard with this number.
pub(super) fn shard_name(number: usize) -> String {
    format!("shard-{number:05}.arrow")
}

fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>> {
    Ok(match read_bounded(path, MAX_BYTES)? {
        Content::Bytes(bytes) => Some(bytes),
        Content::Absent | Content::TooLarge => None,
    })
}
