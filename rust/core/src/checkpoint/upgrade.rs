//! A checkpoint of an older schema, rewritten in the present one in its place.
//!
//! The folder is verified and its state taken along the chain of migrations; tensors are linked or copied as they are. The
//! new folder takes the place of the old one as a saved checkpoint does: a crash at any moment leaves one of them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::load::verify;
use super::manifest::{CheckpointManifest, read_small};
use super::migrate::{CHAIN, Migration, along};
use super::schema::{MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, SCHEMA, STATE_FILE};
use super::staging::Staging;
use super::write::write_synced;
use crate::error::{Error, Result};

/// Largest `state.json` that is read.
const MAX_STATE: u64 = 256 << 20;

/// Rewrites a checkpoint of an older schema in the present one, in place and atomically; returns the schema that it had.
/// One of the present schema is verified and left as it is.
///
/// ```
/// use ssm_hpn::checkpoint::{SCHEMA, Snapshot, StateFile, folder_name, save, upgrade};
///
/// # let root = tempfile::tempdir().expect("a folder");
/// let state = StateFile { schema: SCHEMA, step: 7, dtype: "float32".to_owned(), ..StateFile::default() };
/// let folder = root.path().join(folder_name(7));
/// save::<f32>(&folder, &Snapshot { model: vec![], optimizer: vec![], state })?;
/// assert_eq!(upgrade(&folder)?, SCHEMA);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub fn upgrade(folder: &Path) -> Result<u32> {
    upgrade_along(CHAIN, folder)
}

/// The same along a chain of migrations: `chain[i]` leads from schema i + 1 to i + 2.
#[doc(hidden)]
pub fn upgrade_along(chain: &[Migration], folder: &Path) -> Result<u32> {
    let manifest = verify(folder)?;
    let path = folder.join(STATE_FILE);
    let damaged = |e: serde_json::Error| {
        Error::checkpoint(&path, "fields", "the state of a training", e, "load another checkpoint of the run")
    };
    let state: Value = serde_json::from_slice(&read_small(&path, MAX_STATE)?).map_err(damaged)?;
    let before = state["schema"].as_u64();
    let state = along(chain, &path, state)?;
    let newest = chain.len() as u32 + 1;
    if before == Some(newest.into()) {
        return Ok(newest);
    }
    let staging = Staging::begin(folder)?;
    let mut new = CheckpointManifest { schema: newest, ..CheckpointManifest::new(manifest.step) };
    for name in [MODEL_FILE, OPTIMIZER_FILE] {
        let (from, to) = (folder.join(name), staging.folder().join(name));
        // A file system without links, and one whose file has too many, takes a copy.
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).map_err(|e| Error::storage(&to, "copy", e))?;
            fs::File::open(&to)
                .and_then(|file| file.sync_all())
                .map_err(|e| Error::storage(&to, "write", e))?;
        }
        new.add(name, manifest.files[name].clone()); // as verified: a copy that is not the same is found by it
    }
    let text = format!("{state:#}\n");
    new.add(STATE_FILE, write_synced(&staging.folder().join(STATE_FILE), text.as_bytes())?);
    write_synced(&staging.folder().join(MANIFEST_FILE), &new.to_text())?;
    drop(staging.commit()?);
    Ok(before.and_then(|schema| schema.try_into().ok()).unwrap_or(SCHEMA))
}

#[cfg(test)]
mod tests {
    use super::super::load::load;
    use super::super::manifest::is_newer;
    use super::super::tests::save_step;
    use super::*;
    use crate::storage::crash;

    /// To schema 2, which has one more field.
    const TO_TWO: &[Migration] = &[|mut state| {
        state["added"] = 7.into();
        Ok(state)
    }];

    fn state(folder: &Path) -> Value {
        serde_json::from_slice(&fs::read(folder.join(STATE_FILE)).unwrap()).unwrap()
    }

    #[test]
    fn an_older_checkpoint_is_rewritten_in_place_and_a_present_one_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = save_step(root.path(), 3);
        let before = fs::read(folder.join(MANIFEST_FILE)).unwrap();
        assert_eq!(upgrade(&folder).unwrap(), SCHEMA);
        assert_eq!(fs::read(folder.join(MANIFEST_FILE)).unwrap(), before);
        let model = fs::read(folder.join(MODEL_FILE)).unwrap();
        assert_eq!(upgrade_along(TO_TWO, &folder).unwrap(), 1);
        assert_eq!((&state(&folder)["schema"], &state(&folder)["added"]), (&2.into(), &7.into()));
        assert_eq!(fs::read(folder.join(MODEL_FILE)).unwrap(), model);
        // It verifies, and this release says that it is newer.
        assert!(load(&folder).unwrap_err().to_string().contains("found 2"));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "the folder and `latest`");
    }

    #[test]
    fn a_damaged_checkpoint_is_not_rewritten() {
        let root = tempfile::tempdir().unwrap();
        let folder = save_step(root.path(), 3);
        let mut bytes = fs::read(folder.join(MODEL_FILE)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(folder.join(MODEL_FILE), bytes).unwrap();
        let refused = upgrade_along(TO_TWO, &folder).unwrap_err().to_string();
        assert!(refused.contains("SHA-256"), "{refused}");
        assert_eq!(state(&folder)["schema"], 1);
    }

    #[test]
    fn a_crash_at_any_operation_leaves_the_old_checkpoint_or_the_new_one() {
        for operations in 0.. {
            let root = tempfile::tempdir().unwrap();
            let folder = save_step(root.path(), 3);
            let done = crash::after(operations, || upgrade_along(TO_TWO, &folder)).is_some();
            let there = fs::read_dir(root.path()).unwrap().filter(|entry| {
                let path = entry.as_ref().unwrap().path();
                // A whole one of schema 2 is newer than this release.
                path.join(STATE_FILE).exists() && verify(&path).map_or_else(|e| is_newer(&e), |_| true)
            });
            assert!(there.count() >= 1, "after {operations} operations");
            if done {
                return;
            }
        }
    }
}
