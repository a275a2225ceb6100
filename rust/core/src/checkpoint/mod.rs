//! Checkpoints: folders that are whole or absent, with digests of every file.
//!
//! ```text
//! checkpoints/
//!   step-00001000/
//!     model.safetensors       parameters under their public names
//!     optimizer.safetensors   moments
//!     state.json              counters, configurations, whatever the caller needs to go on (schema.rs)
//!     MANIFEST.json           size and SHA-256 of each file, and a digest of itself; written last
//!   latest, best              name of a folder beside them
//! ```
//!
//! Saving: stage in a sibling folder → fsync each file and the folder → rename → fsync the parent → update `latest`.
//! Whatever a crash interrupts, the folders named `step-…` are complete, and the next save removes the rest.
//! Loading takes the newest folder that verifies and says why it passed over others. It knows no session: it stores named tensors and a [`StateFile`].
//!
//! | file | what |
//! |---|---|
//! | `schema` | names, version, `state.json` |
//! | `manifest` | sizes and digests |
//! | `files` | safetensors, streamed |
//! | `weights` | tensors of a parameter table, from our own files and public ones |
//! | `staging` | folders in the making, locks |
//! | `load` | finding and verifying |
//! | `retention` | `best`, pruning |
//! | `migrate` | older schemas |
//! | `upgrade` | one of an older schema, rewritten in its place |
//! | `write` | the files of a checkpoint |
//! | `arrays` | models that are named arrays, and no session |

#![forbid(unsafe_code)]

pub(crate) mod arrays;
pub(crate) mod files;
pub(crate) mod load;
pub(crate) mod manifest;
pub(crate) mod migrate;
pub(crate) mod retention;
pub(crate) mod schema;
pub(crate) mod staging;
pub(crate) mod upgrade;
pub(crate) mod weights;
pub(crate) mod write;

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::numeric::Scalar;

#[doc(hidden)]
pub use arrays::{ArrayCheckpoint, NamedArray, Numbers, load_arrays, save_arrays};
pub(crate) use files::FetchedTensor;
#[doc(hidden)]
pub use files::{Precision, Tensor, TensorFile};
#[doc(hidden)]
pub use load::{Loaded, load};
pub use load::{list, verify};
pub use manifest::CheckpointManifest;
#[doc(hidden)]
pub use migrate::Migration;
pub use retention::{best, mark_best, prune};
pub use schema::folder_name;
#[doc(hidden)]
pub use schema::{SCHEMA, StateFile};
pub use staging::RunLock;
pub use upgrade::upgrade;
#[doc(hidden)]
pub use upgrade::upgrade_along;
pub use weights::Scope;

/// The contents of a checkpoint. The tensors are borrowed and streamed: saving needs no second copy of them.
///
/// ```
/// use ssm_hpn::checkpoint::{SCHEMA, Snapshot, StateFile, Tensor, folder_name, save};
///
/// # let root = tempfile::tempdir().expect("a folder");
/// let tensor = Tensor { name: "weight".to_owned(), shape: vec![2, 2], data: &[1.0_f32, 2.0, 3.0, 4.0] };
/// let state = StateFile { schema: SCHEMA, step: 7, dtype: "float32".to_owned(), ..StateFile::default() };
/// let snapshot = Snapshot { model: vec![tensor], optimizer: vec![], state };
/// let folder = save(&root.path().join(folder_name(7)), &snapshot)?;
/// assert!(folder.ends_with("step-00000007"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Snapshot<'a, T> {
    /// Parameters.
    pub model: Vec<Tensor<'a, T>>,
    /// Moments.
    pub optimizer: Vec<Tensor<'a, T>>,
    /// Everything else.
    pub state: StateFile,
}

/// Saves to `folder`, replacing what is there, and returns it once it is on the disk. A folder named `step-…` becomes the
/// `latest` of its parent.
///
/// ```
/// use ssm_hpn::checkpoint::{SCHEMA, Snapshot, StateFile, folder_name, save, verify};
///
/// # let root = tempfile::tempdir().expect("a folder");
/// # let root = root.path();
/// let state = StateFile { schema: SCHEMA, step: 7, dtype: "float32".to_owned(), ..StateFile::default() };
/// let folder = save::<f32>(&root.join(folder_name(7)), &Snapshot { model: vec![], optimizer: vec![], state })?;
/// assert_eq!(verify(&folder)?.step, 7);
/// assert_eq!(std::fs::read_to_string(root.join("latest")).expect("a name"), "step-00000007\n");
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[doc(hidden)]
pub fn save<T: Scalar>(folder: &Path, snapshot: &Snapshot<T>) -> Result<PathBuf> {
    write::save_parts(folder, &snapshot.model, &snapshot.optimizer, &snapshot.state)
}

/// The same with moments that are fetched while they are written.
pub(crate) fn save_fetched<T: Scalar>(
    folder: &Path,
    model: &[Tensor<T>],
    optimizer: &[FetchedTensor<T>],
    state: &StateFile,
) -> Result<PathBuf> {
    write::save_parts(folder, model, optimizer, state)
}

#[cfg(test)]
pub(crate) mod tests;
