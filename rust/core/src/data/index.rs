//! All groups of all shards as one sequence; memory is proportional to the number of record batches, not of documents.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::advice::PREPARE_AGAIN;
use super::manifest::{self, Manifest};
use super::pool::BufferPool;
use super::schema::{ShardColumns, WantedColumns};
use super::shard::{Shard, ShardGroup};
use crate::error::{Error, Result};

/// A folder of shards, opened for reading.
#[derive(Debug)]
pub struct Dataset {
    folder: PathBuf,
    manifest: Manifest,
    columns: ShardColumns,
    shards: Vec<Shard>,
    /// Shard and record batch of each group.
    groups: Vec<(u32, u32)>,
    digest: u64,
    pool: Arc<BufferPool>,
}

impl Dataset {
    /// Reads the manifest, and checks that each shard exists and has its size.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let (mut manifest, digest) = Manifest::load_with_digest(&folder)?;
        let columns = manifest.columns(&folder.join(manifest::FILE_NAME))?;
        let entries = std::mem::take(&mut manifest.shards);
        let mut shards = Vec::with_capacity(entries.len());
        let mut groups = Vec::new();
        for (s, entry) in entries.into_iter().enumerate() {
            groups.extend((0..entry.batches.len()).map(|b| (s as u32, b as u32)));
            shards.push(Shard::open(&folder, entry, columns.clone(), manifest.n_classes)?);
        }
        if groups.is_empty() {
            return Err(Error::data(&folder, "shards", "at least one document", "none", PREPARE_AGAIN));
        }
        Ok(Self { folder, manifest, columns, shards, groups, digest, pool: Arc::default() })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The manifest, with an empty list of shards: see [`Dataset::shards`].
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The columns of every shard.
    pub fn columns(&self) -> &ShardColumns {
        &self.columns
    }

    /// The shards, in the order of the manifest.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Number of groups (record batches) in all shards.
    pub fn n_groups(&self) -> u64 {
        self.groups.len() as u64
    }

    /// Number of documents.
    pub fn n_documents(&self) -> u64 {
        self.manifest.rows
    }

    /// Number of tokens.
    pub fn n_tokens(&self) -> u64 {
        self.manifest.tokens
    }

    /// Digest of the manifest, which contains the digests of all files, and so identifies the data set.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Tokens of a group, as the manifest says.
    pub fn tokens_of(&self, group: u64) -> u64 {
        let (shard, batch) = self.place(group);
        shard.entry().batches[batch].tokens
    }

    /// Reads and checks one group.
    pub fn read(&self, group: u64, wanted: &WantedColumns) -> Result<ShardGroup> {
        let (shard, batch) = self.place(group);
        shard.read(batch, wanted, &self.pool)
    }

    /// The same, with what is wrong where the bytes of the group are not those that were written.
    pub(super) fn read_if_whole(&self, group: u64, wanted: &WantedColumns) -> Result<Result<ShardGroup>> {
        let (shard, batch) = self.place(group);
        shard.read_if_whole(batch, wanted, &self.pool)
    }

    /// The buffers that record batches are read into.
    pub(super) fn pool(&self) -> &Arc<BufferPool> {
        &self.pool
    }

    /// File and row of a document, for a message.
    pub fn locate(&self, group: u64, document: usize) -> (PathBuf, u64) {
        let (shard, batch) = self.place(group);
        let before: u64 = shard.entry().batches[..batch].iter().map(|b| b.rows).sum();
        (shard.path().to_path_buf(), before + document as u64)
    }

    fn place(&self, group: u64) -> (&Shard, usize) {
        let (shard, batch) = self.groups[group as usize];
        (&self.shards[shard as usize], batch as usize)
    }
}
