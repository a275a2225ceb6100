//! Writes documents to a folder of Arrow IPC shards with a manifest.
//!
//! Documents are collected into a record batch (a *group*) of about `batch_tokens` tokens, groups go into a shard until it
//! has about `shard_bytes` bytes, and the manifest is written when everything else is on the disk. At no time is more
//! than one group in memory. A writer that is dropped before [`ShardWriter::close`] removes what it wrote, unless it may be
//! continued (`WriterConfig::resume`): then finished shards stay, and a writer that gets the same documents passes over
//! those that are in them.
//!
//! A document longer than `max_document` tokens is cut into several: the reader then never needs more memory than a few
//! groups, at the price of one next-token target per cut. Where a label or numbers belong to the whole document it
//! cannot be cut and is refused.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, Schema};

use super::files::ShardFile;
use super::manifest::{self, BatchEntry, Manifest, ShardEntry};
use super::schema::{ColumnValues, InputColumn, ShardColumns};
use crate::error::{Error, Result};
use crate::storage::write::{PARTIAL, create_folder};
use crate::storage::{FileRecord, sha256, write_whole};

mod config;
mod documents;
mod group;
mod progress;

pub(crate) use config::BOUNDS;
pub use config::{Extra, WriterConfig};
pub use documents::{DocumentColumns, Elements};
use group::OpenGroup;

/// Digests of all files, as `sha256sum -c` reads them.
pub(crate) const SUMS_NAME: &str = "SHA256SUMS";
/// A group of wide features stays near this size, whatever `batch_tokens` says: small groups mix better.
const GROUP_BYTES: usize = 1 << 20;

/// Writes a folder of shards.
///
/// ```
/// use ssm_hpn::data::{DocumentColumns, Elements, Extra, Input, Loader, LoaderConfig, ShardWriter, WriterConfig, verify_shards};
///
/// # fn main() -> ssm_hpn::Result<()> {
/// let folder = tempfile::tempdir().expect("a folder");
/// let config = WriterConfig::from_json(r#"{"kind": "tokens", "vocab_size": 256, "columns": ["tokens"]}"#)?;
/// let mut writer = ShardWriter::create(folder.path(), config)?;
/// // Two documents, of three and five tokens.
/// let (elements, offsets) = (Elements::U8(b"abcdefgh"), &[0, 3, 8][..]);
/// writer.append(&DocumentColumns { elements, offsets, targets: &[], names: None })?;
/// assert_eq!(writer.n_documents(), 2);
/// let manifest = writer.close(Extra::default())?;
/// assert_eq!((manifest.rows, manifest.tokens), (2, 8));
/// assert_eq!(verify_shards(folder.path())?.tokens, 8);
///
/// // One row of eight positions holds both documents.
/// let mut loader = Loader::open(LoaderConfig { epochs: Some(1), ..LoaderConfig::new(folder.path(), 1, 8) })?;
/// let (batch, after) = loader.next()?.expect("a batch");
/// assert_eq!(batch.segments.len(), 2);
/// assert!(matches!(batch.input, Input::Tokens(ids) if ids.len() == 8));
/// assert_eq!(after.batches, 1);
/// assert!(loader.next()?.is_none());
/// # Ok(())
/// # }
/// ```
pub struct ShardWriter {
    folder: PathBuf,
    config: WriterConfig,
    columns: ShardColumns,
    schema: Arc<Schema>,
    batch_tokens: usize,
    pending: OpenGroup,
    shard: Option<OpenShard>,
    done: Vec<ShardEntry>,
    /// Pieces of documents that finished shards of an earlier writer hold, and that this one has passed over.
    finished: u64,
    passed: u64,
    documents: u64,
    longest: u64,
    largest_class: i32,
    /// Whether documents that were taken are not in the shards, because writing failed.
    incomplete: bool,
    closed: bool,
}

/// The shard being written.
struct OpenShard {
    name: String,
    writer: FileWriter<ShardFile>,
    batches: Vec<BatchEntry>,
}

impl ShardWriter {
    /// Starts a data set in a folder that has none; the folder is made if need be.
    pub fn create(folder: impl Into<PathBuf>, config: WriterConfig) -> Result<Self> {
        let columns = config.check()?;
        Self::with_columns(folder.into(), config, columns)
    }

