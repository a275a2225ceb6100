//! Calls into the core, with the interpreter released and errors translated.
//!
//! The result of a finished call is always returned. A signal that came meanwhile stays pending, and the interpreter
//! sees to it when the call is over: raising here instead would drop a result whose effects remain.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::errors::to_py;

/// Runs `f` without the interpreter.
pub(crate) fn enter<R: Send>(py: Python<'_>, f: impl FnOnce() -> ssm_hpn::Result<R> + Send) -> PyResult<R> {
    py.detach(f).map_err(to_py)
}

/// Waits for other threads that use the same object.
///
/// Nothing waits for the interpreter while it holds this, or two threads would wait for each other: it is taken inside
/// [`enter`], or for a few instructions that never release the interpreter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
