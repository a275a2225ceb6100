//! Prototypes by themselves, and the class vectors that they are made from.

use std::sync::Arc;

use numpy::PyReadonlyArray2;
use pyo3::prelude::*;

use ssm_hpn::head::{ClassVectors, Placement, PrototypeConfig, place, prototypes};
use ssm_hpn::model::Registry;
use ssm_hpn::{Error, Scalar, Threads};

use crate::arrays::{array_of, copied, to_array};
use crate::enter::enter;
use crate::errors::to_py;

/// Rows `[C, numbers]` of an argument, and their length.
fn rows(value: &Bound<'_, PyAny>, name: &str) -> PyResult<(Vec<f64>, usize)> {
    let array: PyReadonlyArray2<'_, f64> = array_of(value, name, "[classes, numbers]")?;
    let width = array.as_array().ncols();
    Ok((copied(&array, name)?, width))
}

/// The class vectors of an argument.
fn class_vectors(value: &Bound<'_, PyAny>, names: Option<Vec<String>>) -> PyResult<ClassVectors> {
    let (rows, width) = rows(value, "vectors")?;
    ClassVectors::new(&rows, width, &names.unwrap_or_default()).map_err(to_py)
}

/// The kinds of this crate, with class vectors where there are some.
pub(crate) fn registry<T: Scalar>(
    vectors: Option<&Bound<'_, PyAny>>,
    names: Option<Vec<String>>,
) -> PyResult<Registry<T>> {
    let mut registry = Registry::standard();
    if let Some(vectors) = vectors {
        registry.set_class_vectors(class_vectors(vectors, names)?);
    }
    Ok(registry)
}

/// Prototypes `[C, Q]` and the name of their construction.
#[pyfunction]
#[pyo3(signature = (classes, dim, kind="auto", *, seed=0, vectors=None, threads=None))]
pub(crate) fn place_prototypes<'py>(
    py: Python<'py>,
    classes: usize,
    dim: usize,
    kind: &str,
    seed: u64,
    vectors: Option<&Bound<'py, PyAny>>,
    threads: Option<usize>,
) -> PyResult<(Bound<'py, PyAny>, &'static str)> {
    let vectors = vectors.map(|vectors| class_vectors(vectors, None)).transpose()?.map(Arc::new);
    let (construction, numbers) = enter(py, || {
        let config = PrototypeConfig::of_size(classes, dim, Placement::named(kind)?);
        Threads::new(threads)?.install(|| place(&config, seed, vectors))?
    })?;
    Ok((to_array(py, &[classes, dim], numbers)?, construction.name()))
}

/// Largest cosine of two rows.
#[pyfunction]
pub(crate) fn largest_cosine(py: Python<'_>, prototypes: &Bound<'_, PyAny>) -> PyResult<f64> {
    let (rows, width) = rows(prototypes, "prototypes")?;
    enter(py, || Threads::new(None)?.install(|| prototypes::largest_cosine(&rows, width)))
}

/// Share of the order of the class vectors' cosines that prototypes keep.
#[pyfunction]
pub(crate) fn order_kept(
    py: Python<'_>,
    prototypes: &Bound<'_, PyAny>,
    vectors: &Bound<'_, PyAny>,
) -> PyResult<f64> {
    let (rows, width) = rows(prototypes, "prototypes")?;
    let vectors = class_vectors(vectors, None)?;
    if rows.len() != vectors.classes() * width {
        let found = rows.len() / width.max(1);
        return Err(to_py(Error::shape("prototypes", format!("{} rows", vectors.classes()), found)));
    }
    enter(py, || Threads::new(None)?.install(|| prototypes::order_kept(&rows, width, &vectors)))
}
