//! Finding the checkpoint to go on from: the newest folder that verifies, and why newer ones were passed over.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::TensorFile;
use super::manifest::{CheckpointManifest, is_newer, read_small};
use super::migrate::migrate;
use super::schema::{
    BEST_FILE, LATEST_FILE, MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, ROOT_FOLDER, STATE_FILE, StateFile,
    folder_name, step_of,
};
use super::staging::replaced_name;
use crate::error::{Error, Result};

/// Largest `state.json` that is read.
const MAX_STATE: u64 = 256 << 20;

/// A verified checkpoint.
#[derive(Debug)]
pub struct Loaded {
    /// Its folder.
    pub folder: PathBuf,
    /// Contents of `state.json`, migrated to the present schema.
    pub state: StateFile,
    /// Parameters, to be read into their buffers.
    pub model: TensorFile,
    /// Moments.
    pub optimizer: TensorFile,
    /// Why newer checkpoints were passed over, newest first.
    pub passed_over: Vec<Error>,
}

/// Opens a checkpoint. `path` is one folder, a `latest` or `best` file, a folder of checkpoints, or a run folder; of
/// several the newest that verifies is taken. A whole checkpoint of a newer schema is refused and not passed over: going
/// on from an older one would write over what a newer version of this package has learned since.
pub fn load(path: &Path) -> Result<Loaded> {
    if path.is_file() {
        return load_one(&pointed(path)?);
    }
    let root = if path.join(ROOT_FOLDER).is_dir() { path.join(ROOT_FOLDER) } else { path.to_path_buf() };
    let is_one = path.join(MANIFEST_FILE).exists() || path.join(STATE_FILE).exists();
    let steps = if is_one { Vec::new() } else { candidates(&root)? };
    if steps.is_empty() {
        return load_one(path);
    }
    let mut passed_over = Vec::new();
    for (step, folder) in steps.into_iter().rev() {
        match load_one(&folder).and_then(|loaded| same_step(loaded, step)) {
            Ok(loaded) => return Ok(Loaded { passed_over, ..loaded }),
            Err(e) if is_newer(&e) => return Err(e),
            Err(e) => passed_over.push(e),
        }
    }
    let reasons: Vec<_> = passed_over.iter().map(Error::to_string).collect();
    Err(Error::checkpoint(
        root,
        "folder",
        "a checkpoint that verifies",
        format!("{} that do not ({})", reasons.len(), reasons.join("; ")),
        "restore one from a copy, or start anew in another folder",
    ))
}

/// Checkpoints of a folder by step, oldest first, not verified.
///
/// ```
/// use ssm_hpn::checkpoint::{folder_name, list};
///
/// # use ssm_hpn::checkpoint::{SCHEMA, Snapshot, StateFile, save};
/// # let root = tempfile::tempdir().expect("a folder");
/// # for step in 1..=3 {
/// #     let state = StateFile { schema: SCHEMA, step, dtype: "float32".into(), ..StateFile::default() };
/// #     save::<f32>(&root.path().join(folder_name(step)), &Snapshot { model: vec![], optimizer: vec![], state })?;
/// # }
/// # let root = root.path();
/// // A folder with checkpoints of the steps 1, 2 and 3.
/// let steps: Vec<u64> = list(root)?.into_iter().map(|(step, _)| step).collect();
/// assert_eq!(steps, [1, 2, 3]);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub fn list(root: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut steps = candidates(root)?;
    steps.retain(|(step, folder)| folder.file_name() == Some(folder_name(*step).as_ref()));
    Ok(steps)
}

/// Checks a checkpoint's manifest and the size and digest of every file.
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
/// assert_eq!(verify(&folder)?.step, 3);
///
/// std::fs::write(folder.join("model.safetensors"), b"cut").expect("written");
/// let refused = verify(&folder).unwrap_err();
/// assert!(refused.to_string().contains("model.safetensors: size: expected"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub fn verify(folder: &Path) -> Result<CheckpointManifest> {
    let manifest = CheckpointManifest::read(folder)?;
    manifest.verify(folder)?;
    Ok(manifest)
}

/// As [`list`], with folders that have a hidden name because a crash interrupted their replacement.
fn candidates(root: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let failed = |e| Error::storage(root, "list", e);
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut steps = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let plain = replaced_name(name).filter(|plain| !root.join(plain).exists()).unwrap_or(name);
        if let Some(step) = step_of(plain) {
            steps.push((step, root.join(name)));
        }
    }
    steps.sort();
    Ok(steps)
}

/// The folder that a `latest` or `best` file names.
fn pointed(path: &Path) -> Result<PathBuf> {
    let refuse = |found: String| {
        let advice = "give the folder of a checkpoint, of checkpoints or of a run";
        Error::checkpoint(path, "file", "a folder, or a file that names one", found, advice)
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if ![LATEST_FILE, BEST_FILE].contains(&name) {
        return Err(refuse("another file".into()));
    }
    let text = String::from_utf8_lossy(&read_small(path, 1024)?).into_owned();
    let target = text.trim_end();
    step_of(target).ok_or_else(|| refuse(format!("{target:?}")))?;
    Ok(path.with_file_name(target))
}

fn load_one(folder: &Path) -> Result<Loaded> {
    if !folder.is_dir() {
        return Err(Error::checkpoint(
            folder,
            "folder",
            "a checkpoint or a folder of checkpoints",
            "none",
            "check the path",
        ));
    }
    let manifest = verify(folder)?;
    let path = folder.join(STATE_FILE);
    let bytes = read_small(&path, MAX_STATE)?;
    let damaged = |e: serde_json::Error| {
        Error::checkpoint(&path, "fields", "the state of a training", e, "load another checkpoint of the run")
    };
    let state = migrate(&path, serde_json::from_slice(&bytes).map_err(damaged)?)?;
    let state: StateFile = serde_json::from_value(state).map_err(damaged)?;
    if state.step != manifest.step {
        let advice = "the files are of different checkpoints; load another";
        return Err(Error::checkpoint(&path, "step", manifest.step.to_string(), state.step, advice));
    }
    Ok(Loaded {
        folder: folder.to_path_buf(),
        state,
        model: TensorFile::open(&folder.join(MODEL_FILE))?,
        optimizer: TensorFile::open(&folder.join(OPTIMIZER_FILE))?,
        passed_over: Vec::new(),
    })
}

fn same_step(loaded: Loaded, step: u64) -> Result<Loaded> {
    if loaded.state.step == step {
        return Ok(loaded);
    }
    let advice = "the folder was renamed; give it its name back, or load it by its path";
    Err(Error::checkpoint(loaded.folder, "name", folder_name(loaded.state.step), folder_name(step), advice))
}
