//! The documents of a prepared folder in the order they were written, with all their columns.
//!
//! Training reads through [`Loader`](super::Loader), which shuffles and packs. This reader is for evaluation and
//! prediction, which read every document once. Each record batch is checked against its digest before it is handed out.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::index::Dataset;
use super::schema::WantedColumns;
use super::shard::ShardGroup;
use crate::error::Result;

/// Reads a prepared folder one record batch at a time; memory is bounded by the largest one.
#[derive(Debug)]
pub struct ShardReader {
    data: Dataset,
    wanted: WantedColumns,
    next: u64,
}

impl ShardReader {
    /// Opens a prepared folder: its manifest is checked, and that every shard is there with its size.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let data = Dataset::open(folder)?;
        let wanted = WantedColumns::all(data.columns());
        Ok(Self { data, wanted, next: 0 })
    }

    /// The folder.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// The next documents, or `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Data`](crate::Error::Data) where a digest or a value is not what the manifest says.
    pub fn next_group(&mut self) -> Result<Option<ShardGroup>> {
        if self.next == self.data.n_groups() {
            return Ok(None);
        }
        let group = self.data.read(self.next, &self.wanted)?;
        self.next += 1;
        Ok(Some(group))
    }
}
