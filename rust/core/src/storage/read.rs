//! Reading: files that may be missing, and whole files of a bounded size.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Result of a bounded read. A missing file and one that is too large mean different things to different readers, so
/// neither is an error here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The whole file.
    Bytes(Vec<u8>),
    /// There is no such file.
    Absent,
    /// The file is longer than allowed.
    TooLarge,
}

/// Opens a file; `None` if there is none.
pub(crate) fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::storage(path, "open", e)),
    }
}

/// Reads a whole file of at most `limit` bytes, and never more than one byte beyond them.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Content> {
    let Some(file) = open(path)? else { return Ok(Content::Absent) };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::storage(path, "read", e))?;
    Ok(if bytes.len() as u64 > limit { Content::TooLarge } else { Content::Bytes(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::write_whole;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note.txt");
        assert_eq!(read_bounded(&path, 5).unwrap(), Content::Absent);
        write_whole(&path, b"12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), Content::Bytes(b"12345".to_vec()));
        assert_eq!(read_bounded(&path, 4).unwrap(), Content::TooLarge);
    }
}
