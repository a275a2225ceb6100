//! Files: written whole or not at all, read by position, digested on the way.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow_buffer::{Buffer, MutableBuffer};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::manifest::PREPARE_AGAIN;
use crate::error::{Error, Result};

/// A file that appears under its name only when it is complete and on the disk; dropped before, it leaves nothing.
pub(super) struct WholeFile {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
    written: u64,
    sha256: Sha256,
    xxh3: Xxh3,
}

impl WholeFile {
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        let temporary = temporary_name(&path);
        let file = File::create(&temporary).map_err(|e| Error::storage(&temporary, "create", e))?;
        let file = Some(BufWriter::with_capacity(1 << 18, file));
        Ok(Self { path, temporary, file, written: 0, sha256: Sha256::new(), xxh3: Xxh3::new() })
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Digest of the bytes since the last call.
    pub(super) fn take_xxh3(&mut self) -> u64 {
        let digest = self.xxh3.digest();
        self.xxh3.reset();
        digest
    }

    /// Flushes, syncs and renames. Returns size and SHA-256. The folder itself is not synced yet.
    pub(super) fn finish(mut self) -> Result<(u64, String)> {
        if let Some(buffered) = self.file.take() {
            let done =
                buffered.into_inner().map_err(io::IntoInnerError::into_error).and_then(|f| f.sync_all());
            let done = done.map_err(|e| Error::storage(&self.temporary, "write", e)).and_then(|()| {
                fs::rename(&self.temporary, &self.path)
                    .map_err(|e| Error::storage(&self.path, "rename into place", e))
            });
            if done.is_err() {
                let _ = fs::remove_file(&self.temporary);
            }
            done?;
        }
        Ok((self.written, hex(&std::mem::take(&mut self.sha256).finalize())))
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let n = file.write(bytes)?;
        self.written += n as u64;
        self.sha256.update(&bytes[..n]);
        self.xxh3.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Name of the file under construction: hidden, so that no reader takes it for a shard.
fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part"))
}

/// Writes one small file, whole or not at all.
pub(super) fn write_whole(path: PathBuf, bytes: &[u8]) -> Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes).map_err(|e| Error::storage(&file.path, "write", e))?;
    file.finish().map(|_| ())
}

/// Makes the names in a folder durable. Windows has no such call.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| Error::storage(folder, "sync the folder", e))?;
    }
    Ok(())
}

/// Opens a shard.
pub(super) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            Error::data(path, "file", "a shard that the manifest lists", "no such file", PREPARE_AGAIN)
        }
        _ => Error::storage(path, "open", e),
    })
}

/// Reads `length` bytes at `offset` into an aligned buffer. The caller has bounded both by the size of the file.
pub(super) fn read_at(path: &Path, file: &mut File, offset: u64, length: usize) -> Result<Buffer> {
    let mut buffer = MutableBuffer::from_len_zeroed(length);
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut buffer)).map_err(|e| {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => {
                let at = format!("byte {offset}");
                Error::data(path, at, format!("{length} bytes"), "the end of the file", PREPARE_AGAIN)
            }
            _ => Error::storage(path, "read", e),
        }
    })?;
    Ok(buffer.into())
}

/// Size and SHA-256 of a file, read in pieces.
pub(super) fn sha256_of_file(path: &Path) -> Result<(u64, String)> {
    let mut file = open(path)?;
    let (mut digest, mut size, mut piece) = (Sha256::new(), 0, vec![0; 1 << 18]);
    loop {
        let n = file.read(&mut piece).map_err(|e| Error::storage(path, "read", e))?;
        if n == 0 {
            return Ok((size, hex(&digest.finalize())));
        }
        digest.update(&piece[..n]);
        size += n as u64;
    }
}

/// SHA-256 as hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// XXH3 as hexadecimal digits.
pub(super) fn xxh3(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = WholeFile::create(path.clone()).unwrap();
        file.write_all(b"ab").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut file = WholeFile::create(path.clone()).unwrap();
        file.write_all(b"a").unwrap();
        file.take_xxh3();
        file.write_all(b"bc").unwrap();
        assert_eq!(format!("{:016x}", file.take_xxh3()), xxh3(b"bc"));
        assert!(!path.exists());
        let (size, digest) = file.finish().unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((size, digest), sha256_of_file(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
