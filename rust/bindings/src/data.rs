//! `Loader`, `ShardReader`, `ShardWriter`, `ContentDigests`, `TextNumbers` and `verify_shards`.

use std::path::Path;
use std::sync::Mutex;

use numpy::{
    IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArrayDyn, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use ssm_hpn::Error as CoreError;
use ssm_hpn::data::{
    ColumnValues, ContentDigests, Cursor, DocumentColumns, Elements, Extra, Loader, LoaderConfig,
    ShardReader, ShardWriter, TextNumbers, WriterConfig,
};
use ssm_hpn::target::arrays::{self, Element, Per, TargetArray};

use crate::arrays::{array_of, found, to_array};
use crate::batch::PyBatch;
use crate::enter::{enter, lock, lock_any};
use crate::errors::to_py;

/// Batches of a prepared folder in an order that depends on seed and epoch alone.
///
/// Threads that ask for batches at once wait for each other, and each batch goes to one of them.
#[pyclass(name = "Loader", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyLoader(Mutex<Loader>);

#[pymethods]
impl PyLoader {
    #[new]
    fn new(py: Python<'_>, config: &str) -> PyResult<Self> {
        enter(py, || Loader::open(LoaderConfig::from_json(config)?)).map(|loader| Self(Mutex::new(loader)))
    }

    fn next(&self, py: Python<'_>) -> PyResult<Option<(PyBatch, String)>> {
        let next = enter(py, || lock(&self.0, "loader")?.next())?;
        Ok(next.map(|(batch, cursor)| (PyBatch(batch), cursor.to_json())))
    }

    fn pass_over(&self, py: Python<'_>) -> PyResult<Option<(u64, String)>> {
        let passed = enter(py, || lock(&self.0, "loader")?.pass_over())?;
        Ok(passed.map(|(tokens, cursor)| (tokens, cursor.to_json())))
    }

    fn seek(&self, py: Python<'_>, cursor: &str) -> PyResult<()> {
        enter(py, || Cursor::from_json(cursor).and_then(|cursor| lock(&self.0, "loader")?.seek(cursor)))
    }

    fn count_rows(&self, py: Python<'_>, epochs: u64) -> PyResult<u64> {
        enter(py, || lock(&self.0, "loader")?.count_rows(epochs))
    }

    fn count_rows_of_tokens(&self, py: Python<'_>, tokens: u64) -> PyResult<u64> {
        enter(py, || lock(&self.0, "loader")?.count_rows_of_tokens(tokens))
    }

    fn damage(&self, py: Python<'_>) -> Vec<String> {
        py.detach(|| lock_any(&self.0).damage())
    }

    fn utilisation(&self, py: Python<'_>) -> PyResult<f64> {
        enter(py, || lock(&self.0, "loader")?.utilisation())
    }

    #[getter]
    fn n_windows(&self, py: Python<'_>) -> u64 {
        py.detach(|| lock_any(&self.0).n_windows())
    }

    #[getter]
    fn cursor(&self, py: Python<'_>) -> PyResult<String> {
        enter(py, || Ok(lock(&self.0, "loader")?.position().to_json()))
    }

    #[getter]
    fn epoch(&self, py: Python<'_>) -> PyResult<f64> {
        enter(py, || Ok(lock(&self.0, "loader")?.progress()))
    }

    #[getter]
    fn epochs(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
        enter(py, || Ok(lock(&self.0, "loader")?.progress_of_sources()))
    }

    #[getter]
    fn skipped(&self, py: Python<'_>) -> u64 {
        py.detach(|| lock_any(&self.0).skipped())
    }

    #[getter]
    fn n_documents(&self, py: Python<'_>) -> u64 {
        py.detach(|| lock_any(&self.0).n_documents())
    }

    #[getter]
    fn n_tokens(&self, py: Python<'_>) -> u64 {
        py.detach(|| lock_any(&self.0).n_tokens())
    }
}

/// Token ids of many documents: bytes as they are, or words of 32 bits.
#[derive(FromPyObject)]
enum IdsArgument<'py> {
    Bytes(PyReadonlyArray1<'py, u8>),
    Words(PyReadonlyArray1<'py, u32>),
}

/// A column of targets of many documents.
enum TargetArgument<'py> {
    Classes(PyReadonlyArrayDyn<'py, i32>),
    Numbers(PyReadonlyArrayDyn<'py, f32>),
}

impl<'py> TargetArgument<'py> {
    /// The argument for a column that fills this array; it has as many axes as its description says.
    fn new(name: &str, array: &TargetArray, values: &Bound<'py, PyAny>) -> PyResult<Self> {
        let axes = match (array.per, array.element == Element::Class) {
            (Per::Token, true) => "[T]",
            (Per::Token, false) => "[T, K]",
            (Per::Document, true) => "[N]",
            (Per::Document, false) => "[N, K]",
        };
        let column = match array.element {
            Element::Class => Self::Classes(array_of(values, name, axes)?),
            Element::Number | Element::Gradient => Self::Numbers(array_of(values, name, axes)?),
        };
        let ndim = match &column {
            Self::Classes(x) => x.ndim(),
            Self::Numbers(x) => x.ndim(),
        };
        if ndim == axes.split(',').count() {
            return Ok(column);
        }
        Err(to_py(CoreError::shape(name, format!("a numpy array {axes}"), found(values))))
    }

    fn values(&self) -> PyResult<ColumnValues<'_>> {
        Ok(match self {
            Self::Classes(x) => ColumnValues::Classes(x.as_slice()?),
            Self::Numbers(x) => ColumnValues::Numbers(x.as_slice()?),
        })
    }
}

/// The columns of targets by their names, those that are None left out.
fn target_columns<'py>(given: &Bound<'py, PyDict>) -> PyResult<Vec<(&'static str, TargetArgument<'py>)>> {
    let mut found = Vec::new();
    for (name, values) in given {
        let name: String = name.extract()?;
        let Some((column, array)) = arrays::columns().find(|(column, _)| *column == name) else {
            let known = arrays::columns().map(|(column, _)| column).collect::<Vec<_>>().join(", ");
            return Err(to_py(CoreError::shape("documents", format!("a column of {known}"), name)));
        };
        if !values.is_none() {
            found.push((column, TargetArgument::new(column, array, &values)?));
        }
    }
    Ok(found)
}

/// Writes a prepared folder: Arrow IPC shards and, on close, the manifest.
///
/// Threads that write at once wait for each other.
#[pyclass(name = "ShardWriter", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyShardWriter(Mutex<Option<ShardWriter>>);

/// For a writer that was closed.
fn closed() -> CoreError {
    CoreError::shape("shard writer", "one that is open", "one that was closed")
}

#[pymethods]
impl PyShardWriter {
    #[new]
    fn new(py: Python<'_>, path: &str, config: &str) -> PyResult<Self> {
        enter(py, || ShardWriter::create(path, WriterConfig::from_json(config)?))
            .map(|writer| Self(Mutex::new(Some(writer))))
    }

    /// Many documents at once, one after the other in `tokens` or `features`.
    #[pyo3(signature = (*, offsets, tokens=None, features=None, names=None, **targets))]
    fn append_many(
        &self,
        py: Python<'_>,
        offsets: PyReadonlyArray1<'_, u64>,
        tokens: Option<IdsArgument<'_>>,
        features: Option<PyReadonlyArray2<'_, f32>>,
        names: Option<Vec<String>>,
        targets: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let held = targets.map_or(Ok(Vec::new()), target_columns)?;
        let targets =
            held.iter().map(|(name, column)| Ok((*name, column.values()?))).collect::<PyResult<Vec<_>>>()?;
        let elements = match (&tokens, &features) {
            (Some(IdsArgument::Bytes(ids)), None) => Elements::U8(ids.as_slice()?),
            (Some(IdsArgument::Words(ids)), None) => Elements::U32(ids.as_slice()?),
            (None, Some(x)) => Elements::F32(x.as_slice()?),
            _ => return Err(to_py(CoreError::shape("documents", "tokens or features", "both or none"))),
        };
        let documents = DocumentColumns {
            elements,
            offsets: offsets.as_slice()?,
            targets: &targets,
            names: names.as_deref(),
        };
        enter(py, || lock(&self.0, "shard writer")?.as_mut().ok_or_else(closed)?.append(&documents))
    }

    fn close<'py>(&self, py: Python<'py>, extra: &str) -> PyResult<Bound<'py, PyAny>> {
        let manifest = enter(py, || {
            let mut writer = lock(&self.0, "shard writer")?;
            if writer.is_none() {
                return Err(closed());
            }
            let extra = Extra::from_json(extra)?;
            writer.take().ok_or_else(closed)?.close(extra)
        })?;
        let text = String::from_utf8_lossy(&manifest.to_json()).into_owned();
        py.import("json")?.call_method1("loads", (text,))
    }
}

