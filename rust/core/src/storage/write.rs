//! Writing: every file is synced before it gets its name, and the folder after.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

use sha2::{Digest, Sha256};

use super::crash;
use super::record::FileRecord;
use crate::error::{Error, Result};

/// Bytes gathered before a write.
const BUFFER: usize = 1 << 18;

/// Stands in the hidden name of an unfinished file or folder, before the id of the process that writes it.
pub(crate) const PARTIAL: &str = ".partial-";

/// A file that is hashed while it is written and synced at the end. It has its name from the start: it belongs into a
/// folder that gets its own name later.
#[derive(Debug)]
pub(crate) struct SyncedFile {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl SyncedFile {
    /// Creates the file, or empties it.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = crash::point().and_then(|()| File::create(path));
        let file = file.map_err(|e| Error::storage(path, "create the file", e))?;
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(Self { path: path.to_path_buf(), file, hash: Sha256::new(), bytes: 0 })
    }

    /// Bytes written so far.
    #[cfg(feature = "shards")]
    pub(crate) fn written(&self) -> u64 {
        self.bytes
    }

    /// Writes all the bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|e| Error::storage(&self.path, "write", e))
    }

    /// Writes what is still in memory and waits until all of it is on the disk.
    pub(crate) fn finish(mut self) -> Result<FileRecord> {
        let synced =
            self.file.flush().and_then(|()| crash::point()).and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|e| Error::storage(&self.path, "write", e))?;
        Ok(FileRecord { bytes: self.bytes, sha256: hex::encode(self.hash.finalize()) })
    }
}

impl Write for SyncedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        crash::point()?;
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that appears under its name only when it is complete and on the disk. Dropped before [`WholeFile::finish`], it
/// leaves nothing; killed, it leaves `.NAME.partial-PID`.
#[derive(Debug)]
pub(crate) struct WholeFile {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<SyncedFile>,
}

impl WholeFile {
    /// Starts a file that will take, or replace what is at, `path`.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let temporary = temporary_name(path)?;
        let file = SyncedFile::create(&temporary).map_err(|e| named(e, path))?;
        Ok(Self { path: path.to_path_buf(), temporary, file: Some(file) })
    }

    /// Bytes written so far.
    #[cfg(feature = "shards")]
    pub(crate) fn written(&self) -> u64 {
        self.file.as_ref().map_or(0, SyncedFile::written)
    }

    /// Syncs the file, gives it its name and syncs the folder.
    pub(crate) fn finish(mut self) -> Result<FileRecord> {
        let Some(file) = self.file.take() else {
            return Err(Error::storage(&self.path, "write", io::ErrorKind::BrokenPipe.into()));
        };
        let written = file.finish().and_then(|record| rename(&self.temporary, &self.path).map(|()| record));
        if written.is_err() {
            self.discard();
        }
        let record = written.map_err(|e| named(e, &self.path))?;
        sync_folder(parent(&self.path))?;
        Ok(record)
    }

    fn discard(&self) {
        if !crash::occurred() {
            // A failure is ignored: no reader opens a file of this name, and the next write of the file replaces it.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            self.discard();
        }
    }
}

/// Writes one file, or replaces it: readers see the old one or the new one, also after the power has failed.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("note.txt");
/// ssm_hpn::storage::write_whole(&path, b"first")?;
/// ssm_hpn::storage::write_whole(&path, b"second")?;
/// assert_eq!(std::fs::read(&path)?, b"second");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<FileRecord> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes).map_err(|e| Error::storage(path, "write", e))?;
    file.finish()
}

/// Gives a file or folder another name in the same folder, which the caller syncs.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    crash::point().and_then(|()| fs::rename(from, to)).map_err(|e| Error::storage(to, "rename into place", e))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    let synced =
        crash::point().and_then(|()| if cfg!(windows) { Ok(()) } else { File::open(folder)?.sync_all() });
    synced.map_err(|e| Error::storage(folder, "sync the folder", e))
}

/// Creates a folder and those above it, and syncs every folder that got a new name.
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let existing = folder.ancestors().skip(1).find(|f| f.is_dir()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| Error::storage(folder, "create the folder", e))?;
    let mut above = parent(folder);
    while above != existing {
        sync_folder(above)?;
        above = parent(above);
    }
    sync_folder(existing)
}

/// The folder that a path is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Name of an unfinished file: hidden, so that no reader takes it for the file.
fn temporary_name(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        let reason =
            io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in the name of a file");
        Error::storage(path, "create the file", reason)
    })?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!("{PARTIAL}{}", process::id()));
    Ok(path.with_file_name(temporary))
}

/// The error with the path that the caller gave.
fn named(error: Error, path: &Path) -> Error {
    match error {
        Error::Storage { action, source, .. } => Error::storage(path, action, source),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_is_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"ab").unwrap();
        drop(file);
        assert_eq!(names(folder.path()), 0);
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"a").unwrap();
        file.write_all(b"bc").unwrap();
        assert!(!path.exists());
        let record = file.finish().unwrap();
        assert_eq!(record, FileRecord { bytes: 3, sha256: super::super::digest::sha256(b"abc") });
        assert_eq!(record, FileRecord::of_file(&path).unwrap());
        assert_eq!(names(folder.path()), 1);
    }

    #[test]
    fn a_crash_at_any_operation_leaves_the_old_file_or_the_new_one() {
        for operations in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            fs::write(&path, "old").unwrap();
            let completed = crash::after(operations, || write_whole(&path, b"new")).is_some();
            let found = fs::read(&path).unwrap();
            assert!(found == b"old" || found == b"new", "{operations}: {found:?}");
            if completed {
                assert_eq!((found.as_slice(), names(folder.path())), (&b"new"[..], 1));
                assert!(operations >= 5, "create, write, sync, rename and sync the folder are operations");
                break;
            }
        }
    }

    #[test]
    fn a_failure_names_the_file_that_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/a");
        let error = write_whole(&path, b"x").unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: cannot create the file: ", path.display())), "{error}");
        assert!(write_whole(Path::new("/"), b"x").unwrap_err().to_string().contains("name of a file"));
    }
}
