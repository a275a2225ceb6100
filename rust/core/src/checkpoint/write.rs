//! The files of a checkpoint, written into a staged folder that then gets its name.

use std::path::{Path, PathBuf};

use super::files::{Stored, write_tensors};
use super::manifest::CheckpointManifest;
use super::schema::{LATEST_FILE, MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE, StateFile, step_of};
use super::staging::Staging;
use crate::error::Result;
use crate::storage::{FileRecord, SyncedFile, write_whole};

/// Saves tensors of any types that are stored to `folder`, replacing what is there, and returns it once it is on the disk.
pub(super) fn save_parts<M: Stored, O: Stored>(
    folder: &Path,
    model: &[M],
    optimizer: &[O],
    state: &StateFile,
) -> Result<PathBuf> {
    let staging = Staging::begin(folder)?;
    write_files(staging.folder(), model, optimizer, state)?;
    let (folder, _lock) = staging.commit()?;
    if let (Some(root), Some(name)) = (folder.parent(), step_name(&folder)) {
        write_whole(&root.join(LATEST_FILE), format!("{name}\n").as_bytes())?;
    }
    Ok(folder)
}

/// The files of a checkpoint, the manifest last, each synced.
fn write_files<M: Stored, O: Stored>(
    folder: &Path,
    model: &[M],
    optimizer: &[O],
    state: &StateFile,
) -> Result<()> {
    let mut manifest = CheckpointManifest::new(state.step);
    manifest.add(MODEL_FILE, write_tensors(&folder.join(MODEL_FILE), model)?);
    manifest.add(OPTIMIZER_FILE, write_tensors(&folder.join(OPTIMIZER_FILE), optimizer)?);
    manifest.add(STATE_FILE, write_synced(&folder.join(STATE_FILE), &state.to_text())?);
    write_synced(&folder.join(MANIFEST_FILE), &manifest.to_text())?;
    Ok(())
}

/// Writes a file of a folder that is being staged.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<FileRecord> {
    let mut file = SyncedFile::create(path)?;
    file.put(bytes)?;
    file.finish()
}

/// The folder's name if it is one of a step.
fn step_name(folder: &Path) -> Option<&str> {
    folder.file_name()?.to_str().filter(|name| step_of(name).is_some())
}
