//! The size and digest of a file.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Most bytes read at a time.
const CHUNK: u64 = 1 << 20;

/// Bytes of the longest file name that the systems this runs on take.
const LONGEST_NAME: usize = 255;

/// Whether a manifest may name a file so: a file beside it, under a name that every system takes.
pub(crate) fn is_plain_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// The beginning of a name that is none, for messages.
pub(crate) fn shown_name(name: &str) -> String {
    const MOST: usize = 60;
    let rest = if name.chars().nth(MOST).is_some() { ".." } else { "" };
    format!("{:?}{rest}", name.chars().take(MOST).collect::<String>())
}

/// Size and digest of one file.
///
/// ```
/// use ssm_hpn::storage::write_whole;
///
/// # let folder = tempfile::tempdir().expect("a folder");
/// let record = write_whole(&folder.path().join("note.txt"), b"abc")?;
/// assert_eq!(record.bytes, 3);
/// assert!(record.sha256.starts_with("ba7816bf"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

impl FileRecord {
    /// Reads a file through.
    ///
    /// ```
    /// use ssm_hpn::storage::{FileRecord, write_whole};
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("note.txt");
    /// let written = write_whole(&path, b"abc")?;
    /// assert_eq!(FileRecord::of_file(&path)?, written);
    /// assert_eq!(written.bytes, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(hidden)]
    pub fn of_file(path: &Path) -> Result<Self> {
        Self::of_open_file(File::open(path).map_err(|e| Error::storage(path, "open", e))?, path)
    }

    /// Reads an open file through, from where it stands; `path` is for the message of a failure.
    pub(crate) fn of_open_file(mut file: File, path: &Path) -> Result<Self> {
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        // No more memory than the file takes: many are small.
        let size = file.metadata().map_err(|e| Error::storage(path, "read the size", e))?.len();
        let mut chunk = vec![0; size.clamp(1, CHUNK) as usize];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => return Ok(Self { bytes, sha256: hex::encode(hash.finalize()) }),
                Ok(n) => {
                    hash.update(&chunk[..n]);
                    bytes += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::storage(path, "read", e)),
            }
        }
    }
}