/// The documents of a prepared folder in the order they were written, checked as they are read.
///
/// Threads that read at once wait for each other, and each record batch goes to one of them.
#[pyclass(name = "ShardReader", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyShardReader(Mutex<ShardReader>);

#[pymethods]
impl PyShardReader {
    #[new]
    fn new(py: Python<'_>, path: &str) -> PyResult<Self> {
        enter(py, || ShardReader::open(path)).map(|reader| Self(Mutex::new(reader)))
    }

    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(group) = enter(py, || lock(&self.0, "shard reader")?.next_group())? else { return Ok(None) };
        let n = group.documents();
        let columns = PyDict::new(py);
        columns.set_item("boundaries", to_array(py, &[n + 1], group.boundaries())?)?;
        if let Some(tokens) = group.all_tokens() {
            columns.set_item("tokens", to_array(py, &[tokens.len()], tokens)?)?;
        }
        if let Some((x, f)) = group.all_features() {
            columns.set_item("features", to_array(py, &[x.len() / f, f], x.to_vec())?)?;
        }
        let targets = PyDict::new(py);
        for column in group.targets() {
            let values = match column.all() {
                ColumnValues::Classes(x) => to_array(py, &[x.len()], x.to_vec())?,
                ColumnValues::Numbers(x) => {
                    to_array(py, &[x.len() / column.width(), column.width()], x.to_vec())?
                }
            };
            targets.set_item(column.name(), values)?;
        }
        columns.set_item("targets", targets)?;
        if let Some(names) = group.names() {
            columns.set_item("name", names.collect::<Vec<_>>())?;
        }
        Ok(Some(columns))
    }
}

