//! The files of shards: digested while they are written, read by position.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::advice::PREPARE_AGAIN;
use crate::allocate::try_filled;
use crate::error::{Error, Result};
use crate::storage::{FileRecord, WholeFile, read};

/// A shard that is being written, with a digest of each piece and one of the whole file.
pub(super) struct ShardFile {
    file: WholeFile,
    /// Its type asks for a place at a multiple of 64 bytes, which not every owner of a writer has.
    piece: Box<Xxh3>,
}

impl ShardFile {
    pub(super) fn create(path: &Path) -> Result<Self> {
        Ok(Self { file: WholeFile::create(path)?, piece: Box::default() })
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.file.written()
    }

    /// Digest of the bytes since the last call.
    pub(super) fn take_xxh3(&mut self) -> u64 {
        let digest = self.piece.digest();
        self.piece.reset();
        digest
    }

    /// Puts the shard in its place.
    pub(super) fn finish(self) -> Result<FileRecord> {
        self.file.finish()
    }
}

impl Write for ShardFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.piece.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Opens a shard.
pub(super) fn open(path: &Path) -> Result<File> {
    read::open(path)?.ok_or_else(|| {
        Error::data(path, "file", "a shard that the manifest lists", "no such file", PREPARE_AGAIN)
    })
}

/// Reads `length` bytes at `offset`, which are `what` (`"the footer of a shard"`). The caller has bounded both by the size
/// of the file; refused where the memory is not there.
pub(super) fn read_at(
    path: &Path,
    file: &mut File,
    offset: u64,
    length: usize,
    what: &str,
) -> Result<Vec<u8>> {
    let mut bytes = try_filled(0, &[length], what)?;
    read_into(path, file, offset, &mut bytes)?;
    Ok(bytes)
}

/// Fills a buffer with the bytes at `offset`. The caller has bounded both by the size of the file.
pub(super) fn read_into(path: &Path, file: &mut File, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let length = buffer.len();
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(buffer)).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            let at = format!("byte {offset}");
            Error::data(path, at, format!("{length} bytes"), "the end of the file", PREPARE_AGAIN)
        }
        _ => Error::storage(path, "read", e),
    })
}

/// XXH3 as hexadecimal digits.
pub(super) fn xxh3(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_of_a_shard_has_a_digest_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = ShardFile::create(&path).unwrap();
        file.write_all(b"a").unwrap();
        file.take_xxh3();
        file.write_all(b"bc").unwrap();
        assert_eq!(format!("{:016x}", file.take_xxh3()), xxh3(b"bc"));
        assert_eq!(file.written(), 3);
        assert_eq!(file.finish().unwrap().sha256, crate::storage::sha256(b"abc"));
    }
}