    /// The same with these columns, whatever the settings declare.
    pub(super) fn with_columns(folder: PathBuf, config: WriterConfig, columns: ShardColumns) -> Result<Self> {
        create_folder(&folder)?;
        let done = if config.resume { progress::read(&folder, &config)? } else { Vec::new() };
        if folder.join(manifest::FILE_NAME).exists() && !config.resume {
            return Err(Error::data(
                &folder,
                "folder",
                "no data set",
                "one that is complete",
                "name another folder, or remove this one first",
            ));
        }
        if !done.is_empty() {
            progress::write(&folder, &config, &done)?; // before the manifest that it may be from is removed
        }
        remove_leftovers(&folder, &done)?;
        let width = match columns.input {
            InputColumn::Tokens { .. } => 1,
            InputColumn::Features { n_features } => n_features,
        };
        Ok(Self {
            batch_tokens: config.batch_tokens.min(GROUP_BYTES / 4 / width).max(1),
            schema: Arc::new(columns.schema()),
            pending: OpenGroup::new(columns.clone()),
            folder,
            config,
            columns,
            shard: None,
            finished: done.iter().map(|shard| shard.rows).sum(),
            passed: 0,
            done,
            documents: 0,
            longest: 0,
            largest_class: -1,
            incomplete: false,
            closed: false,
        })
    }

    /// Documents written so far.
    pub fn n_documents(&self) -> u64 {
        self.documents
    }

    /// Adds documents: all of them, or none if one of them is invalid. After an error of the disk the writer takes no more,
    /// and [`ShardWriter::close`] fails: documents are missing then.
    pub fn append(&mut self, documents: &DocumentColumns<'_>) -> Result<()> {
        self.check_complete()?;
        let targets = self.check(documents)?;
        let added = self.add(documents, &targets);
        self.incomplete |= added.is_err();
        added
    }

    fn add(&mut self, documents: &DocumentColumns<'_>, targets: &[ColumnValues<'_>]) -> Result<()> {
        for i in 0..documents.offsets.len() - 1 {
            let (mut start, end) = (documents.offsets[i] as usize, documents.offsets[i + 1] as usize);
            while start < end {
                let stop = end.min(start + self.config.max_document);
                if self.passed < self.finished {
                    self.passed += 1;
                    self.longest = self.longest.max((stop - start) as u64);
                    start = stop;
                    continue;
                }
                if self.pending.tokens() > 0 && self.pending.tokens() + (stop - start) > self.batch_tokens {
                    self.flush()?;
                }
                self.pending.push(documents, targets, i, start..stop);
                self.longest = self.longest.max((stop - start) as u64);
                start = stop;
            }
            self.documents += 1;
        }
        Ok(())
    }

    fn check_complete(&self) -> Result<()> {
        if !self.incomplete {
            return Ok(());
        }
        let reason = "an earlier error left documents out; begin again with another writer";
        Err(Error::storage(&self.folder, "write", std::io::Error::other(reason)))
    }

    /// Checks all documents before any is added, so that a writer stays usable after an error.
    /// Returns the columns of targets in the order of the declared ones.
    fn check<'a>(&mut self, documents: &DocumentColumns<'a>) -> Result<Vec<ColumnValues<'a>>> {
        let (targets, class) = group::check(documents, &self.columns, |document, at, expected, found| {
            let name = documents.names.and_then(|n| n.get(document)).map_or(self.folder.as_path(), Path::new);
            let at = format!("document {}{at}", self.documents + document as u64);
            Error::data(name, at, expected, found, "correct the source and prepare again")
        })?;
        if self.columns.is_whole() {
            let longest = documents.offsets.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
            if longest > self.config.max_document as u64 {
                return Err(Error::data(
                    &self.folder,
                    "longest document",
                    format!("at most {} tokens", self.config.max_document),
                    longest,
                    "cut the documents, or raise max_document",
                ));
            }
        }
        self.largest_class = self.largest_class.max(class);
        Ok(targets)
    }

    /// Writes the group, and ends the shard when it is large enough.
    fn flush(&mut self) -> Result<()> {
        let (rows, tokens) = (self.pending.rows() as u64, self.pending.tokens() as u64);
        if rows == 0 {
            return Ok(());
        }
        let mut shard = match self.shard.take() {
            Some(shard) => shard,
            None => self.start_shard()?,
        };
        let batch = self.pending.take(&self.schema).map_err(|e| failed(&self.folder, e))?;
        let offset = shard.writer.get_ref().written();
        shard.writer.write(&batch).map_err(|e| failed(&self.folder.join(&shard.name), e))?;
        let file = shard.writer.get_mut();
        let bytes = file.written() - offset;
        let xxh3 = format!("{:016x}", file.take_xxh3());
        shard.batches.push(BatchEntry { offset, bytes, rows, tokens, xxh3 });
        if offset + bytes >= self.config.shard_bytes {
            self.end_shard(shard)
        } else {
            self.shard = Some(shard);
            Ok(())
        }
    }

    fn start_shard(&self) -> Result<OpenShard> {
        let name = progress::shard_name(self.done.len());
        let path = self.folder.join(&name);
        let file = ShardFile::create(&path)?;
        let mut writer = FileWriter::try_new(file, &self.schema).map_err(|e| failed(&path, e))?;
        // The digest of the first group starts after the header.
        writer.get_mut().take_xxh3();
        Ok(OpenShard { name, writer, batches: Vec::new() })
    }

    fn end_shard(&mut self, shard: OpenShard) -> Result<()> {
        let file = shard.writer.into_inner().map_err(|e| failed(&self.folder.join(&shard.name), e))?;
        let FileRecord { bytes, sha256 } = file.finish()?;
        let rows = shard.batches.iter().map(|b| b.rows).sum();
        let tokens = shard.batches.iter().map(|b| b.tokens).sum();
        self.done.push(ShardEntry { file: shard.name, rows, tokens, bytes, sha256, batches: shard.batches });
        if self.config.resume { progress::write(&self.folder, &self.config, &self.done) } else { Ok(()) }
    }

    /// Writes what is left, the digests and, last, the manifest, which it returns.
    pub fn close(mut self, extra: Extra) -> Result<Manifest> {
        self.check_complete()?;
        if self.passed < self.finished {
            let expected = format!("the {} documents of the shards that are there", self.finished);
            let advice = "remove the folder, and begin again";
            return Err(Error::data(&self.folder, "documents", expected, self.passed, advice));
        }
        self.flush()?;
        if let Some(shard) = self.shard.take() {
            self.end_shard(shard)?;
        }
        let n_classes = self.class_count(&extra)?;
        let manifest = Manifest {
            schema: manifest::SCHEMA,
            kind: self.config.kind,
            vocab_size: self.config.vocab_size,
            n_features: self.config.n_features,
            columns: self.config.columns.clone(),
            n_values: self.config.n_values,
            n_classes,
            class_names: extra.class_names,
            feature_names: extra.feature_names,
            normalisation: extra.normalisation,
            encoder: extra.encoder,
            source: extra.source,
            contract: extra.contract,
            rows: self.done.iter().map(|s| s.rows).sum(),
            tokens: self.done.iter().map(|s| s.tokens).sum(),
            longest: self.longest,
            shards: std::mem::take(&mut self.done),
        };
        let path = self.folder.join(manifest::FILE_NAME);
        if let Err(error) = manifest.check(&path) {
            self.done = manifest.shards;
            return Err(error);
        }
        let json = manifest.to_json();
        write_whole(&self.folder.join(SUMS_NAME), manifest.sums(&sha256(&json)).as_bytes())?;
        write_whole(&path, &json)?;
        self.closed = true;
        let progress = progress::path(&self.folder);
        if self.config.resume && progress.exists() {
            fs::remove_file(&progress).map_err(|e| Error::storage(&progress, "remove", e))?;
        }
        Ok(manifest)
    }

    fn class_count(&self, extra: &Extra) -> Result<Option<usize>> {
        let seen = (self.largest_class + 1) as usize;
        let given = extra.n_classes.or(extra.class_names.as_ref().map(Vec::len));
        match given {
            Some(n) if seen > n => Err(Error::data(
                &self.folder,
                "largest class",
                format!("a class below {n}"),
                self.largest_class,
                "correct the labels, or the number and names of the classes",
            )),
            _ if !self.columns.has_classes() => Ok(given),
            _ => Ok(Some(given.unwrap_or(seen.max(1)))),
        }
    }
}

