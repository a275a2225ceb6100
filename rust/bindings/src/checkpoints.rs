//! Checkpoint folders: verifying, finding, pointing at the best, pruning, and the lock on a run.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use numpy::{IxDyn, PyReadonlyArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use ssm_hpn::Error as CoreError;
use ssm_hpn::checkpoint::{self, NamedArray, Numbers};

use crate::arrays::{copied, found, to_array};
use crate::enter::{enter, lock_any};
use crate::errors::to_py;

/// Checks one checkpoint folder against its manifest without loading it.
#[pyfunction]
pub(crate) fn verify_checkpoint<'py>(py: Python<'py>, path: &str) -> PyResult<Bound<'py, PyDict>> {
    let manifest = enter(py, || checkpoint::verify(Path::new(path)))?;
    let dict = PyDict::new(py);
    dict.set_item("step", manifest.step)?;
    dict.set_item("schema", manifest.schema)?;
    dict.set_item("bytes", manifest.bytes())?;
    Ok(dict)
}

/// Checkpoints of a folder as (step, path), newest first.
#[pyfunction]
pub(crate) fn list_checkpoints(py: Python<'_>, root: &str) -> PyResult<Vec<(u64, PathBuf)>> {
    enter(py, || checkpoint::list(Path::new(root)))
}

/// Rewrites a checkpoint of an older schema in its place; returns the schema that it had.
#[pyfunction]
pub(crate) fn upgrade_checkpoint(py: Python<'_>, path: &str) -> PyResult<u32> {
    enter(py, || checkpoint::upgrade(Path::new(path)))
}

/// Makes the checkpoint of a step the `best` of its folder.
#[pyfunction]
pub(crate) fn mark_best(py: Python<'_>, root: &str, step: u64) -> PyResult<()> {
    enter(py, || checkpoint::mark_best(Path::new(root), step))
}

/// The step of the checkpoint that is marked as best.
#[pyfunction]
pub(crate) fn best_checkpoint(root: &str) -> Option<u64> {
    checkpoint::best(Path::new(root))
}

/// Removes all but the newest `keep`, the best and the steps `spared`, never the two newest that verify; returns what was
/// removed.
#[pyfunction]
#[pyo3(signature = (root, keep, spared=vec![]))]
pub(crate) fn prune_checkpoints(
    py: Python<'_>,
    root: &str,
    keep: usize,
    spared: Vec<u64>,
) -> PyResult<Vec<PathBuf>> {
    enter(py, || checkpoint::prune(Path::new(root), keep, &spared))
}

/// A run folder held by this process alone.
#[pyclass(name = "RunLock", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyRunLock(Mutex<Option<checkpoint::RunLock>>);

#[pymethods]
impl PyRunLock {
    #[new]
    fn new(py: Python<'_>, folder: &str) -> PyResult<Self> {
        enter(py, || checkpoint::RunLock::acquire(Path::new(folder))).map(|lock| Self(Mutex::new(Some(lock))))
    }

    fn release(&self, py: Python<'_>) {
        py.detach(|| drop(lock_any(&self.0).take()));
    }
}

/// Writes arrays of a model of a kind into the folder root/name, whole or not at all.
#[pyfunction]
pub(crate) fn save_arrays(
    py: Python<'_>,
    root: &str,
    name: &str,
    step: u64,
    kind: &str,
    arrays: &Bound<'_, PyDict>,
    extra: &str,
) -> PyResult<()> {
    let arrays = arrays
        .iter()
        .map(|(name, array)| named(name.extract()?, &array))
        .collect::<PyResult<Vec<NamedArray>>>()?;
    enter(py, || {
        let extra = serde_json::from_str(extra)
            .map_err(|e| CoreError::config("extra", "JSON", e, "pass the text of json.dumps"))?;
        checkpoint::save_arrays(&Path::new(root).join(name), step, kind, &arrays, extra).map(drop)
    })
}

/// What `load_arrays` answers: folder, step, arrays by name, extra, and why newer checkpoints were passed over.
type LoadedArrays<'py> = (PathBuf, u64, Bound<'py, PyDict>, String, Vec<String>);

/// Loads what `save_arrays` wrote for a model of this kind.
#[pyfunction]
pub(crate) fn load_arrays<'py>(py: Python<'py>, path: &str, kind: &str) -> PyResult<LoadedArrays<'py>> {
    let loaded = enter(py, || checkpoint::load_arrays(Path::new(path), kind))?;
    let dict = PyDict::new(py);
    for NamedArray { name, shape, numbers } in loaded.arrays {
        let array = match numbers {
            Numbers::F32(numbers) => to_array(py, &shape, numbers)?,
            Numbers::F64(numbers) => to_array(py, &shape, numbers)?,
            Numbers::I64(numbers) => to_array(py, &shape, numbers)?,
        };
        dict.set_item(name, array)?;
    }
    let reasons = loaded.passed_over.iter().map(CoreError::to_string).collect();
    Ok((loaded.folder, loaded.step, dict, loaded.extra.to_string(), reasons))
}

/// A numpy array of a type that is stored, with its name.
fn named(name: String, array: &Bound<'_, PyAny>) -> PyResult<NamedArray> {
    let (shape, numbers) = if let Ok(array) = array.extract::<PyReadonlyArray<'_, f32, IxDyn>>() {
        (array.shape().to_vec(), Numbers::F32(copied(&array, &name)?))
    } else if let Ok(array) = array.extract::<PyReadonlyArray<'_, f64, IxDyn>>() {
        (array.shape().to_vec(), Numbers::F64(copied(&array, &name)?))
    } else if let Ok(array) = array.extract::<PyReadonlyArray<'_, i64, IxDyn>>() {
        (array.shape().to_vec(), Numbers::I64(copied(&array, &name)?))
    } else {
        let expected = "a numpy array of float32, float64 or int64";
        return Err(to_py(CoreError::shape(name, expected, found(array))));
    };
    Ok(NamedArray { name, shape, numbers })
}
