//! `Stream`: recurrent inference over a session's present parameters.

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use ssm_hpn::Error as CoreError;
use ssm_hpn::data::Input;
use ssm_hpn::model::Stream;

use crate::arrays::to_array;
use crate::enter::enter;
use crate::errors::to_py;
use crate::session::{Numbers, PySession};

enum State {
    F32(Stream<f32>),
    F64(Stream<f64>),
}

/// Recurrent inference over B rows.
#[pyclass(name = "Stream", module = "ssm_hpn._core")]
pub(crate) struct PyStream {
    session: Py<PySession>,
    state: State,
}

impl PyStream {
    pub(crate) fn new(session: Bound<'_, PySession>, rows: usize) -> PyResult<Self> {
        let state = match &session.borrow().numbers {
            Numbers::F32(s) => State::F32(s.stream(rows).map_err(to_py)?),
            Numbers::F64(s) => State::F64(s.stream(rows).map_err(to_py)?),
        };
        Ok(Self { session: session.unbind(), state })
    }

    /// Reads input of `length` tokens per row and returns the scores after the last.
    fn read<'py>(&mut self, py: Python<'py>, input: &Input, length: usize) -> PyResult<Bound<'py, PyAny>> {
        let session = self.session.borrow(py);
        match (&session.numbers, &mut self.state) {
            (Numbers::F32(s), State::F32(state)) => {
                let scores = enter(py, || s.read(state, input, length).map(<[f32]>::to_vec))?;
                to_array(py, &[state.rows(), s.model().head().n_scores()], scores)
            }
            (Numbers::F64(s), State::F64(state)) => {
                let scores = enter(py, || s.read(state, input, length).map(<[f64]>::to_vec))?;
                to_array(py, &[state.rows(), s.model().head().n_scores()], scores)
            }
            _ => Err(to_py(CoreError::shape("stream", "a session of the same number type", "another"))),
        }
    }
}

#[pymethods]
impl PyStream {
    #[pyo3(signature = (x, /))]
    fn step<'py>(&mut self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (input, _) = input(x, 1)?;
        self.read(py, &input, 1)
    }

    #[pyo3(signature = (x, /))]
    fn prefill<'py>(&mut self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (input, length) = input(x, 2)?;
        self.read(py, &input, length)
    }

    fn reset(&mut self) {
        match &mut self.state {
            State::F32(state) => state.reset(),
            State::F64(state) => state.reset(),
        }
    }
}

/// Ids with `axes` axes or features with one more, and the size of the last axis before the features.
fn input(x: &Bound<'_, PyAny>, axes: usize) -> PyResult<(Input, usize)> {
    if let Ok(ids) = x.extract::<PyReadonlyArrayDyn<'_, u32>>()
        && ids.ndim() == axes
    {
        return Ok((Input::Tokens(ids.as_array().iter().copied().collect()), ids.shape()[axes - 1]));
    }
    if let Ok(features) = x.extract::<PyReadonlyArrayDyn<'_, f32>>()
        && features.ndim() == axes + 1
    {
        return Ok((
            Input::Features(features.as_array().iter().copied().collect()),
            features.shape()[axes - 1],
        ));
    }
    let expected = format!("uint32 ids with {axes} axes, or float32 features with {}", axes + 1);
    Err(to_py(CoreError::shape("stream input", expected, "another type or number of axes")))
}
