//! `block_kinds` and `head_kinds`: the core's names of parts of a model.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use ssm_hpn::blocks::kinds as blocks;
use ssm_hpn::head::kinds as heads;

/// Every kind of block, in the order of the documentation.
#[pyfunction]
pub(crate) fn block_kinds(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let row = |kind: &blocks::BlockKind| {
        let row = PyDict::new(py);
        row.set_item("name", kind.name)?;
        row.set_item("title", kind.title)?;
        row.set_item("alone", kind.alone)?;
        Ok(row)
    };
    blocks::ALL.into_iter().map(row).collect()
}

/// Every kind of head, in the order of the documentation.
#[pyfunction]
pub(crate) fn head_kinds(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let row = |kind: &heads::HeadKind| {
        let row = PyDict::new(py);
        row.set_item("name", kind.name)?;
        row.set_item("title", kind.title)?;
        Ok(row)
    };
    heads::ALL.into_iter().map(row).collect()
}
