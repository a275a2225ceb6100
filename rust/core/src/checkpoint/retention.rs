//! The checkpoints that are kept: the newest, the best, those that the caller spares, and always the two newest that verify.

use std::path::{Path, PathBuf};

use super::load::{list, verify};
use super::manifest::read_small;
use super::schema::{BEST_FILE, folder_name, step_of};
use super::staging::{FolderLock, recover, remove_folder};
use crate::error::{Error, Result};
use crate::storage::write_whole;

/// Checkpoints that verify and are never pruned.
const ALWAYS: usize = 2;

/// Notes that the checkpoint of `step` is the best so far: [`prune`] leaves it.
///
/// ```
/// use ssm_hpn::checkpoint::{SCHEMA, Snapshot, StateFile, folder_name, list, mark_best, prune, save, verify};
/// # use serde_json::json;
///
/// # fn main() -> ssm_hpn::Result<()> {
/// let root = tempfile::tempdir().expect("a folder");
/// for step in 1..=4 {
///     let state = StateFile { schema: SCHEMA, step, dtype: "float32".into(), ..StateFile::default() };
///     save::<f32>(&root.path().join(folder_name(step)), &Snapshot { model: vec![], optimizer: vec![], state })?;
/// }
/// mark_best(root.path(), 1)?;
/// prune(root.path(), 1, &[])?; // never fewer than the two newest that verify
/// let steps: Vec<u64> = list(root.path())?.into_iter().map(|(step, _)| step).collect();
/// assert_eq!(steps, [1, 3, 4]);
/// assert_eq!(verify(&root.path().join(folder_name(4)))?.step, 4);
/// # Ok(())
/// # }
/// ```
pub fn mark_best(root: &Path, step: u64) -> Result<()> {
    let name = folder_name(step);
    if !root.join(&name).is_dir() {
        let advice = "save it before it becomes the best";
        return Err(Error::checkpoint(root, "best", format!("a checkpoint {name}"), "none", advice));
    }
    write_whole(&root.join(BEST_FILE), format!("{name}\n").as_bytes()).map(drop)
}

/// The step that was last marked best, if any and if its checkpoint is still there.
///
/// ```
/// # use ssm_hpn::checkpoint::folder_name;
/// use ssm_hpn::checkpoint::{best, mark_best};
///
/// # use ssm_hpn::checkpoint::{SCHEMA, Snapshot, StateFile, save};
/// # let root = tempfile::tempdir().expect("a folder");
/// # for step in 1..=3 {
/// #     let state = StateFile { schema: SCHEMA, step, dtype: "float32".into(), ..StateFile::default() };
/// #     save::<f32>(&root.path().join(folder_name(step)), &Snapshot { model: vec![], optimizer: vec![], state })?;
/// # }
/// # let root = root.path();
/// // A folder with checkpoints of the steps 1, 2 and 3.
/// assert_eq!(best(root), None);
/// mark_best(root, 2)?;
/// assert_eq!(best(root), Some(2));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub fn best(root: &Path) -> Option<u64> {
    let text = String::from_utf8(read_small(&root.join(BEST_FILE), 1024).ok()?).ok()?;
    let name = text.trim_end();
    step_of(name).filter(|_| root.join(name).is_dir())
}

/// Removes all but the `keep` newest, the best, the two newest that verify and those of the steps `spared`; returns what
/// was removed.
///
/// ```
/// use ssm_hpn::checkpoint::{folder_name, prune};
///
/// # use ssm_hpn::checkpoint::{SCHEMA, Snapshot, StateFile, save};
/// # let root = tempfile::tempdir().expect("a folder");
/// # for step in 1..=3 {
/// #     let state = StateFile { schema: SCHEMA, step, dtype: "float32".into(), ..StateFile::default() };
/// #     save::<f32>(&root.path().join(folder_name(step)), &Snapshot { model: vec![], optimizer: vec![], state })?;
/// # }
/// # let root = root.path();
/// // A folder with checkpoints of the steps 1, 2 and 3.
/// assert!(prune(root, 2, &[1])?.is_empty());
/// assert_eq!(prune(root, 2, &[])?, [root.join(folder_name(1))]);
/// assert!(prune(root, 1, &[])?.is_empty()); // the two newest that verify stay
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub fn prune(root: &Path, keep: usize, spared: &[u64]) -> Result<Vec<PathBuf>> {
    let _lock = FolderLock::wait(root)?;
    recover(root, None)?;
    let steps = list(root)?;
    if steps.len() <= keep.max(ALWAYS) {
        return Ok(Vec::new());
    }
    let best = best(root);
    let mut verified = 0;
    let mut removed = Vec::new();
    for (age, (step, folder)) in steps.into_iter().rev().enumerate() {
        let needed = verified < ALWAYS && verify(&folder).is_ok();
        verified += usize::from(needed);
        if !needed && age >= keep && best != Some(step) && !spared.contains(&step) {
            remove_folder(&folder)?;
            removed.push(folder);
        }
    }
    Ok(removed)
}
