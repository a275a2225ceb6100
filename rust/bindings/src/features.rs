//! `StateFilters`: a bank of fixed filters, and the features of series.

use std::sync::{Arc, Mutex};

use numpy::{PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use ssm_hpn::features::{Bank, BankArrays, FeaturesConfig, SeriesSet};
use ssm_hpn::{Error, Result, Threads};

use crate::arrays::{array_of, copied, to_array};
use crate::enter::{enter, lock};
use crate::errors::to_py;
use crate::feature_stream::{PyFeatureStream, PyReadout};

/// Random filters with their biases.
#[pyclass(name = "StateFilters", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyStateFilters(Arc<Bank>);

/// Values of all series, their channels and starts.
struct Series {
    values: Vec<f64>,
    channels: usize,
    starts: Vec<usize>,
}

impl Series {
    fn new(values: &Bound<'_, PyAny>, starts: &Bound<'_, PyAny>) -> PyResult<Self> {
        let values: PyReadonlyArray2<'_, f64> = array_of(values, "values", "[steps, channels]")?;
        let starts: PyReadonlyArray1<'_, i64> = array_of(starts, "starts", "[series + 1]")?;
        let channels = values.as_array().ncols();
        let starts =
            copied(&starts, "starts")?.into_iter().map(|start| usize::try_from(start).unwrap_or(usize::MAX));
        Ok(Self { values: copied(&values, "values")?, channels, starts: starts.collect() })
    }

    fn set(&self) -> Result<SeriesSet<'_>> {
        SeriesSet::new(&self.values, self.channels, &self.starts)
    }
}

#[pymethods]
impl PyStateFilters {
    #[staticmethod]
    #[pyo3(signature = (config, values, starts, *, threads=None))]
    fn fit(
        py: Python<'_>,
        config: &str,
        values: &Bound<'_, PyAny>,
        starts: &Bound<'_, PyAny>,
        threads: Option<usize>,
    ) -> PyResult<Self> {
        let series = Series::new(values, starts)?;
        let config = FeaturesConfig::from_json(config).map_err(to_py)?;
        enter(py, || Bank::fit(config, series.set()?, &Threads::new(threads)?))
            .map(|bank| Self(Arc::new(bank)))
    }

