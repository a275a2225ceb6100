//! Vectors of the core as numpy arrays, and arguments as arrays of the type that is asked for.

use ndarray::Dimension;
use numpy::{
    Element, IntoPyArray, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray, PyUntypedArray,
    PyUntypedArrayMethods, dtype,
};
use pyo3::prelude::*;

use ssm_hpn::Error as CoreError;
use ssm_hpn::allocate::try_collected;

use crate::errors::to_py;

/// A new array of this shape.
pub(crate) fn to_array<'py, T: Element>(
    py: Python<'py>,
    shape: &[usize],
    values: Vec<T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(values.into_pyarray(py).reshape(shape.to_vec())?.into_any())
}

/// The numbers of an array, row by row; an array may stand for more of them than it holds.
pub(crate) fn copied<T: Element + Copy, D: Dimension>(
    array: &PyReadonlyArray<'_, T, D>,
    name: &str,
) -> PyResult<Vec<T>> {
    try_collected(array.as_array().iter().copied(), &format!("a copy of {name}")).map_err(to_py)
}

/// The array that an argument is, with any strides. `axes` names them for the message, such as `[B, T]`.
pub(crate) fn array_of<'py, T: Element, D: Dimension>(
    value: &Bound<'py, PyAny>,
    name: &str,
    axes: &str,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    value.extract().map_err(|_| {
        let expected = format!("a numpy array {axes} of {}", dtype::<T>(value.py()));
        to_py(CoreError::shape(name, expected, found(value)))
    })
}

/// An argument in words, for messages: element type and shape of an array, else its type.
pub(crate) fn found(value: &Bound<'_, PyAny>) -> String {
    match value.cast::<PyUntypedArray>() {
        Ok(array) if array.dtype().is_native_byteorder() == Some(false) => {
            format!("{} in foreign byte order, {:?}", array.dtype(), array.shape())
        }
        Ok(array) => format!("{} {:?}", array.dtype(), array.shape()),
        Err(_) => value.get_type().name().map_or_else(|_| "something else".into(), |name| name.to_string()),
    }
}

/// An array of either number type.
pub(crate) enum Floats {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl From<Vec<f32>> for Floats {
    fn from(values: Vec<f32>) -> Self {
        Self::F32(values)
    }
}

impl From<Vec<f64>> for Floats {
    fn from(values: Vec<f64>) -> Self {
        Self::F64(values)
    }
}

impl Floats {
    /// The numpy array of this shape.
    pub(crate) fn into_array<'py>(self, py: Python<'py>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::F32(values) => to_array(py, shape, values),
            Self::F64(values) => to_array(py, shape, values),
        }
    }
}
