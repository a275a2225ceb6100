//! `RowSorter`.

use std::path::Path;
use std::sync::Mutex;

use numpy::{IntoPyArray, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyList;

use ssm_hpn::Error as CoreError;
use ssm_hpn::data::{Cell, Column, Field, FieldValues, RowSorter};

use crate::enter::{enter, lock};
use crate::errors::to_py;

/// Rows sorted by some of their columns, on disk where they do not fit into memory.
///
/// Threads that use it at once wait for each other.
#[pyclass(name = "RowSorter", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyRowSorter(Mutex<RowSorter>);

/// A column of some rows: the bytes of its cells, or those of its texts and where they begin and end.
#[derive(FromPyObject)]
enum ColumnArgument<'py> {
    Cells(PyReadonlyArray1<'py, u8>),
    Texts(PyReadonlyArray1<'py, u8>, PyReadonlyArray1<'py, i32>),
}

#[pymethods]
impl PyRowSorter {
    #[new]
    #[pyo3(signature = (folder, fields, keys, *, run_bytes, pieces_bytes))]
    fn new(
        folder: &str,
        fields: Vec<(String, usize, usize)>,
        keys: Vec<usize>,
        run_bytes: usize,
        pieces_bytes: usize,
    ) -> PyResult<Self> {
        let fields = fields.into_iter().map(field).collect::<PyResult<_>>()?;
        let sorter = RowSorter::new(Path::new(folder), fields, keys, run_bytes, pieces_bytes);
        sorter.map(|sorter| Self(Mutex::new(sorter))).map_err(to_py)
    }

    fn add(&self, py: Python<'_>, columns: Vec<ColumnArgument<'_>>) -> PyResult<()> {
        let columns = columns
            .iter()
            .map(|column| {
                Ok(match column {
                    ColumnArgument::Cells(bytes) => Column::Cells(bytes.as_slice()?),
                    ColumnArgument::Texts(bytes, offsets) => {
                        Column::Texts(bytes.as_slice()?, offsets.as_slice()?)
                    }
                })
            })
            .collect::<PyResult<Vec<_>>>()?;
        enter(py, || lock(&self.0, "row sorter")?.add(&columns))
    }

    fn next<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Option<Bound<'py, PyList>>> {
        let Some(rows) = enter(py, || lock(&self.0, "row sorter")?.next(size))? else { return Ok(None) };
        let fields = PyList::empty(py);
        for field in rows.fields {
            match field {
                FieldValues::Cells(bytes) => fields.append(bytes.into_pyarray(py))?,
                FieldValues::Words { numbers, bytes, offsets } => fields.append((
                    numbers.into_pyarray(py),
                    bytes.into_pyarray(py),
                    offsets.into_pyarray(py),
                ))?,
            }
        }
        Ok(Some(fields))
    }
}

/// A field from what its cells hold, their size and their number.
fn field((cell, size, width): (String, usize, usize)) -> PyResult<Field> {
    let cell = match cell.as_str() {
        "text" => return Ok(Field::word(Cell::Text)),
        "bytes" => return Ok(Field::word(Cell::Bytes)),
        "signed" => Cell::Signed,
        "unsigned" => Cell::Unsigned,
        "float" => Cell::Float,
        "other" => Cell::Other,
        _ => {
            let expected = "text, bytes, signed, unsigned, float or other";
            return Err(to_py(CoreError::shape("a field", expected, cell)));
        }
    };
    Ok(Field { cell, size, width })
}
