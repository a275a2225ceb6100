//! Folders that are whole or absent, whatever interrupts their writing.
//!
//! A folder is staged as `.NAME.partial-PID` beside its place, every file synced, then the folder, then renamed, then the
//! parent synced. One that was there before is renamed to `.NAME.replaced-PID` for that moment, and renamed back if the
//! rename never happened. What is deleted is renamed to `.NAME.removed-PID` first. So only complete folders have plain
//! names; the next writer removes or renames the others.
//!
//! Locks are advisory and end with the process: none survives a kill. Mode bits are what the umask leaves. On Windows
//! folders can be neither synced nor locked: best effort.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process;

use super::schema::{BEST_FILE, LATEST_FILE, step_of};
use crate::error::{Error, Result};
use crate::storage::crash;
use crate::storage::write::{PARTIAL, create_folder, parent, rename, sync_folder};

/// The reason for which a folder or file has a hidden name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aside {
    Partial,
    Replaced,
    Removed,
}

impl Aside {
    const ALL: [(Self, &str); 3] =
        [(Self::Partial, PARTIAL), (Self::Replaced, ".replaced-"), (Self::Removed, ".removed-")];

    fn mark(self) -> &'static str {
        Self::ALL.into_iter().find_map(|(aside, mark)| (aside == self).then_some(mark)).unwrap_or_default()
    }
}

fn aside(parent: &Path, name: &str, why: Aside) -> PathBuf {
    parent.join(format!(".{name}{}{}", why.mark(), process::id()))
}

/// The plain name of a folder that was renamed, and why it was.
fn plain(name: &str) -> Option<(&str, Aside)> {
    let hidden = name.strip_prefix('.')?;
    Aside::ALL.into_iter().find_map(|(why, mark)| {
        let (plain, process) = hidden.rsplit_once(mark)?;
        (!plain.is_empty() && process.parse::<u32>().is_ok()).then_some((plain, why))
    })
}

/// The plain name of a complete folder that was renamed for another that was never put in its place.
pub(super) fn replaced_name(name: &str) -> Option<&str> {
    plain(name).filter(|(_, why)| *why == Aside::Replaced).map(|(plain, _)| plain)
}

/// Parent folder and name of a path.
fn place(path: &Path) -> Result<(PathBuf, String)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name else {
        let found = format!("{:?}", path.display());
        return Err(Error::config("checkpoint", "a path that ends in a name", found, "choose another"));
    };
    Ok((parent(path).to_path_buf(), name.to_owned()))
}

/// A folder that is being written. Dropped before [`Staging::commit`], it is removed.
#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
    target: PathBuf,
    parent: PathBuf,
    name: String,
    lock: FolderLock,
    done: bool,
}

impl Staging {
    /// Waits for other writers of the parent folder, removes what interrupted ones left, and makes an empty folder.
    pub(super) fn begin(target: &Path) -> Result<Self> {
        let (parent, name) = place(target)?;
        create_folder(&parent)?;
        let lock = FolderLock::wait(&parent)?;
        recover(&parent, Some(&name))?;
        let folder = aside(&parent, &name, Aside::Partial);
        crash::point()
            .and_then(|()| fs::create_dir(&folder))
            .map_err(|e| Error::storage(&folder, "create the folder", e))?;
        Ok(Self { folder, target: target.to_path_buf(), parent, name, lock, done: false })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Renames the folder to its place; returns the lock.
    pub(super) fn commit(mut self) -> Result<(PathBuf, FolderLock)> {
        sync_folder(&self.folder)?;
        let replaced = aside(&self.parent, &self.name, Aside::Replaced);
        let replaces = self.target.exists();
        if replaces {
            rename(&self.target, &replaced)?;
        }
        rename(&self.folder, &self.target)?;
        self.done = true;
        sync_folder(&self.parent)?;
        if replaces {
            remove(&replaced)?;
        }
        Ok((self.target.clone(), std::mem::take(&mut self.lock)))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.done && !crash::occurred() {
            // A failure is ignored: the next save removes the folder.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    let removed = crash::point()
        .and_then(|()| if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) });
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::storage(path, "remove", e)),
        _ => Ok(()),
    }
}

/// Renames a folder to a hidden name, then deletes it.
pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    let (parent, name) = place(folder)?;
    let removed = aside(&parent, &name, Aside::Removed);
    rename(folder, &removed)?;
    remove(&removed)
}

/// Removes what interrupted writers left, the caller holding the lock: what is partial or removed goes, what was to
/// be replaced comes back if nothing took its place. Only steps of checkpoints, their pointers and `name` are touched.
pub(super) fn recover(parent: &Path, name: Option<&str>) -> Result<()> {
    for entry in fs::read_dir(parent).map_err(|e| Error::storage(parent, "list", e))? {
        let entry = entry.map_err(|e| Error::storage(parent, "list", e))?;
        let file_name = entry.file_name();
        let Some((plain, why)) = file_name.to_str().and_then(plain) else { continue };
        let ours =
            step_of(plain).is_some() || [LATEST_FILE, BEST_FILE].contains(&plain) || name == Some(plain);
        let target = parent.join(plain);
        match why {
            _ if !ours => {}
            Aside::Replaced if !target.exists() => rename(&entry.path(), &target)?,
            _ => remove(&entry.path())?,
        }
    }
    Ok(())
}

/// The lock of a folder of checkpoints, held until it is dropped.
#[derive(Debug, Default)]
pub(super) struct FolderLock(#[expect(dead_code, reason = "closing it ends the lock")] Option<File>);

impl FolderLock {
    /// Waits for the lock. Where folders cannot be locked, the run's lock must do.
    pub(super) fn wait(folder: &Path) -> Result<Self> {
        if cfg!(windows) {
            return Ok(Self(None));
        }
        let file = File::open(folder).map_err(|e| Error::storage(folder, "open the folder", e))?;
        Ok(Self(file.lock().is_ok().then_some(file)))
    }
}

/// Sole right to write a run folder; ends when it is dropped or the process ends in any way.
///
/// ```
/// use ssm_hpn::Error;
/// use ssm_hpn::checkpoint::RunLock;
///
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let folder = folder.path();
/// let lock = RunLock::acquire(folder)?;
/// # if cfg!(unix) {
/// // Whoever asks for it meanwhile is told who has it.
/// let refused = RunLock::acquire(folder).unwrap_err();
/// let process = format!("process {}", std::process::id());
/// assert!(matches!(refused, Error::InUse { owner, .. } if owner == process));
/// # }
/// drop(lock);
/// RunLock::acquire(folder)?;
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// File in the run folder that carries the lock.
    pub const FILE: &'static str = ".lock";

    /// Takes the lock of a run folder, which is created if need be; refuses if another process has it.
    pub fn acquire(folder: &Path) -> Result<Self> {
        create_folder(folder)?;
        let path = folder.join(Self::FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| Error::storage(&path, "open", e))?;
        // File systems without locks return another error: two writers cannot be detected there, and one must still
        // be possible.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let mut owner = String::new();
            let _ = file.take(20).read_to_string(&mut owner);
            let owner = match owner.trim() {
                "" => "another process".to_owned(),
                id => format!("process {id}"),
            };
            return Err(Error::InUse { path: folder.to_path_buf(), owner });
        }
        let id = format!("{}\n", process::id());
        let noted = file.set_len(0).and_then(|()| file.write_all(id.as_bytes()));
        noted.map_err(|e| Error::storage(&path, "write", e))?;
        Ok(Self { _file: file })
    }
}
