//! Reading one group (record batch) of a shard by its position.
//!
//! A shard is foreign input. In this order, so that nothing is trusted before it is checked: the size of the file against
//! the manifest, the footer (bounded, verified, its blocks against the manifest), the schema, the size and digest of the
//! group, its message (verified, every buffer inside the body), and only then the Arrow library decodes it, under
//! `catch_unwind` because versions of it have panicked on malformed files. Then every id, class and number is compared
//! with what the manifest promises. Only the group is in memory,
//! in a buffer that is used again; nothing is mapped.

#![forbid(unsafe_code)]

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::FileDecoder;
use arrow_ipc::{Block, MessageHeader, root_as_footer, root_as_message};
use arrow_schema::{Schema, SchemaRef};

use super::advice::{DAMAGED, PREPARE_AGAIN};
use super::files;
use super::manifest::{BatchEntry, ShardEntry};
use super::pool::BufferPool;
use super::schema::{ShardColumns, WantedColumns, same_type};
use crate::error::{Error, Result};

mod group;

pub use group::{GroupColumn, GroupInput, ShardGroup};

/// First and last bytes of an Arrow file.
const MAGIC: &[u8; 6] = b"ARROW1";
/// Footer length and magic at the end of an Arrow file.
const TRAILER: u64 = 10;
/// Start of a message: continuation marker and length of the metadata.
const PREFIX: usize = 8;

/// One shard of a data set.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    entry: ShardEntry,
    columns: ShardColumns,
    n_classes: Option<usize>,
    schema: OnceLock<SchemaRef>,
}

impl Shard {
    /// Checks that the file is there and has the size that the manifest states.
    pub fn open(
        folder: &Path,
        entry: ShardEntry,
        columns: ShardColumns,
        n_classes: Option<usize>,
    ) -> Result<Self> {
        let path = folder.join(&entry.file);
        let file = files::open(&path)?;
        let metadata = file.metadata().map_err(|e| Error::storage(&path, "look at", e))?;
        if !metadata.is_file() {
            return Err(Error::data(&path, "file", "a shard", "something else", PREPARE_AGAIN));
        }
        if metadata.len() != entry.bytes {
            return Err(Error::data(
                &path,
                "size",
                format!("{} bytes", entry.bytes),
                format!("{} bytes", metadata.len()),
                DAMAGED,
            ));
        }
        Ok(Self { path, entry, columns, n_classes, schema: OnceLock::new() })
    }

