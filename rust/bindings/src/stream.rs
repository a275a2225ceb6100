//! `Stream`: recurrent inference over a session's present parameters.

use std::sync::Mutex;

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use ssm_hpn::allocate::try_collected;
use ssm_hpn::data::Input;
use ssm_hpn::model::Stream;
use ssm_hpn::{Error as CoreError, Scalar};

use crate::any_session::{AnySession, SharedSession};
use crate::arrays::{Floats, copied, found};
use crate::enter::{enter, lock, lock_any};
use crate::errors::to_py;

/// A stream of either number type.
enum AnyStream {
    F32(Stream<f32>),
    F64(Stream<f64>),
}

/// Recurrent inference over B rows.
#[pyclass(name = "Stream", frozen, module = "ssm_hpn._core")]
pub(crate) struct PyStream {
    session: SharedSession,
    /// Locked before the session, and like it only while the interpreter is released.
    stream: Mutex<AnyStream>,
}

/// What messages call the array of scores.
const SCORES: &str = "the scores of a stream";

impl PyStream {
    pub(crate) fn new(py: Python<'_>, session: &SharedSession, rows: usize) -> PyResult<Self> {
        let stream = enter(py, || match &*session.read()? {
            AnySession::F32(s) => s.stream(rows).map(AnyStream::F32),
            AnySession::F64(s) => s.stream(rows).map(AnyStream::F64),
        })?;
        Ok(Self { session: session.clone(), stream: Mutex::new(stream) })
    }

    /// Reads input of `length` tokens per row and returns the scores after the last.
    fn read<'py>(&self, py: Python<'py>, input: &Input, length: usize) -> PyResult<Bound<'py, PyAny>> {
        let (shape, scores) = enter(py, || {
            let mut stream = lock(&self.stream, "stream")?;
            match (&*self.session.read()?, &mut *stream) {
                (AnySession::F32(s), AnyStream::F32(stream)) => {
                    let scores = s.read(stream, input, length)?;
                    let scores = try_collected(scores.iter().copied(), SCORES)?;
                    Ok(([stream.rows(), s.model().n_scores()], Floats::F32(scores)))
                }
                (AnySession::F64(s), AnyStream::F64(stream)) => {
                    let scores = s.read(stream, input, length)?;
                    let scores = try_collected(scores.iter().copied(), SCORES)?;
                    Ok(([stream.rows(), s.model().n_scores()], Floats::F64(scores)))
                }
                _ => Err(CoreError::shape("stream", "a session of the same number type", "another")),
            }
        })?;
        scores.into_array(py, &shape)
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

    fn features<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (shape, features) = enter(py, || {
            Ok(match &*lock(&self.stream, "stream")? {
                AnyStream::F32(stream) => (shape_of(stream), Floats::F32(features_of(stream)?)),
                AnyStream::F64(stream) => (shape_of(stream), Floats::F64(features_of(stream)?)),
            })
        })?;
        features.into_array(py, &shape)
    }

    fn reset(&self, py: Python<'_>) {
        py.detach(|| match &mut *lock_any(&self.stream) {
            AnyStream::F32(stream) => stream.reset(),
            AnyStream::F64(stream) => stream.reset(),
        });
        self.stream.clear_poison(); // a panic may have left it half changed: now it is new
    }
}

fn features_of<T: Scalar>(stream: &Stream<T>) -> Result<Vec<T>, CoreError> {
    try_collected(stream.features().iter().copied(), "the features of a stream")
}

/// Shape of the features, `[rows, D]`.
fn shape_of<T: Scalar>(stream: &Stream<T>) -> [usize; 2] {
    [stream.rows(), stream.features().len() / stream.rows()]
}

/// Ids with `axes` axes or features with one more, and the size of the last axis before the features.
fn input(x: &Bound<'_, PyAny>, axes: usize) -> PyResult<(Input, usize)> {
    if let Ok(ids) = x.extract::<PyReadonlyArrayDyn<'_, u32>>()
        && ids.ndim() == axes
    {
        return Ok((Input::Tokens(copied(&ids, "x")?), ids.shape()[axes - 1]));
    }
    if let Ok(features) = x.extract::<PyReadonlyArrayDyn<'_, f32>>()
        && features.ndim() == axes + 1
    {
        return Ok((Input::Features(copied(&features, "x")?), features.shape()[axes - 1]));
    }
    let expected = match axes {
        1 => "ids [B] of uint32, or features [B, F] of float32",
        _ => "ids [B, T] of uint32, or features [B, T, F] of float32",
    };
    Err(to_py(CoreError::shape("x", expected, found(x))))
}