/// 64 bits for the content of each document, of which the longest come in pieces.
///
/// Threads that add at once wait for each other.
#[pyclass(name = "ContentDigests", frozen, module = "ssm_hpn._core")]
#[derive(Default)]
pub(crate) struct PyContentDigests(Mutex<ContentDigests>);

#[pymethods]
impl PyContentDigests {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn add<'py>(
        &self,
        py: Python<'py>,
        data: PyReadonlyArray1<'py, u8>,
        offsets: PyReadonlyArray1<'py, u64>,
        begins: PyReadonlyArray1<'py, bool>,
    ) -> PyResult<Bound<'py, PyArray1<u64>>> {
        let (data, offsets, begins) = (data.as_slice()?, offsets.as_slice()?, begins.as_slice()?);
        Ok(enter(py, || lock(&self.0, "digests")?.add(data, offsets, begins))?.into_pyarray(py))
    }

    fn finish(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        enter(py, || Ok(lock(&self.0, "digests")?.finish()))
    }

    #[staticmethod]
    fn of<'py>(
        py: Python<'py>,
        data: PyReadonlyArray1<'py, u8>,
        offsets: PyReadonlyArray1<'py, u64>,
    ) -> PyResult<Bound<'py, PyArray1<u64>>> {
        let (data, offsets) = (data.as_slice()?, offsets.as_slice()?);
        Ok(enter(py, || ContentDigests::of(data, offsets))?.into_pyarray(py))
    }
}

/// Texts one after the other, in UTF-8, and where each begins and the last one ends.
type Texts<'py> = (Bound<'py, PyArray1<u8>>, Bound<'py, PyArray1<i64>>);

/// Numbers for texts, many at once.
///
/// Threads that ask at once wait for each other.
#[pyclass(name = "TextNumbers", frozen, module = "ssm_hpn._core")]
#[derive(Default)]
pub(crate) struct PyTextNumbers(Mutex<TextNumbers>);

#[pymethods]
impl PyTextNumbers {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn number<'py>(
        &self,
        py: Python<'py>,
        data: PyReadonlyArray1<'py, u8>,
        offsets: PyReadonlyArray1<'py, i32>,
    ) -> PyResult<Bound<'py, PyArray1<i32>>> {
        let (data, offsets) = (data.as_slice()?, offsets.as_slice()?);
        Ok(enter(py, || lock(&self.0, "numbers of texts")?.number(data, offsets))?.into_pyarray(py))
    }

    fn texts<'py>(&self, py: Python<'py>, first: usize) -> PyResult<Texts<'py>> {
        let (bytes, offsets) = enter(py, || {
            let numbers = lock(&self.0, "numbers of texts")?;
            let (bytes, offsets) = numbers.texts(first);
            Ok((bytes.to_vec(), offsets))
        })?;
        Ok((bytes.into_pyarray(py), offsets.into_pyarray(py)))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        enter(py, || Ok(lock(&self.0, "numbers of texts")?.len()))
    }
}

/// Checks every shard of a prepared folder against its manifest.
#[pyfunction]
pub(crate) fn verify_shards<'py>(py: Python<'py>, path: &str) -> PyResult<Bound<'py, PyDict>> {
    let report = enter(py, || ssm_hpn::data::verify_shards(Path::new(path)))?;
    let dict = PyDict::new(py);
    dict.set_item("shards", report.shards)?;
    dict.set_item("rows", report.rows)?;
    dict.set_item("tokens", report.tokens)?;
    dict.set_item("bytes", report.bytes)?;
    Ok(dict)
}