    /// The manifest's entry of this file.
    pub fn entry(&self) -> &ShardEntry {
        &self.entry
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads group `index` of this file into a buffer of the pool, and checks it.
    pub(super) fn read(
        &self,
        index: usize,
        wanted: &WantedColumns,
        pool: &Arc<BufferPool>,
    ) -> Result<ShardGroup> {
        self.read_if_whole(index, wanted, pool)?
    }

    /// The same, with what is wrong where the bytes of the group are not those that were written.
    pub(super) fn read_if_whole(
        &self,
        index: usize,
        wanted: &WantedColumns,
        pool: &Arc<BufferPool>,
    ) -> Result<Result<ShardGroup>> {
        let entry = self.entry.batches.get(index).ok_or_else(|| {
            let at = format!("record batch {index}");
            Error::data(&self.path, at, "one that the manifest lists", "none", PREPARE_AGAIN)
        })?;
        let mut file = files::open(&self.path)?;
        let schema = self.schema(&mut file)?;
        let bytes = match self.read_message(&mut file, index, entry, pool)? {
            Ok(bytes) => bytes,
            Err(damage) => return Ok(Err(damage)),
        };
        let names: Vec<&str> = self.columns.projection(wanted);
        let batch = self.decode(&bytes, index, entry, &schema, &names)?;
        let group =
            ShardGroup::new(&batch, &self.columns, wanted).map_err(|m| self.malformed(index, entry, &m))?;
        group.check(&self.columns, self.n_classes, entry).map_err(|wrong| {
            let first_row = self.entry.batches[..index].iter().map(|b| b.rows).sum();
            let name = wrong.document.and_then(|d| self.name(&bytes, index, entry, &schema, d));
            wrong.into_error(&self.path, index, first_row, name)
        })?;
        Ok(Ok(group))
    }

    /// The schema in the footer, checked once.
    fn schema(&self, file: &mut File) -> Result<SchemaRef> {
        if let Some(schema) = self.schema.get() {
            return Ok(schema.clone());
        }
        let schema = self.read_footer(file)?;
        Ok(self.schema.get_or_init(|| schema).clone())
    }

    fn read_footer(&self, file: &mut File) -> Result<SchemaRef> {
        let damaged =
            |at: &str, expected: &str, found: String| Error::data(&self.path, at, expected, found, DAMAGED);
        let size = self.entry.bytes;
        if size < TRAILER + MAGIC.len() as u64 {
            return Err(damaged("size", "an Arrow file", format!("{size} bytes")));
        }
        let trailer =
            files::read_at(&self.path, file, size - TRAILER, TRAILER as usize, "the end of a shard")?;
        if &trailer[4..] != MAGIC {
            return Err(damaged(
                "end of the file",
                "ARROW1",
                format!("{:?}", String::from_utf8_lossy(&trailer[4..])),
            ));
        }
        let length = i32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]);
        let length = u64::try_from(length)
            .ok()
            .filter(|&n| n <= size - TRAILER)
            .ok_or_else(|| damaged("footer", "a length within the file", length.to_string()))?;
        let start = size - TRAILER - length;
        let bytes = files::read_at(&self.path, file, start, length as usize, "the footer of a shard")?;
        let parsed = catch_unwind(AssertUnwindSafe(|| self.parse_footer(&bytes)));
        let schema = parsed.unwrap_or_else(|_| Err("something that no parser expects".to_owned()));
        let schema = schema.map_err(|m| damaged(&format!("footer at byte {start}"), "an Arrow footer", m))?;
        self.compare_schema(&schema)?;
        Ok(Arc::new(schema))
    }

    /// The schema, after the footer's blocks were found to be those of the manifest.
    fn parse_footer(&self, bytes: &[u8]) -> Result<Schema, String> {
        let footer = root_as_footer(bytes).map_err(|e| e.to_string())?;
        if footer.dictionaries().is_some_and(|d| !d.is_empty()) {
            return Err("dictionaries".to_owned());
        }
        let blocks = footer.recordBatches().ok_or("no record batches")?;
        let listed = &self.entry.batches;
        if blocks.len() != listed.len() {
            return Err(format!("{} record batches where the manifest lists {}", blocks.len(), listed.len()));
        }
        for (i, (block, entry)) in blocks.iter().zip(listed).enumerate() {
            let bytes = i64::from(block.metaDataLength()).checked_add(block.bodyLength());
            if i64::try_from(entry.offset) != Ok(block.offset()) || i64::try_from(entry.bytes).ok() != bytes {
                return Err(format!("another place for record batch {i} than the manifest"));
            }
        }
        let schema = footer.schema().ok_or("no schema")?;
        arrow_ipc::convert::try_fb_to_schema(schema).map_err(|e| e.to_string())
    }

    fn compare_schema(&self, schema: &Schema) -> Result<()> {
        for field in self.columns.schema().fields() {
            let found = schema.field_with_name(field.name()).ok();
            if found.is_none_or(|f| !same_type(f.data_type(), field.data_type())) {
                return Err(Error::data(
                    &self.path,
                    format!("column `{}`", field.name()),
                    field.data_type().to_string(),
                    found.map_or_else(|| "no such column".to_owned(), |f| f.data_type().to_string()),
                    PREPARE_AGAIN,
                ));
            }
        }
        let expected = self.columns.schema().fields().len();
        if schema.fields().len() != expected {
            let found = schema.fields().len();
            return Err(Error::data(&self.path, "columns", expected.to_string(), found, PREPARE_AGAIN));
        }
        Ok(())
    }

    /// The bytes of a group, once their digest is that of the manifest; else what is wrong with them.
    fn read_message(
        &self,
        file: &mut File,
        index: usize,
        entry: &BatchEntry,
        pool: &Arc<BufferPool>,
    ) -> Result<Result<Buffer>> {
        // The manifest was checked: the place lies within `entry.bytes` of the file, which is the file's size.
        let mut bytes = pool.take(entry.bytes as usize)?;
        match files::read_into(&self.path, file, entry.offset, bytes.as_mut_slice()) {
            Err(cut @ Error::Data { .. }) => return Ok(Err(cut)),
            other => other?,
        }
        let found = files::xxh3(bytes.as_ref());
        if found != entry.xxh3 {
            return Ok(Err(Error::data(
                &self.path,
                format!("record batch {index} at byte {}", entry.offset),
                format!("xxh3 {}", entry.xxh3),
                found,
                DAMAGED,
            )));
        }
        Ok(Ok(bytes.into_buffer()))
    }

    fn decode(
        &self,
        bytes: &Buffer,
        index: usize,
        entry: &BatchEntry,
        schema: &SchemaRef,
        names: &[&str],
    ) -> Result<RecordBatch> {
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(bytes, schema, names)));
        let decoded =
            decoded.unwrap_or_else(|_| Err("something that the Arrow library does not expect".to_owned()));
        decoded.map_err(|m| self.malformed(index, entry, &m))
    }

    fn malformed(&self, index: usize, entry: &BatchEntry, found: &str) -> Error {
        let at = format!("record batch {index} at byte {}", entry.offset);
        Error::data(&self.path, at, "a record batch with the columns of the manifest", found, PREPARE_AGAIN)
    }

    /// The name of a document, for a message; empty if it cannot be read.
    fn name(
        &self,
        bytes: &Buffer,
        index: usize,
        entry: &BatchEntry,
        schema: &SchemaRef,
        document: usize,
    ) -> Option<String> {
        let batch = self.decode(bytes, index, entry, schema, &["name"]).ok()?;
        group::name(&batch, document)
    }
}

