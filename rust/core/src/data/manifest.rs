//! `manifest.json`: what a folder of shards holds.
//!
//! It is written last, so a folder with a manifest is whole. Everything a reader must know before it opens a shard is
//! here: the columns, the counts, and for every record batch of every shard its place, its size and its digest.
//! The format has a version of its own (`schema`); a reader refuses versions it does not know and fields it does not know.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::advice::PREPARE_AGAIN;
use super::schema::{Declared, Kind, ShardColumns};
use crate::error::{Error, Result};
use crate::storage::{Content, is_plain_name, read_bounded, shown_name};

/// Version of the manifest's format.
pub(crate) const SCHEMA: u32 = 1;
/// Name of the file.
pub(crate) const FILE_NAME: &str = "manifest.json";
/// Largest manifest that is read, in bytes: about a million record batches.
const MAX_BYTES: u64 = 256 << 20;
/// Largest record batch, in bytes: what is read at once.
const MAX_BATCH_BYTES: u64 = 1 << 32;

/// The contents of a folder of shards.
///
/// ```
/// use ssm_hpn::data::{Kind, Manifest};
///
/// # use ssm_hpn::data::{DocumentColumns, Elements, Extra, ShardWriter, WriterConfig};
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let config = WriterConfig::from_json(r#"{"kind": "tokens", "vocab_size": 256, "columns": ["tokens"]}"#)?;
/// # let mut writer = ShardWriter::create(folder.path(), config)?;
/// # let (elements, offsets) = (Elements::U8(b"abcdefgh"), &[0, 3, 8][..]);
/// # writer.append(&DocumentColumns { elements, offsets, targets: &[], names: None })?;
/// # writer.close(Extra::default())?;
/// # let folder = folder.path();
/// let manifest = Manifest::load(folder)?;
/// assert_eq!((manifest.kind, manifest.rows, manifest.tokens), (Kind::Tokens, 2, 8));
/// assert_eq!(manifest.longest, 5);
/// assert!(manifest.columns(folder)?.has_tokens());
/// assert_eq!(manifest.to_json(), std::fs::read(folder.join("manifest.json")).expect("the file"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format.
    pub schema: u32,
    /// The type of a token: an id or features.
    pub kind: Kind,
    /// Number of token ids, for kind `tokens`.
    pub vocab_size: Option<u32>,
    /// Numbers per token (F), for kind `features`.
    pub n_features: Option<usize>,
    /// Columns of the shards.
    pub columns: Vec<String>,
    /// Numbers per document (K), with a column `values`.
    pub n_values: Option<usize>,
    /// Number of classes, with a column `labels` or `label`.
    pub n_classes: Option<usize>,
    /// Name of each class.
    pub class_names: Option<Vec<String>>,
    /// Name of each feature.
    pub feature_names: Option<Vec<String>>,
    /// Normalisation of the features in the shards, which new input needs too.
    pub normalisation: Option<Normalisation>,
    /// How the source was encoded as tokens or features.
    pub encoder: Value,
    /// The source of the documents.
    pub source: Value,
    /// The meaning of columns, classes and numbers, for programs that read data or predict.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub contract: Value,
    /// Documents in all shards.
    pub rows: u64,
    /// Tokens in all shards.
    pub tokens: u64,
    /// Tokens of the longest document.
    pub longest: u64,
    /// The files.
    pub shards: Vec<ShardEntry>,
}

/// x' = (x - mean) / std, per feature.
///
/// ```
/// use ssm_hpn::data::{DocumentColumns, Elements, Extra, Kind, Manifest, Normalisation, ShardWriter, WriterConfig};
///
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let folder = folder.path();
/// let raw = [14.0_f32, 8.0];
/// let normalisation = Normalisation { mean: vec![11.0], std: vec![3.0] };
/// let x = raw.map(|x| (x - 11.0) / 3.0);
///
/// // Kept beside the data, so that new input can be treated alike.
/// let config = WriterConfig { n_features: Some(1), ..WriterConfig::new(Kind::Features, &["features"]) };
/// let mut writer = ShardWriter::create(folder, config)?;
/// let (elements, offsets) = (Elements::F32(&x), &[0, 2][..]);
/// writer.append(&DocumentColumns { elements, offsets, targets: &[], names: None })?;
/// writer.close(Extra { normalisation: Some(normalisation), ..Extra::default() })?;
/// let Normalisation { mean, std } = Manifest::load(folder)?.normalisation.expect("what was given");
/// assert_eq!((17.0 - mean[0]) / std[0], 2.0);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Mean of each feature `[F]`.
    pub mean: Vec<f64>,
    /// Standard deviation of each feature `[F]`, above 0.
    pub std: Vec<f64>,
}

