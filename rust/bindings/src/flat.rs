//! The flat buffers, lent to Python for the length of a `with` block.
//!
//! The arrays handed out are views of the session's own memory. They keep the session alive, the session refuses
//! everything that would move, change or read its buffers while it is lent, and it stays lent as long as anybody refers
//! to a view: none can dangle, none can race.

use std::sync::Mutex;

use ndarray::ArrayViewMut1;
use numpy::{Element, PyArray1};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use ssm_hpn::Scalar;

use crate::any_session::{AnySession, SharedSession, either};
use crate::enter::{enter, lock_any};
use crate::errors::LockedError;

/// The buffers themselves, while the block is open.
#[pyclass(frozen, module = "ssm_hpn._core")]
pub(crate) struct FlatGuard {
    session: SharedSession,
    /// Held without a release of the interpreter, which therefore orders its uses by several threads.
    views: Mutex<Option<[Py<PyAny>; 2]>>,
}

/// Base object of a view: keeps the session alive.
#[pyclass(frozen, module = "ssm_hpn._core")]
pub(crate) struct Owner(#[expect(dead_code, reason = "held, not read")] SharedSession);

/// The address and length of a flat buffer of a lent session.
enum FlatBuffer {
    F32(*mut f32, usize),
    F64(*mut f64, usize),
}

// SAFETY: an address; only `view` dereferences it, while the session is lent.
unsafe impl Send for FlatBuffer {}

impl FlatGuard {
    pub(crate) fn new(session: SharedSession) -> Self {
        Self { session, views: Mutex::new(None) }
    }

    fn view(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        let views = lock_any(&self.views);
        views
            .as_ref()
            .map(|views| views[index].clone_ref(py))
            .ok_or_else(|| PyRuntimeError::new_err("the flat buffers are only there inside the with block"))
    }
}

#[pymethods]
impl FlatGuard {
    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let (py, guard) = (slf.py(), slf.get());
        let buffers = enter(py, || match &mut *guard.session.write()? {
            AnySession::F32(s) => Ok(s.lend_flat()?.map(|x| FlatBuffer::F32(x.as_mut_ptr(), x.len()))),
            AnySession::F64(s) => Ok(s.lend_flat()?.map(|x| FlatBuffer::F64(x.as_mut_ptr(), x.len()))),
        })?;
        let owner = Bound::new(py, Owner(guard.session.clone()))?;
        let views = buffers.map(|buffer| match buffer {
            // SAFETY: a buffer of the session that the owner keeps alive and that is lent until no view is referred to.
            FlatBuffer::F32(start, len) => unsafe { view(start, len, &owner) },
            // SAFETY: as above.
            FlatBuffer::F64(start, len) => unsafe { view(start, len, &owner) },
        });
        *lock_any(&guard.views) = Some(views);
        Ok(slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let Some(views) = lock_any(&self.views).take() else { return Ok(()) };
        // One reference is ours; any other, also through a slice of the array, is a view that outlives the block.
        // SAFETY: the pointers are those of live objects, and the interpreter is held.
        let alive = views.iter().any(|view| unsafe { pyo3::ffi::Py_REFCNT(view.as_ptr()) } > 1);
        if alive {
            *lock_any(&self.views) = Some(views);
            if exc_value.is_none() {
                return Err(LockedError::new_err(
                    "flat buffers: expected no view of them behind the with block, found one that is still referred \
                     to; take a copy of what you want to keep, del the view, and call release()",
                ));
            }
            return Ok(());
        }
        drop(views);
        enter(py, || {
            either!(&mut *self.session.write()?, s => s.return_flat());
            Ok(())
        })
    }

    /// Returns the buffers once the views that outlived the block are gone.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
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
    fn count(&self, py: Python<'_>) -> PyResult<u64> {
        enter(py, || Ok(either!(&*self.session.read()?, s => s.count())))
    }

    #[getter]
    fn weight(&self, py: Python<'_>) -> PyResult<f64> {
        enter(py, || Ok(either!(&*self.session.read()?, s => s.weight())))
    }
}

/// A writable array over a buffer.
///
/// # Safety
/// `start .. start + len` is a buffer of the owner's session, lent for as long as the array is referred to.
unsafe fn view<T: Scalar + Element>(start: *mut T, len: usize, owner: &Bound<'_, Owner>) -> Py<PyAny> {
    // SAFETY: a lent session neither moves nor frees nor touches its buffers, and the pointer comes from a mutable slice.
    unsafe {
        let view = ArrayViewMut1::from_shape_ptr(len, start);
        PyArray1::borrow_from_array(&view, owner.clone().into_any()).into_any().unbind()
    }
}