    #[staticmethod]
    fn from_arrays(config: &str, channels: usize, arrays: &Bound<'_, PyDict>) -> PyResult<Self> {
        let part = |name: &str| -> PyResult<Bound<'_, PyAny>> {
            arrays.get_item(name)?.ok_or_else(|| pyo3::exceptions::PyKeyError::new_err(name.to_owned()))
        };
        let narrow = |name: &str| -> PyResult<Vec<f32>> {
            copied(&array_of::<f32, numpy::IxDyn>(&part(name)?, name, "of a bank")?, name)
        };
        let arrays = BankArrays {
            modes: narrow("modes")?,
            biases: narrow("biases")?,
            mixtures: narrow("mixtures")?,
            standards: copied(
                &array_of::<f64, numpy::IxDyn>(&part("standards")?, "standards", "of a bank")?,
                "standards",
            )?,
        };
        let config = FeaturesConfig::from_json(config).map_err(to_py)?;
        Bank::from_arrays(config, channels, &arrays).map(|bank| Self(Arc::new(bank))).map_err(to_py)
    }

    fn to_arrays<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let BankArrays { modes, biases, mixtures, standards } = self.0.to_arrays();
        let dict = PyDict::new(py);
        for (name, part) in [("modes", modes), ("biases", biases), ("mixtures", mixtures)] {
            dict.set_item(name, to_array(py, &[part.len()], part)?)?;
        }
        dict.set_item("standards", to_array(py, &[standards.len()], standards)?)?;
        Ok(dict)
    }

    #[getter]
    fn config(&self) -> String {
        self.0.config().to_json()
    }

    #[getter]
    fn channels(&self) -> usize {
        self.0.channels()
    }

    #[getter]
    fn blocks(&self) -> usize {
        self.0.blocks()
    }

    #[getter]
    fn block_features(&self) -> usize {
        self.0.config().block_features()
    }

    #[getter]
    fn readings(&self) -> Vec<(&'static str, bool, bool)> {
        self.0.config().blocks().map(|one| (one.view.name(), one.backwards, one.absolute)).collect()
    }

    #[pyo3(signature = (values, starts, *, first=0, count=None, threads=None))]
    fn transform<'py>(
        &self,
        py: Python<'py>,
        values: &Bound<'_, PyAny>,
        starts: &Bound<'_, PyAny>,
        first: usize,
        count: Option<usize>,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let series = Series::new(values, starts)?;
        let count = count.unwrap_or_else(|| self.0.blocks().saturating_sub(first));
        let features = enter(py, || {
            let blocks = first..first.saturating_add(count);
            self.0.transform(series.set()?, blocks, &Threads::new(threads)?)
        })?;
        to_array(py, &[series.starts.len() - 1, count * self.0.config().block_features()], features)
    }

    #[pyo3(signature = (values, starts, *, threads=None))]
    fn transform_blocks(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        starts: &Bound<'_, PyAny>,
        threads: Option<usize>,
    ) -> PyResult<PyFeatureBlocks> {
        let series = Series::new(values, starts)?;
        let threads = enter(py, || series.set().and_then(|_| Threads::new(threads)))?;
        Ok(PyFeatureBlocks { bank: self.0.clone(), series, threads, next: Mutex::new(0) })
    }

    #[pyo3(signature = (values, weights, *, threads=None))]
    fn evidence<'py>(
        &self,
        py: Python<'py>,
        values: &Bound<'_, PyAny>,
        weights: &Bound<'_, PyAny>,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let values: PyReadonlyArray2<'_, f64> = array_of(values, "values", "[steps, channels]")?;
        let weights: PyReadonlyArray2<'_, f64> = array_of(weights, "weights", "[features, K]")?;
        let [steps, channels] = [0, 1].map(|axis| values.as_array().shape()[axis]);
        let [features, width] = [0, 1].map(|axis| weights.as_array().shape()[axis]);
        if (channels, features) != (self.0.channels(), self.0.config().features()) {
            let expected = format!("{} and {}", self.0.channels(), self.0.config().features());
            let found = format!("{channels} and {features}");
            return Err(to_py(Error::shape("channels of values and rows of weights", expected, found)));
        }
        let (values, weights) = (copied(&values, "values")?, copied(&weights, "weights")?);
        let evidence = enter(py, || self.0.evidence(&values, &weights, &Threads::new(threads)?))?;
        to_array(py, &[steps, width], evidence)
    }

    #[pyo3(signature = (rows=1, *, threads=None))]
    fn stream(&self, py: Python<'_>, rows: usize, threads: Option<usize>) -> PyResult<PyFeatureStream> {
        PyFeatureStream::new(py, self.0.clone(), rows, threads)
    }

    #[pyo3(signature = (mean, factor, weights, intercept, *, clip))]
    fn readout(
        &self,
        mean: &Bound<'_, PyAny>,
        factor: &Bound<'_, PyAny>,
        weights: &Bound<'_, PyAny>,
        intercept: &Bound<'_, PyAny>,
        clip: f32,
    ) -> PyResult<PyReadout> {
        PyReadout::new(self.0.config(), [mean, factor, weights, intercept], clip)
    }
}

/// Features of series in blocks of columns.
#[pyclass(name = "FeatureBlocks", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyFeatureBlocks {
    bank: Arc<Bank>,
    series: Series,
    threads: Threads,
    /// The first block that is not computed yet.
    next: Mutex<usize>,
}

#[pymethods]
impl PyFeatureBlocks {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (each, rows) = (self.bank.config().block_features(), self.series.starts.len() - 1);
        let found = enter(py, || {
            let mut next = lock(&self.next, "filters")?;
            let blocks = self.bank.blocks_together(*next, rows);
            if blocks.is_empty() {
                return Ok(None);
            }
            let features = self.bank.transform(self.series.set()?, blocks.clone(), &self.threads)?;
            *next = blocks.end;
            Ok(Some((blocks.len(), features)))
        })?;
        found.map(|(count, features)| to_array(py, &[rows, count * each], features)).transpose()
    }
}
