//! Checkpoints of models that are named arrays, and no session: such as filters with a head in closed form.
//!
//! They are folders like those of sessions: the arrays are the tensors of `model.safetensors`, `optimizer.safetensors` has
//! none, and the model in `state.json` is `{"kind": KIND}`.

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::{Value, json};

use super::files::{Precision, Stored, Tensor, TensorFile, encode};
use super::load::load;
use super::schema::{SCHEMA, StateFile};
use super::write::save_parts;
use crate::allocate::try_filled;
use crate::error::{Error, Result};

/// Numbers of one of the types that are stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Whole numbers.
    I64(Vec<i64>),
}

/// An array with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedArray {
    /// Name in the file.
    pub name: String,
    /// Shape, slowest axis first.
    pub shape: Vec<usize>,
    /// As many numbers as the shape has.
    pub numbers: Numbers,
}

/// A verified checkpoint of arrays.
#[derive(Debug)]
pub struct ArrayCheckpoint {
    /// Its folder.
    pub folder: PathBuf,
    /// The step that it was saved at.
    pub step: u64,
    /// By name.
    pub arrays: Vec<NamedArray>,
    /// What the caller saved with them.
    pub extra: Value,
    /// Why newer checkpoints were passed over, newest first.
    pub passed_over: Vec<Error>,
}

impl Stored for NamedArray {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn dtype(&self) -> Dtype {
        match self.numbers {
            Numbers::F32(_) => Dtype::F32,
            Numbers::F64(_) => Dtype::F64,
            Numbers::I64(_) => Dtype::I64,
        }
    }

    fn count(&self) -> usize {
        match &self.numbers {
            Numbers::F32(numbers) => numbers.len(),
            Numbers::F64(numbers) => numbers.len(),
            Numbers::I64(numbers) => numbers.len(),
        }
    }

    fn encode<'b>(&self, range: std::ops::Range<usize>, bytes: &'b mut [u8]) -> Result<&'b [u8]> {
        Ok(match &self.numbers {
            Numbers::F32(numbers) => encode(&numbers[range], bytes),
            Numbers::F64(numbers) => encode(&numbers[range], bytes),
            Numbers::I64(numbers) => {
                let bytes = &mut bytes[..range.len() * size_of::<i64>()];
                for (to, x) in bytes.as_chunks_mut().0.iter_mut().zip(&numbers[range]) {
                    *to = x.to_le_bytes();
                }
                bytes
            }
        })
    }
}

/// Saves arrays of a model of a kind to `folder`, whole or not at all, and returns it once it is on the disk. A folder
/// named `step-…` becomes the `latest` of its parent. `extra` is returned by [`load_arrays`].
///
/// ```
/// use ssm_hpn::checkpoint::{NamedArray, Numbers, folder_name, load_arrays, save_arrays};
///
/// # let root = tempfile::tempdir().expect("a folder");
/// # let root = root.path();
/// let codes = NamedArray { name: "codes".into(), shape: vec![3], numbers: Numbers::I64(vec![0, 2, 1]) };
/// let folder = save_arrays(&root.join(folder_name(1)), 1, "features", &[codes.clone()], serde_json::json!({"a": 1}))?;
/// let found = load_arrays(&folder, "features")?;
/// assert_eq!((found.step, found.arrays), (1, vec![codes]));
/// assert_eq!(found.extra["a"], 1);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub fn save_arrays(
    folder: &Path,
    step: u64,
    kind: &str,
    arrays: &[NamedArray],
    extra: Value,
) -> Result<PathBuf> {
    let state = StateFile {
        schema: SCHEMA,
        step,
        dtype: "arrays".to_owned(),
        model: json!({ "kind": kind }),
        extra,
        ..StateFile::default()
    };
    save_parts(folder, arrays, &[] as &[Tensor<f32>], &state)
}

/// Loads what [`save_arrays`] wrote for a model of this kind; also from a folder of checkpoints or a run, of which the
/// newest that verifies is taken.
///
/// # Errors
/// [`Error::Checkpoint`] for a damaged checkpoint, and for one of another kind or of a session.
pub fn load_arrays(path: &Path, kind: &str) -> Result<ArrayCheckpoint> {
    let loaded = load(path)?;
    let found = kind_of(&loaded.state);
    if found != Some(kind) {
        let found = found.map_or("a trained backbone".to_owned(), |kind| format!("one of kind {kind}"));
        let advice = "load it by the class that trained it";
        return Err(Error::checkpoint(&loaded.folder, "model", format!("one of kind {kind}"), found, advice));
    }
    let names: Vec<String> = loaded.model.names().map(str::to_owned).collect();
    let arrays = names.into_iter().map(|name| read(&loaded.model, name)).collect::<Result<_>>()?;
    Ok(ArrayCheckpoint {
        folder: loaded.folder,
        step: loaded.state.step,
        arrays,
        extra: loaded.state.extra,
        passed_over: loaded.passed_over,
    })
}

