//! `FeatureStream` and `Readout`: features of prefixes, and their scores.

use std::sync::{Arc, Mutex};

use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use ssm_hpn::Error as CoreError;
use ssm_hpn::features::{Bank, FeatureStream, FeaturesConfig, Readout};

use crate::arrays::{array_of, copied, found, to_array};
use crate::enter::{enter, lock, lock_any};
use crate::errors::to_py;

/// Scores that are linear in standardised features.
#[pyclass(name = "Readout", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyReadout(Readout);

impl PyReadout {
    /// Of mean, factor, weights and intercept.
    pub(crate) fn new(config: &FeaturesConfig, parts: [&Bound<'_, PyAny>; 4], clip: f32) -> PyResult<Self> {
        let [mean, factor, weights, intercept] = parts;
        let vector = |part: &Bound<'_, PyAny>, name: &str| -> PyResult<Vec<f32>> {
            let part: PyReadonlyArray1<'_, f32> = array_of(part, name, "[features]")?;
            copied(&part, name)
        };
        let weights: PyReadonlyArray2<'_, f32> = array_of(weights, "weights", "[features, K]")?;
        let intercept: PyReadonlyArray1<'_, f64> = array_of(intercept, "intercept", "[K]")?;
        let (mean, factor) = (vector(mean, "mean")?, vector(factor, "factor")?);
        let (weights, intercept) = (copied(&weights, "weights")?, copied(&intercept, "intercept")?);
        Readout::new(config, &mean, &factor, clip, &weights, &intercept).map(Self).map_err(to_py)
    }
}

/// Series that are read step by step.
#[pyclass(name = "FeatureStream", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyFeatureStream {
    rows: usize,
    channels: usize,
    features: usize,
    /// Locked only while the interpreter is released.
    stream: Mutex<FeatureStream>,
}

impl PyFeatureStream {
    pub(crate) fn new(
        py: Python<'_>,
        bank: Arc<Bank>,
        rows: usize,
        threads: Option<usize>,
    ) -> PyResult<Self> {
        let (channels, features) = (bank.channels(), bank.config().features());
        let stream = Mutex::new(enter(py, || FeatureStream::new(bank, rows, threads))?);
        Ok(Self { rows, channels, features, stream })
    }

    fn read(&self, py: Python<'_>, x: &Bound<'_, PyAny>, axes: &str, whole: bool) -> PyResult<()> {
        let wanted = |shape: &[usize]| match *shape {
            [rows, channels] => !whole && (rows, channels) == (self.rows, self.channels),
            [rows, _, channels] => whole && (rows, channels) == (self.rows, self.channels),
            _ => false,
        };
        let Ok(values) = x.extract::<PyReadonlyArrayDyn<'_, f64>>() else {
            return Err(self.other(x, axes));
        };
        if !wanted(values.shape()) {
            return Err(self.other(x, axes));
        }
        let values = copied(&values, "x")?;
        enter(py, || lock(&self.stream, "stream")?.read(&values))
    }

    fn other(&self, x: &Bound<'_, PyAny>, axes: &str) -> PyErr {
        let expected = format!("{axes} of float64, with {} rows and {} channels", self.rows, self.channels);
        to_py(CoreError::shape("x", expected, found(x)))
    }
}

#[pymethods]
impl PyFeatureStream {
    #[getter]
    fn rows(&self) -> usize {
        self.rows
    }

    #[pyo3(signature = (x, /))]
    fn step(&self, py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<()> {
        self.read(py, x, "[rows, F]", false)
    }

    #[pyo3(signature = (x, /))]
    fn prefill(&self, py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<()> {
        self.read(py, x, "[rows, T, F]", true)
    }

    fn features<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let features = enter(py, || lock(&self.stream, "stream")?.features())?;
        to_array(py, &[self.rows, self.features], features)
    }

    #[pyo3(signature = (readout, /))]
    fn scores<'py>(&self, py: Python<'py>, readout: &PyReadout) -> PyResult<Bound<'py, PyAny>> {
        let scores = enter(py, || lock(&self.stream, "stream")?.scores(&readout.0))?;
        to_array(py, &[self.rows, readout.0.outputs()], scores)
    }

    fn reset(&self, py: Python<'_>) {
        py.detach(|| lock_any(&self.stream).reset());
        self.stream.clear_poison(); // a panic may have left it half changed: now it is new
    }
}
