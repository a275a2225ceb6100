//! Checkpoint folders: verifying, finding, pointing at the best, pruning, and the lock on a run.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use ssm_hpn::checkpoint;

use crate::enter::{enter, lock};

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

/// Removes all but the newest `keep` and the best, never the two newest that verify; returns what was removed.
#[pyfunction]
pub(crate) fn prune_checkpoints(py: Python<'_>, root: &str, keep: usize) -> PyResult<Vec<PathBuf>> {
    enter(py, || checkpoint::prune(Path::new(root), keep))
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
        py.detach(|| drop(lock(&self.0).take()));
    }
}