/// One shard: an Arrow IPC file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// Name of the file in the manifest's folder.
    pub file: String,
    /// Documents.
    pub rows: u64,
    /// Tokens.
    pub tokens: u64,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: String,
    /// Its record batches, in the order of the file.
    pub batches: Vec<BatchEntry>,
}

/// One record batch of a shard: a message of the Arrow IPC format, metadata and body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchEntry {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Its size.
    pub bytes: u64,
    /// Documents.
    pub rows: u64,
    /// Tokens.
    pub tokens: u64,
    /// XXH3 (64 bits) of its bytes, 16 hexadecimal digits.
    pub xxh3: String,
}

impl Manifest {
    /// Reads and checks `folder/manifest.json`.
    pub fn load(folder: &Path) -> Result<Self> {
        Self::load_with_digest(folder).map(|(manifest, _)| manifest)
    }

    /// The same, with a digest of the file: it stays when a later release adds a field to this type.
    pub(super) fn load_with_digest(folder: &Path) -> Result<(Self, u64)> {
        let path = folder.join(FILE_NAME);
        let bytes = read_manifest(folder, &path)?;
        // The version first: a newer format may well have other fields.
        let value: Value = serde_json::from_slice(&bytes).map_err(|e| not_a_manifest(&path, &e))?;
        match value.get("schema").and_then(Value::as_u64) {
            Some(version) if version == u64::from(SCHEMA) => {}
            found => {
                return Err(Error::data(
                    &path,
                    "schema",
                    format!("version {SCHEMA} of the shard manifest"),
                    found.map_or_else(|| "none".to_owned(), |v| format!("version {v}")),
                    "use a release that reads this version, or prepare the data again",
                ));
            }
        }
        let manifest: Self = serde_json::from_value(value).map_err(|e| not_a_manifest(&path, &e))?;
        manifest.check(&path)?;
        Ok((manifest, xxh3_64(&bytes)))
    }

    /// The manifest as it is written.
    pub fn to_json(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "plain fields serialise")]
        let mut bytes = serde_json::to_vec_pretty(self).expect("plain fields serialise");
        bytes.push(b'\n');
        bytes
    }

    fn declared(&self) -> Declared<'_> {
        Declared {
            kind: self.kind,
            vocab_size: self.vocab_size,
            n_features: self.n_features,
            columns: &self.columns,
            n_values: self.n_values,
        }
    }

    /// The columns, checked; `path` is the manifest's own, for the message.
    pub fn columns(&self, path: &Path) -> Result<ShardColumns> {
        self.declared().check().map_err(|c| Error::data(path, c.field, c.expected, c.found, PREPARE_AGAIN))
    }

    /// Digests of all files, as `sha256sum -c` reads them; `own` is that of the manifest.
    pub(super) fn sums(&self, own: &str) -> String {
        let shards = self.shards.iter().map(|s| format!("{}  {}\n", s.sha256, s.file));
        shards.chain([format!("{own}  {FILE_NAME}\n")]).collect()
    }

    /// Checks that the manifest does not contradict itself.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        let columns = self.columns(path)?;
        self.check_names(path, &columns)?;
        let (mut rows, mut tokens) = (0_u64, 0_u64);
        let mut files = HashSet::new();
        for (i, shard) in self.shards.iter().enumerate() {
            let at = format!("shards[{i}]");
            shard.check(path, &at)?;
            if !files.insert(&shard.file) {
                return Err(Error::data(path, at, "each file once", &shard.file, PREPARE_AGAIN));
            }
            rows = add(path, &at, rows, shard.rows)?;
            tokens = add(path, &at, tokens, shard.tokens)?;
        }
        equal(path, "rows", rows, self.rows)?;
        equal(path, "tokens", tokens, self.tokens)?;
        if rows == 0 {
            return Err(Error::data(
                path,
                "rows",
                "at least one document",
                "none",
                "check what was prepared",
            ));
        }
        let mean = tokens.div_ceil(rows);
        if !(mean..=tokens).contains(&self.longest) {
            let expected = format!("{mean} to {tokens} tokens");
            return Err(Error::data(path, "longest", expected, self.longest, PREPARE_AGAIN));
        }
        Ok(())
    }

    fn check_names(&self, path: &Path, columns: &ShardColumns) -> Result<()> {
        let wrong = |at: &str, expected: String, found: String| {
            Err(Error::data(path, at, expected, found, PREPARE_AGAIN))
        };
        match self.n_classes {
            None if columns.has_classes() => {
                return wrong("n_classes", "a count with a column of classes".into(), "none".into());
            }
            Some(n) if n == 0 || n > i32::MAX as usize => {
                return wrong("n_classes", "1 to 2147483647".into(), n.to_string());
            }
            _ => {}
        }
        let counted = |at: &str, names: &Option<Vec<String>>, count: Option<usize>| match names {
            Some(names) if Some(names.len()) != count => {
                wrong(at, format!("{} names", count.unwrap_or(0)), names.len().to_string())
            }
            _ => Ok(()),
        };
        counted("class_names", &self.class_names, self.n_classes)?;
        counted("feature_names", &self.feature_names, self.n_features)?;
        if let Some(n) = &self.normalisation {
            let width = self.n_features.unwrap_or(0);
            if n.mean.len() != width || n.std.len() != width {
                let found = format!("{} and {}", n.mean.len(), n.std.len());
                return wrong("normalisation", format!("{width} means and deviations"), found);
            }
            let good =
                n.mean.iter().all(|m| m.is_finite()) && n.std.iter().all(|s| s.is_finite() && *s > 0.0);
            if !good {
                let expected = "finite means and deviations above 0".to_owned();
                return wrong("normalisation", expected, "others".into());
            }
        }
        Ok(())
    }
}