impl Drop for ShardWriter {
    /// Removes the shards, which are of no use without a manifest, unless another writer may go on after them.
    fn drop(&mut self) {
        if !self.closed {
            self.shard = None;
            if self.config.resume {
                return;
            }
            for shard in &self.done {
                let _ = fs::remove_file(self.folder.join(&shard.file));
            }
        }
    }
}

/// Removes what a writer that was killed has left: shards without a manifest and unfinished files, but for some.
fn remove_leftovers(folder: &Path, but: &[ShardEntry]) -> Result<()> {
    let failed = |e| Error::storage(folder, "list", e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let unfinished = name.strip_prefix('.').and_then(|n| n.rsplit_once(PARTIAL));
        let bare = unfinished.map_or(name.as_str(), |(bare, _)| bare);
        let number = bare.strip_prefix("shard-").and_then(|n| n.strip_suffix(".arrow"));
        let ours = number.is_some_and(|n| n.len() >= 5 && n.bytes().all(|b| b.is_ascii_digit()))
            || bare == SUMS_NAME
            || bare == manifest::FILE_NAME
            || (bare == progress::NAME && (but.is_empty() || unfinished.is_some()));
        if ours && !but.iter().any(|shard| shard.file == name) {
            fs::remove_file(&path).map_err(|e| Error::storage(&path, "remove", e))?;
        }
    }
    Ok(())
}

fn failed(path: &Path, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => Error::storage(path, "write", source),
        other => Error::storage(path, "write", std::io::Error::other(other)),
    }
}