/// The kind of model of a checkpoint of arrays; none for that of a session.
pub(crate) fn kind_of(state: &StateFile) -> Option<&str> {
    state.model.get("kind").and_then(Value::as_str)
}

fn read(file: &TensorFile, name: String) -> Result<NamedArray> {
    let (dtype, shape, count) = file.entry(&name);
    let what = || format!("the array {name}");
    let numbers = match dtype {
        Dtype::F32 => {
            let mut numbers = try_filled(0.0_f32, &[count], &what())?;
            file.read(&name, shape, Precision::Same, &mut numbers)?;
            Numbers::F32(numbers)
        }
        Dtype::F64 => {
            let mut numbers = try_filled(0.0_f64, &[count], &what())?;
            file.read(&name, shape, Precision::Same, &mut numbers)?;
            Numbers::F64(numbers)
        }
        Dtype::I64 => {
            let mut numbers = try_filled(0_i64, &[count], &what())?;
            file.read_whole_numbers(&name, &mut numbers)?;
            Numbers::I64(numbers)
        }
        other => {
            let (expected, advice) =
                ("numbers of type F32, F64 or I64", "load another checkpoint of the run");
            let at = format!("tensor {name}");
            return Err(Error::checkpoint(file.path(), at, expected, other.to_string(), advice));
        }
    };
    Ok(NamedArray { shape: shape.to_vec(), numbers, name })
}

#[cfg(test)]
mod tests {
    use super::super::tests::save_step;
    use super::super::{folder_name, list, mark_best, verify};
    use super::*;

    fn arrays() -> Vec<NamedArray> {
        let of = |name: &str, shape: &[usize], numbers| NamedArray {
            name: name.into(),
            shape: shape.to_vec(),
            numbers,
        };
        vec![
            of("empty", &[0, 4], Numbers::F64(vec![])),
            of("narrow", &[3, 1], Numbers::F32(vec![0.1, -0.0, f32::MIN_POSITIVE / 4.0])),
            of("scalar", &[], Numbers::F64(vec![0.1 + 0.2])),
            of("whole", &[2, 2], Numbers::I64(vec![i64::MIN, -1, 9_007_199_254_740_993, i64::MAX])),
        ]
    }

    #[test]
    fn arrays_of_all_types_are_loaded_bit_for_bit() {
        let root = tempfile::tempdir().unwrap();
        let folder =
            save_arrays(&root.path().join(folder_name(1)), 1, "features", &arrays(), json!({"é": [1]}))
                .unwrap();
        for path in [root.path(), &folder] {
            let found = load_arrays(path, "features").unwrap();
            assert_eq!((found.step, &found.extra), (1, &json!({"é": [1]})));
            assert_eq!(found.arrays, arrays());
        }
        let bits = |numbers: &Numbers| match numbers {
            Numbers::F32(numbers) => numbers.iter().map(|x| u64::from(x.to_bits())).collect::<Vec<_>>(),
            _ => vec![],
        };
        assert_eq!(
            bits(&load_arrays(&folder, "features").unwrap().arrays[1].numbers),
            bits(&arrays()[1].numbers)
        );
        assert_eq!(verify(&folder).unwrap().step, 1);
        mark_best(root.path(), 1).unwrap();
        assert_eq!(list(root.path()).unwrap().len(), 1);
    }

    #[test]
    fn wide_numbers_come_first_in_the_file_and_the_crate_reads_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = save_arrays(&root.path().join("x"), 1, "features", &arrays(), json!(null)).unwrap();
        let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("whole").unwrap().data()[..8], i64::MIN.to_le_bytes());
        assert_eq!(file.tensor("narrow").unwrap().shape(), [3, 1]);
    }

    #[test]
    fn models_of_another_kind_and_damage_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder =
            save_arrays(&root.path().join(folder_name(1)), 1, "features", &arrays(), json!(null)).unwrap();
        let refused = load_arrays(&folder, "forest").unwrap_err().to_string();
        assert!(refused.contains("expected one of kind forest, found one of kind features"), "{refused}");
        let backbone = save_step(&root.path().join("other"), 7);
        let refused = load_arrays(&backbone, "features").unwrap_err().to_string();
        assert!(refused.contains("found a trained backbone"), "{refused}");
        let path = folder.join("model.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let refused = load_arrays(&folder, "features").unwrap_err().to_string();
        assert!(refused.contains("model.safetensors: SHA-256"), "{refused}");
    }

    #[test]
    fn arrays_that_do_not_fit_their_shapes_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let wrong = NamedArray { name: "a".into(), shape: vec![3], numbers: Numbers::I64(vec![1]) };
        let refused = save_arrays(&root.path().join("x"), 1, "features", &[wrong], json!(null)).unwrap_err();
        assert!(refused.to_string().contains("tensor a"), "{refused}");
        assert!(!root.path().join("x").exists());
    }
}
