//! Vectors of the core as numpy arrays.

use numpy::{Element, IntoPyArray, PyArrayMethods};
use pyo3::prelude::*;

/// A new array of this shape.
pub(crate) fn to_array<'py, T: Element>(
    py: Python<'py>,
    shape: &[usize],
    values: Vec<T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(values.into_pyarray(py).reshape(shape.to_vec())?.into_any())
}
