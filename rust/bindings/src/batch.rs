//! `Batch`: a batch of the core made from arrays, and checked.

use numpy::{
    PyArray2, PyArray3, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3, PyReadonlyArrayDyn,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use ssm_hpn::Error as CoreError;
use ssm_hpn::allocate::try_collected;
use ssm_hpn::data::{Batch, Input, Segment};
use ssm_hpn::target::arrays::{self, Element, Per, TargetArray};
use ssm_hpn::target::{Target, Values};

use crate::arrays::{array_of, copied, found};
use crate::errors::to_py;

/// Inputs, documents and targets of one pass.
#[pyclass(name = "Batch", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyBatch(pub(crate) Batch);

#[pymethods]
impl PyBatch {
    #[new]
    #[pyo3(signature = (tokens=None, features=None, *, segments=None, mask=None, weights=None, **target))]
    fn new(
        tokens: Option<&Bound<'_, PyAny>>,
        features: Option<&Bound<'_, PyAny>>,
        segments: Option<&Bound<'_, PyAny>>,
        mask: Option<&Bound<'_, PyAny>>,
        weights: Option<&Bound<'_, PyAny>>,
        target: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let tokens: Option<PyReadonlyArray2<'_, u32>> =
            tokens.map(|x| array_of(x, "tokens", "[B, T]")).transpose()?;
        let features: Option<PyReadonlyArray3<'_, f32>> =
            features.map(|x| array_of(x, "features", "[B, T, F]")).transpose()?;
        let segments: Option<PyReadonlyArray2<'_, u32>> =
            segments.map(|x| array_of(x, "segments", "[S, 3]")).transpose()?;
        let mask: Option<PyReadonlyArray2<'_, bool>> =
            mask.map(|x| array_of(x, "mask", "[B, T]")).transpose()?;
        let (rows, length, input) = match (&tokens, &features) {
            (Some(x), None) => (x.shape()[0], x.shape()[1], Input::Tokens(copied(x, "tokens")?)),
            (None, Some(x)) => (x.shape()[0], x.shape()[1], Input::Features(copied(x, "features")?)),
            (a, _) => return Err(one_of("inputs", "tokens or features", if a.is_some() { 2 } else { 0 })),
        };
        let mut batch = Batch::whole(rows, length, input, target.map_or(Ok(Target::none()), target_of)?);
        match segments {
            None => {}
            Some(x) if x.shape()[1] == 3 => {
                let triples = x.as_array();
                let segment = |s: ndarray::ArrayView1<'_, u32>| Segment { row: s[0], start: s[1], end: s[2] };
                let segments = triples.rows().into_iter().map(segment);
                batch.segments = try_collected(segments, "a copy of segments").map_err(to_py)?;
            }
            Some(x) => {
                return Err(to_py(CoreError::shape(
                    "segments",
                    "[S, 3]: row, start, end",
                    format!("{:?}", x.shape()),
                )));
            }
        }
        if let Some(x) = mask {
            if x.shape() != [rows, length] {
                let expected = format!("[{rows}, {length}]: one per position");
                return Err(to_py(CoreError::shape("mask", expected, format!("{:?}", x.shape()))));
            }
            let mask = x.as_array();
            let mask = try_collected(mask.iter().map(|&m| u8::from(m)), "a copy of mask");
            batch.mask = Some(mask.map_err(to_py)?);
        }
        if let Some(weights) = weights {
            let found: PyReadonlyArray1<'_, f32> = array_of(weights, "weights", "[S]")?;
            batch.weights = Some(copied(&found, "weights")?);
        }
        Ok(Self(batch))
    }

    /// B.
    #[getter]
    fn rows(&self) -> usize {
        self.0.rows
    }

    /// T.
    #[getter]
    fn length(&self) -> usize {
        self.0.length
    }

    /// Positions inside a document, masked ones too, padding not counted.
    #[getter]
    fn n_tokens(&self) -> usize {
        self.0.segments.iter().map(|s| s.end.saturating_sub(s.start) as usize).sum()
    }

    /// Positions or documents that have a target.
    #[getter]
    fn n_targets(&self) -> usize {
        self.0.target.count(self.0.segments.len())
    }

    /// Rows that go on from those of the batch before, or None where no state is carried on.
    #[getter]
    fn continued(&self) -> Option<Vec<bool>> {
        self.0.continued.clone()
    }

    /// [S, 3]: row, start, end of each document.
    #[getter]
    fn segments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<u32>>> {
        let rows: Vec<_> = self.0.segments.iter().map(|s| vec![s.row, s.start, s.end]).collect();
        if rows.is_empty() {
            return Ok(PyArray2::zeros(py, [0, 3], false));
        }
        Ok(PyArray2::from_vec2(py, &rows)?)
    }

    /// [B, T], or None for float features.
    #[getter]
    fn tokens<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray2<u32>>>> {
        let Input::Tokens(ids) = &self.0.input else { return Ok(None) };
        let array = ndarray::ArrayView2::from_shape((self.0.rows, self.0.length), ids)
            .map_err(|e| to_py(CoreError::shape("tokens", "rows x length ids", e)))?;
        Ok(Some(PyArray2::from_owned_array(py, array.to_owned())))
    }

    /// [B, T, F], or None for tokens.
    #[getter]
    fn features<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray3<f32>>>> {
        let Input::Features(x) = &self.0.input else { return Ok(None) };
        let width = x.len() / (self.0.rows * self.0.length).max(1);
        let array = ndarray::ArrayView3::from_shape((self.0.rows, self.0.length, width), x)
            .map_err(|e| to_py(CoreError::shape("features", "rows x length x features numbers", e)))?;
        Ok(Some(PyArray3::from_owned_array(py, array.to_owned())))
    }
}

/// The arrays of a target by their names, those that are None left out.
fn target_of(arrays: &Bound<'_, PyDict>) -> PyResult<Target> {
    for name in arrays.keys() {
        let name: String = name.extract()?;
        if arrays::find(&name).is_none() {
            let known = arrays::ALL.map(|array| array.name).join(", ");
            return Err(to_py(CoreError::shape("batch", format!("an array of {known}"), name)));
        }
    }
    let mut found = Vec::new();
    for array in arrays::ALL {
        if let Some(values) = arrays.get_item(array.name)?.filter(|values| !values.is_none()) {
            found.push((array, values_of(array, &values)?));
        }
    }
    Ok(Target::of(found))
}

/// The numbers of one array, which has as many axes as its description says.
fn values_of(array: &TargetArray, values: &Bound<'_, PyAny>) -> PyResult<Values> {
    let axes = match (array.per, array.element) {
        (Per::Token, Element::Class) => "[B, T]",
        (Per::Token, Element::Number) => "[B, T, K]",
        (Per::Token, Element::Gradient) => "[B, T, D]",
        (Per::Document, Element::Class) => "[S]",
        (Per::Document, Element::Number) => "[S, K]",
        (Per::Document, Element::Gradient) => "[S, D]",
    };
    let wanted = axes.split(',').count();
    let (ndim, found_values) = if array.element == Element::Class {
        let found: PyReadonlyArrayDyn<'_, i32> = array_of(values, array.name, axes)?;
        (found.ndim(), Values::Classes(copied(&found, array.name)?))
    } else {
        let found: PyReadonlyArrayDyn<'_, f32> = array_of(values, array.name, axes)?;
        (found.ndim(), Values::Numbers(copied(&found, array.name)?))
    };
    if ndim == wanted {
        return Ok(found_values);
    }
    Err(to_py(CoreError::shape(array.name, format!("a numpy array {axes}"), found(values))))
}

fn one_of(what: &str, expected: &str, found: usize) -> PyErr {
    to_py(CoreError::shape(format!("batch {what}"), expected, format!("{found} of them")))
}
