//! `Stream`: recurrent inference over a session's present parameters.

use std::sync::Mutex;

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use ssm_hpn::Error as CoreError;
use ssm_hpn::data::Input;
use ssm_hpn::model::Stream;

use crate::arrays::{found, to_array};
use crate::enter::{enter, lock};
use crate::errors::to_py;
use crate::numbers::{Numbers, SharedSession};

enum State {
    F32(Stream<f32>),
    F64(Stream<f64>),
}

/// Recurrent inference over B rows.
#[pyclass(name = "Stream", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyStream {
    session: SharedSession,
    /// Locked before the session, and like it only while the interpreter is released.
    state: Mutex<State>,
}

/// Scores `[rows, n_scores]` of either number type.
enum Scores {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl PyStream {
    pub(crate) fn new(py: Python<'_>, session: &SharedSession, rows: usize) -> PyResult<Self> {
        let state = enter(py, || match &*session.read() {
            Numbers::F32(s) => s.stream(rows).map(State::F32),
            Numbers::F64(s) => s.stream(rows).map(State::F64),
        })?;
        Ok(Self { session: session.clone(), state: Mutex::new(state) })
    }

    /// Reads input of `length` tokens per row and returns the scores after the last.
    fn read<'py>(&self, py: Python<'py>, input: &Input, length: usize) -> PyResult<Bound<'py, PyAny>> {
        let (shape, scores) = enter(py, || {
            let mut state = lock(&self.state);
            match (&*self.session.read(), &mut *state) {
                (Numbers::F32(s), State::F32(state)) => {
                    let scores = s.read(state, input, length)?.to_vec();
                    Ok(([state.rows(), s.model().n_scores()], Scores::F32(scores)))
                }
                (Numbers::F64(s), State::F64(state)) => {
                    let scores = s.read(state, input, length)?.to_vec();
                    Ok(([state.rows(), s.model().n_scores()], Scores::F64(scores)))
                }
                _ => Err(CoreError::shape("stream", "a session of the same number type", "another")),
            }
        })?;
        match scores {
            Scores::F32(scores) => to_array(py, &shape, scores),
            Scores::F64(scores) => to_array(py, &shape, scores),
        }
    }
}

#[pymethods]
impl PyStream {
    #[pyo3(signature = (x, /))]
    fn step<'py>(&self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (input, _) = input(x, 1)?;
        self.read(py, &input, 1)
    }

    #[pyo3(signature = (x, /))]
    fn prefill<'py>(&self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (input, length) = input(x, 2)?;
        self.read(py, &input, length)
    }

    fn reset(&self, py: Python<'_>) {
        py.detach(|| match &mut *lock(&self.state) {
            State::F32(state) => state.reset(),
            State::F64(state) => state.reset(),
        });
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
    let expected = match axes {
        1 => "ids [B] of uint32, or features [B, F] of float32",
        _ => "ids [B, T] of uint32, or features [B, T, F] of float32",
    };
    Err(to_py(CoreError::shape("x", expected, found(x))))
}
