//! Verifies a data set: compares all digests and checks all values.

#![forbid(unsafe_code)]

use std::path::Path;

use serde::Serialize;

use super::advice::{DAMAGED, PREPARE_AGAIN};
use super::files;
use super::index::Dataset;
use super::manifest;
use super::schema::WantedColumns;
use super::writer::SUMS_NAME;
use crate::error::{Error, Result};
use crate::storage::{Content, FileRecord, read_bounded};

/// Bytes of the longest line that a message shows.
const LONGEST_LINE: usize = 1 << 10;

/// Counts of what was verified.
///
/// ```
/// use ssm_hpn::data::verify_shards;
///
/// # use ssm_hpn::data::{DocumentColumns, Elements, Extra, ShardWriter, WriterConfig};
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let config = WriterConfig::from_json(r#"{"kind": "tokens", "vocab_size": 256, "columns": ["tokens"]}"#)?;
/// # let mut writer = ShardWriter::create(folder.path(), config)?;
/// # let (elements, offsets) = (Elements::U8(b"abcdefgh"), &[0, 3, 8][..]);
/// # writer.append(&DocumentColumns { elements, offsets, targets: &[], names: None })?;
/// # writer.close(Extra::default())?;
/// # let folder = folder.path();
/// let report = verify_shards(folder)?;
/// assert_eq!((report.shards, report.batches, report.rows, report.tokens), (1, 1, 2, 8));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Files.
    pub shards: u64,
    /// Record batches.
    pub batches: u64,
    /// Documents.
    pub rows: u64,
    /// Tokens.
    pub tokens: u64,
    /// Bytes of the shards.
    pub bytes: u64,
}

/// Reads a whole data set once for the digests of its files and once for those of its record batches and their values.
/// The error is the first mismatch.
///
/// ```
/// use ssm_hpn::data::verify_shards;
///
/// # use ssm_hpn::data::{DocumentColumns, Elements, Extra, ShardWriter, WriterConfig};
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let config = WriterConfig::from_json(r#"{"kind": "tokens", "vocab_size": 256, "columns": ["tokens"]}"#)?;
/// # let mut writer = ShardWriter::create(folder.path(), config)?;
/// # let (elements, offsets) = (Elements::U8(b"abcdefgh"), &[0, 3, 8][..]);
/// # writer.append(&DocumentColumns { elements, offsets, targets: &[], names: None })?;
/// # writer.close(Extra::default())?;
/// # let folder = folder.path();
/// assert_eq!(verify_shards(folder)?.shards, 1);
///
/// std::fs::write(folder.join("shard-00000.arrow"), b"cut").expect("written");
/// assert_eq!(verify_shards(folder).unwrap_err().exit_code(), 3);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub fn verify_shards(folder: &Path) -> Result<VerifyReport> {
    let data = Dataset::open(folder)?;
    check_sums(&data)?;
    let mut report = VerifyReport { shards: 0, batches: 0, rows: 0, tokens: 0, bytes: 0 };
    let mut longest = 0;
    let wanted = WantedColumns::all(data.columns());
    for shard in data.shards() {
        let entry = shard.entry();
        let FileRecord { bytes, sha256 } =
            FileRecord::of_open_file(files::open(shard.path())?, shard.path())?;
        if (bytes, &sha256) != (entry.bytes, &entry.sha256) {
            return Err(Error::data(
                shard.path(),
                "whole file",
                format!("SHA-256 {} of {} bytes", entry.sha256, entry.bytes),
                format!("{sha256} of {bytes} bytes"),
                DAMAGED,
            ));
        }
        for batch in 0..entry.batches.len() {
            let group = shard.read(batch, &wanted, data.pool())?;
            longest = (0..group.documents()).map(|d| group.length(d) as u64).fold(longest, u64::max);
        }
        report.shards += 1;
        report.batches += entry.batches.len() as u64;
        report.bytes += bytes;
    }
    if longest != data.manifest().longest {
        let path = data.folder().join(manifest::FILE_NAME);
        return Err(Error::data(
            path,
            "longest",
            longest.to_string(),
            data.manifest().longest,
            PREPARE_AGAIN,
        ));
    }
    Ok(VerifyReport { rows: data.n_documents(), tokens: data.n_tokens(), ..report })
}

/// The file of digests has a line for each shard and for the manifest, and each says what the manifest says.
fn check_sums(data: &Dataset) -> Result<()> {
    let path = data.folder().join(SUMS_NAME);
    let manifest = data.folder().join(manifest::FILE_NAME);
    let manifest = FileRecord::of_open_file(files::open(&manifest)?, &manifest)?.sha256;
    let shards = data.shards().iter().map(|s| (s.entry().sha256.as_str(), s.entry().file.as_str()));
    let expected = shards.chain([(manifest.as_str(), manifest::FILE_NAME)]);
    // A line more than expected is shown; much more is not read.
    let limit =
        expected.clone().map(|(digest, file)| digest.len() + file.len() + 3).sum::<usize>() + LONGEST_LINE;
    let refuse = |expected: &str, found: &dyn ToString| {
        Error::data(&path, "file", expected, found.to_string(), PREPARE_AGAIN)
    };
    let text = match read_bounded(&path, limit as u64)? {
        Content::Bytes(bytes) => String::from_utf8(bytes).map_err(|e| refuse("a text of digests", &e))?,
        Content::Absent => return Err(refuse("the digests of all files", &"no such file")),
        Content::TooLarge => return Err(refuse(&format!("at most {limit} bytes of digests"), &"more")),
    };
    let mut lines = text.split_inclusive('\n');
    for (i, (digest, file)) in expected.enumerate() {
        let line = lines.next().unwrap_or("nothing");
        if line != format!("{digest}  {file}\n") {
            // With its end, of which there may be none: a file that is cut there has the same words.
            let (at, line) = (format!("line {}", i + 1), line.escape_debug());
            return Err(Error::data(&path, at, format!("{digest}  {file}\\n"), line, PREPARE_AGAIN));
        }
    }
    match lines.next() {
        None => Ok(()),
        Some(line) => Err(Error::data(&path, "last line", "no more files", line, PREPARE_AGAIN)),
    }
}
