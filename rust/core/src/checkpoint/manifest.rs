//! `MANIFEST.json`: size and SHA-256 of each file of a checkpoint, and a digest of itself.
//!
//! ```json
//! {"schema": 1, "step": 1000, "digest": "…", "files": {"model.safetensors": {"bytes": 4096, "sha256": "…"}, …}}
//! ```
//!
//! `digest` is the SHA-256 of the manifest's own text with the 64 digits of the digest replaced by zeros, in this and every
//! later schema: a manifest that is whole but newer can so be told from one that is damaged. The files' digests are those
//! of `sha256sum`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::schema::{MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, SCHEMA, STATE_FILE};
use crate::error::{Error, Result};
use crate::storage::{Content, FileRecord, is_plain_name, read, read_bounded, sha256, shown_name};

/// Largest manifest that is read.
const MAX_BYTES: u64 = 1 << 20;
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const ADVICE: &str = "load another checkpoint of the run";
const NEWER: &str =
    "it was written by a newer version: upgrade ssm-hpn, or name an older checkpoint explicitly";

/// The manifest of one checkpoint.
///
/// ```
/// use ssm_hpn::checkpoint::{folder_name, verify};
///
/// # use ssm_hpn::checkpoint::{SCHEMA, Snapshot, StateFile, save};
/// # let root = tempfile::tempdir().expect("a folder");
/// # for step in 1..=3 {
/// #     let state = StateFile { schema: SCHEMA, step, dtype: "float32".into(), ..StateFile::default() };
/// #     save::<f32>(&root.path().join(folder_name(step)), &Snapshot { model: vec![], optimizer: vec![], state })?;
/// # }
/// # let root = root.path();
/// let folder = root.join(folder_name(3));
/// let manifest = verify(&folder)?;
/// assert_eq!((manifest.schema, manifest.step), (1, 3));
/// assert_eq!(manifest.files.len(), 3); // parameters, moments and state
/// let sizes: u64 = manifest.files.values().map(|file| file.bytes).sum();
/// assert_eq!(manifest.bytes(), sizes);
/// manifest.verify(&folder)?; // reads every file again
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointManifest {
    /// Version of the checkpoint's schema.
    pub schema: u32,
    /// Updates applied.
    pub step: u64,
    /// Digest of the manifest itself.
    pub digest: String,
    /// By file name.
    pub files: BTreeMap<String, FileRecord>,
}

impl CheckpointManifest {
    /// Size of all files together. A manifest that was not verified may state sizes whose sum is beyond 64 bits: then the
    /// largest number.
    pub fn bytes(&self) -> u64 {
        self.files.values().fold(0, |sum: u64, file| sum.saturating_add(file.bytes))
    }

    /// An empty one.
    #[doc(hidden)]
    pub fn new(step: u64) -> Self {
        Self { schema: SCHEMA, step, digest: ZEROS.to_owned(), files: BTreeMap::new() }
    }

    /// Records a file.
    #[doc(hidden)]
    pub fn add(&mut self, name: &str, record: FileRecord) {
        self.files.insert(name.to_owned(), record);
    }

    /// The text of the file, with its digest.
    #[doc(hidden)]
    pub fn to_text(&self) -> Vec<u8> {
        let blank = Self { digest: ZEROS.to_owned(), ..self.clone() };
        let text = format!("{:#}\n", serde_json::json!(blank));
        text.replacen(ZEROS, &sha256(text.as_bytes()), 1).into_bytes()
    }

    /// Reads a folder's manifest and checks it against its own digest; the files are not looked at.
    #[doc(hidden)]
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_FILE);
        let bytes = read_small(&path, MAX_BYTES)?;
        let refuse = |at: &str, expected: &str, found: &str, advice: &str| {
            Err(Error::checkpoint(&path, at, expected, found, advice))
        };
        let Ok(text) = String::from_utf8(bytes) else {
            return refuse("text", "UTF-8", "other bytes", ADVICE);
        };
        let value: serde_json::Value = match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(e) => return refuse("text", "JSON", &e.to_string(), ADVICE),
        };
        let digest = value["digest"].as_str().unwrap_or_default();
        let whole = digest.len() == ZEROS.len() && sha256(text.replace(digest, ZEROS).as_bytes()) == digest;
        if !whole {
            return refuse("digest", "the digest of the manifest itself", "another", ADVICE);
        }
        match value["schema"].as_u64() {
            Some(schema) if schema > SCHEMA.into() => {
                let expected = format!("schema {SCHEMA} or older");
                return refuse("schema", &expected, &schema.to_string(), NEWER);
            }
            _ => {}
        }
        let manifest: Self = match serde_json::from_value(value) {
            Ok(manifest) => manifest,
            Err(e) => return refuse("fields", "a manifest", &e.to_string(), ADVICE),
        };
        for name in [MODEL_FILE, OPTIMIZER_FILE, STATE_FILE] {
            if !manifest.files.contains_key(name) {
                return refuse("files", &format!("an entry {name}"), "none", ADVICE);
            }
        }
        if let Some(name) = manifest.files.keys().find(|name| !is_plain_name(name)) {
            return refuse("files", "plain file names", &shown_name(name), ADVICE);
        }
        Ok(manifest)
    }

    /// Checks size and digest of every file of the folder.
    pub fn verify(&self, folder: &Path) -> Result<()> {
        for (name, record) in &self.files {
            let path = folder.join(name);
            let bytes = open(&path)?.metadata().map_err(|e| Error::storage(&path, "read the size", e))?.len();
            if bytes != record.bytes {
                let expected = format!("{} bytes", record.bytes);
                return Err(Error::checkpoint(&path, "size", expected, bytes, ADVICE));
            }
            let found = FileRecord::of_open_file(open(&path)?, &path)?;
            if found != *record {
                return Err(Error::checkpoint(
                    &path,
                    "SHA-256",
                    &record.sha256,
                    found.sha256,
                    "the file was altered; load another checkpoint of the run",
                ));
            }
        }
        Ok(())
    }
}

/// Whether an error says that the checkpoint is whole but of a newer schema.
pub(super) fn is_newer(error: &Error) -> bool {
    matches!(error, Error::Checkpoint { at, advice, .. } if at == "schema" && advice == NEWER)
}

/// The error for a schema above [`SCHEMA`].
pub(super) fn newer(path: &Path, schema: u64) -> Error {
    Error::checkpoint(path, "schema", format!("schema {SCHEMA} or older"), schema, NEWER)
}

/// Opens a file of a checkpoint; a missing one is a damaged checkpoint.
pub(super) fn open(path: &Path) -> Result<File> {
    read::open(path)?.ok_or_else(|| missing(path))
}

/// Reads a whole file of at most `limit` bytes.
pub(super) fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>> {
    match read_bounded(path, limit)? {
        Content::Bytes(bytes) => Ok(bytes),
        Content::Absent => Err(missing(path)),
        Content::TooLarge => {
            let expected = format!("at most {limit} bytes");
            Err(Error::checkpoint(path, "size", expected, "more", ADVICE))
        }
    }
}

fn missing(path: &Path) -> Error {
    Error::checkpoint(path, "file", "a file", "none", "the checkpoint is not complete; load another")
}