impl ShardEntry {
    pub(super) fn check(&self, path: &Path, at: &str) -> Result<()> {
        if !is_plain_name(&self.file) {
            let found = shown_name(&self.file);
            return Err(Error::data(path, format!("{at}.file"), "a plain file name", found, PREPARE_AGAIN));
        }
        hexadecimal(path, &format!("{at}.sha256"), &self.sha256, 64)?;
        let (mut rows, mut tokens, mut end) = (0_u64, 0_u64, 0_u64);
        for (j, batch) in self.batches.iter().enumerate() {
            let at = format!("{at}.batches[{j}]");
            hexadecimal(path, &format!("{at}.xxh3"), &batch.xxh3, 16)?;
            let stop = add(path, &at, batch.offset, batch.bytes)?;
            if !(1..=MAX_BATCH_BYTES).contains(&batch.bytes) {
                let expected = format!("a record batch of 1 to {MAX_BATCH_BYTES} bytes");
                let advice = "prepare the data again, with shorter documents or fewer features";
                return Err(Error::data(path, at, expected, format!("{} bytes", batch.bytes), advice));
            }
            if batch.offset < end || batch.offset % 8 != 0 || stop > self.bytes {
                return Err(Error::data(
                    path,
                    at,
                    format!("a place between {end} and {} that no other batch has", self.bytes),
                    format!("{} bytes at {}", batch.bytes, batch.offset),
                    PREPARE_AGAIN,
                ));
            }
            if batch.rows == 0 || batch.rows > batch.tokens || batch.tokens > i32::MAX as u64 {
                return Err(Error::data(
                    path,
                    at,
                    "at least one document, none of them empty, and at most 2147483647 tokens",
                    format!("{} documents of {} tokens", batch.rows, batch.tokens),
                    PREPARE_AGAIN,
                ));
            }
            end = stop;
            rows = add(path, &at, rows, batch.rows)?;
            tokens = add(path, &at, tokens, batch.tokens)?;
        }
        equal(path, &format!("{at}.rows"), rows, self.rows)?;
        equal(path, &format!("{at}.tokens"), tokens, self.tokens)
    }
}

fn read_manifest(folder: &Path, path: &Path) -> Result<Vec<u8>> {
    match read_bounded(path, MAX_BYTES)? {
        Content::Bytes(bytes) => Ok(bytes),
        Content::Absent => Err(Error::data(
            folder,
            "folder",
            format!("a {FILE_NAME} beside its shards"),
            if folder.is_dir() { "none" } else { "no such folder" },
            "name a folder made by `prepare`, or prepare the data again",
        )),
        Content::TooLarge => Err(Error::data(
            path,
            "size",
            format!("at most {MAX_BYTES} bytes"),
            "more",
            "prepare the data again with larger record batches",
        )),
    }
}

fn not_a_manifest(path: &Path, error: &serde_json::Error) -> Error {
    let at = format!("line {}, column {}", error.line(), error.column());
    let at = if error.line() == 0 { "content".to_owned() } else { at };
    Error::data(path, at, "a shard manifest in JSON", error, PREPARE_AGAIN)
}

fn add(path: &Path, at: &str, a: u64, b: u64) -> Result<u64> {
    a.checked_add(b)
        .ok_or_else(|| Error::data(path, at, "counts that fit 64 bits", format!("{a} + {b}"), PREPARE_AGAIN))
}

fn equal(path: &Path, at: &str, sum: u64, stated: u64) -> Result<()> {
    if sum == stated {
        return Ok(());
    }
    Err(Error::data(path, at, format!("{sum}, the sum of its parts"), stated, PREPARE_AGAIN))
}

fn hexadecimal(path: &Path, at: &str, text: &str, digits: usize) -> Result<()> {
    if text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Ok(());
    }
    let found = format!("{} characters", text.chars().count());
    Err(Error::data(path, at, format!("{digits} hexadecimal digits"), found, PREPARE_AGAIN))
}
