//! Files that are whole or absent, for those that Python writes.

use std::path::PathBuf;

use pyo3::prelude::*;

use ssm_hpn::storage;

use crate::enter::enter;

/// Writes or replaces one file: readers see the old one or the new one, also after the power has failed.
#[pyfunction]
pub(crate) fn write_whole(py: Python<'_>, path: PathBuf, content: &[u8]) -> PyResult<()> {
    enter(py, || storage::write_whole(&path, content).map(drop))
}