/// One message into a record batch of the named columns. Everything that the library would index with is checked first.
fn decode(bytes: &Buffer, schema: &SchemaRef, names: &[&str]) -> Result<RecordBatch, String> {
    let prefix: [u8; PREFIX] =
        bytes.get(..PREFIX).and_then(|p| p.try_into().ok()).ok_or("less than a message")?;
    if prefix[..4] != [0xff; 4] {
        return Err("no message".to_owned());
    }
    let length = i32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
    let length = usize::try_from(length).map_err(|_| "metadata of negative length")?;
    let body =
        length.checked_add(PREFIX).filter(|&n| n <= bytes.len()).ok_or("metadata longer than the batch")?;
    let message = root_as_message(&bytes[PREFIX..body]).map_err(|e| e.to_string())?;
    if message.header_type() != MessageHeader::RecordBatch {
        return Err(format!("a message of type {:?}", message.header_type()));
    }
    let header = message.header_as_record_batch().ok_or("no record batch")?;
    if header.compression().is_some() {
        return Err("compressed buffers".to_owned());
    }
    let available = (bytes.len() - body) as i64;
    if message.bodyLength() != available {
        return Err(format!("a body of {} bytes in {available}", message.bodyLength()));
    }
    for buffer in header.buffers().into_iter().flatten() {
        let end = buffer.offset().checked_add(buffer.length());
        if buffer.offset() < 0 || buffer.length() < 0 || end.is_none_or(|end| end > available) {
            return Err("a buffer outside the body".to_owned());
        }
        if buffer.offset() % 8 != 0 {
            return Err("a buffer that is not aligned".to_owned());
        }
    }
    // No type of ours takes less than a bit per value, and none of the nodes has nulls.
    for node in header.nodes().into_iter().flatten() {
        if node.null_count() != 0 {
            return Err("null values".to_owned());
        }
        if node.length() < 0 || node.length() > available.saturating_mul(8) {
            return Err(format!("{} values in {available} bytes", node.length()));
        }
    }
    let projection = names.iter().map(|n| schema.index_of(n).map_err(|e| e.to_string()));
    let projection = projection.collect::<Result<Vec<_>, _>>()?;
    let decoder = FileDecoder::new(schema.clone(), message.version()).with_projection(projection);
    let block = Block::new(0, body as i32, available);
    match decoder.read_record_batch(&block, bytes) {
        Ok(Some(batch)) => Ok(batch),
        Ok(None) => Err("an empty message".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
