//! `target_kinds`: the core's description of what can be predicted.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use ssm_hpn::target::arrays::{Element, Per, TargetArray};
use ssm_hpn::target::kinds;

/// Every kind of target, in the order of the documentation.
#[pyfunction]
pub(crate) fn target_kinds(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for kind in kinds::ALL {
        let row = PyDict::new(py);
        row.set_item("name", kind.name)?;
        row.set_item("about", kind.about)?;
        let arrays = kind.arrays.iter().map(|array| array_row(py, array)).collect::<PyResult<Vec<_>>>()?;
        row.set_item("arrays", arrays)?;
        row.set_item("pooled", kind.is_pooled())?;
        row.set_item("from_tokens", kind.from_tokens)?;
        row.set_item("metrics", kind.metrics.to_vec())?;
        row.set_item("default_head", kind.default_head)?;
        list.append(row)?;
    }
    Ok(list)
}

fn array_row<'py>(py: Python<'py>, array: &TargetArray) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("name", array.name)?;
    row.set_item("about", array.about)?;
    row.set_item("per", if array.per == Per::Token { "token" } else { "document" })?;
    let element = match array.element {
        Element::Class => "class",
        Element::Number => "number",
        Element::Gradient => "gradient",
    };
    row.set_item("element", element)?;
    row.set_item("column", array.column)?;
    Ok(row)
}
