//! Names and contents of a checkpoint's files, schema version 1.
//!
//! A change of `state.json` or of the tensors' names raises [`SCHEMA`], adds one function to the chain in `migrate` and a
//! golden folder in the tests. A field that is left out where it is empty is no change: an older release reads the files
//! without it as before, and refuses those with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version that is written, and the newest that is read.
pub const SCHEMA: u32 = 1;

/// Parameters.
pub(crate) const MODEL_FILE: &str = "model.safetensors";
/// Moments.
pub(crate) const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// [`StateFile`].
pub(crate) const STATE_FILE: &str = "state.json";
/// Sizes and digests.
pub(crate) const MANIFEST_FILE: &str = "MANIFEST.json";
/// Names the newest folder, for people and scripts; loading looks at the folders themselves.
pub(crate) const LATEST_FILE: &str = "latest";
/// Names the folder with the best evaluation.
pub(crate) const BEST_FILE: &str = "best";
/// Folder of the checkpoints in a run folder.
pub(crate) const ROOT_FOLDER: &str = "checkpoints";

/// `state.json`: everything but the tensors. Training goes on from it to the same bits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateFile {
    /// [`SCHEMA`] when it was written.
    pub schema: u32,
    /// Updates applied.
    pub step: u64,
    /// Updates skipped because something was not finite.
    pub skipped: u64,
    /// Updates skipped since the last one that was applied.
    pub skipped_in_a_row: u32,
    /// Number type of the tensors: `float32` or `float64`.
    pub dtype: String,
    /// Seed of the run.
    pub seed: u64,
    /// By tensor: updates applied to it since its moments were zero.
    pub updates: BTreeMap<String, u64>,
    /// By tensor: whether it is trained.
    pub trainable: BTreeMap<String, bool>,
    /// Configuration of the model.
    pub model: Value,
    /// Configuration of the optimiser.
    pub optim: Value,
    /// What the head keeps over the updates besides its parameters: numbers of 8 bytes, little-endian, in hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub statistics: String,
    /// State of the caller: data cursor, callbacks, digest of its configuration, offset of the metrics file.
    pub extra: Value,
}

impl StateFile {
    /// The text of the file.
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = format!("{:#}", serde_json::json!(self));
        text.push('\n');
        text.into_bytes()
    }
}

/// Name of the folder of a step: `step-00001000`.
///
/// ```
/// assert_eq!(ssm_hpn::checkpoint::folder_name(1000), "step-00001000");
/// ```
pub fn folder_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// The step that a folder name stands for.
pub(crate) fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (folder_name(step) == name).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folder_names_of_steps_are_parsed_as_steps() {
        for step in [0, 1, 1000, 99_999_999, 100_000_000, u64::MAX] {
            assert_eq!(step_of(&folder_name(step)), Some(step));
        }
        assert_eq!(folder_name(1000), "step-00001000");
        for name in ["step-1000", "step-+0001000", "step-00001000.partial-1", ".step-00001000", "latest", ""]
        {
            assert_eq!(step_of(name), None, "{name}");
        }
    }
}
