//! The flat buffers, lent to Python for the length of a `with` block.
//!
//! The arrays handed out are views of the session's own memory. They keep the session alive, the session refuses
//! everything that would move or change its buffers while it is lent, and it stays lent as long as anybody refers to a
//! view: none can dangle, none can race.

use numpy::{Element, PyArray1};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use ssm_hpn::{Result, Scalar, session::Session};

use crate::errors::{LockedError, to_py};
use crate::session::{Numbers, PySession, either};

/// The buffers themselves, while the block is open.
#[pyclass(module = "ssm_hpn._core")]
pub(crate) struct FlatGuard {
    session: Py<PySession>,
    views: Option<[Py<PyAny>; 2]>,
}

impl FlatGuard {
    pub(crate) fn new(session: Py<PySession>) -> Self {
        Self { session, views: None }
    }

    fn view(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        let views = self.views.as_ref();
        views
            .map(|views| views[index].clone_ref(py))
            .ok_or_else(|| PyRuntimeError::new_err("the flat buffers are only there inside the with block"))
    }
}

#[pymethods]
impl FlatGuard {
    fn __enter__(mut slf: PyRefMut<'_, Self>) -> PyResult<PyRefMut<'_, Self>> {
        let py = slf.py();
        let owner = slf.session.clone_ref(py).into_bound(py);
        let views = either!(&mut owner.borrow_mut().numbers, s => lend(s, &owner)).map_err(to_py)?;
        slf.views = Some(views);
        Ok(slf)
    }

    fn __exit__(
        &mut self,
        py: Python<'_>,
        _exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let Some(views) = self.views.take() else { return Ok(()) };
        // One reference is ours; any other, also through a slice of the array, is a view that outlives the block.
        // SAFETY: the pointers are those of live objects, and the interpreter is held.
        let alive = views.iter().any(|view| unsafe { pyo3::ffi::Py_REFCNT(view.as_ptr()) } > 1);
        if alive {
            self.views = Some(views);
            if exc_value.is_none() {
                return Err(LockedError::new_err(
                    "flat buffers: expected no view of them behind the with block, found one that is still referred \
                     to; take a copy of what you want to keep, del the view, and call release()",
                ));
            }
            return Ok(());
        }
        either!(&mut self.session.borrow_mut(py).numbers, s => s.return_flat());
        Ok(())
    }

    /// Gives the buffers back after a view of them had outlived the block.
    fn release(&mut self, py: Python<'_>) -> PyResult<()> {
        let none = py.None();
        let none = none.bind(py);
        self.__exit__(py, none, none, none)
    }

    #[getter]
    fn parameters(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.view(py, 0)
    }

    #[getter]
    fn gradients(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.view(py, 1)
    }

    #[getter]
    fn count(&self, py: Python<'_>) -> u64 {
        either!(&self.session.borrow(py).numbers, s => s.count())
    }
}

/// Marks the buffers as lent and wraps them.
fn lend<T: Scalar + Element>(
    session: &mut Session<T>,
    owner: &Bound<'_, PySession>,
) -> Result<[Py<PyAny>; 2]> {
    let buffers = session.lend_flat()?;
    Ok(buffers.map(|buffer| {
        let view = ndarray::ArrayView1::from(&*buffer);
        // SAFETY: the memory belongs to the session, which the array keeps alive as its base; a lent session neither
        // moves nor frees nor touches it until no view is referred to.
        unsafe { PyArray1::borrow_from_array(&view, owner.clone().into_any()) }.into_any().unbind()
    }))
}
