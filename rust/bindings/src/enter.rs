//! How a call enters the core: the interpreter is released, errors are translated, signals are looked at after.

use pyo3::prelude::*;

use crate::errors::to_py;

/// Runs `f` without the interpreter.
pub(crate) fn enter<R: Send>(py: Python<'_>, f: impl FnOnce() -> ssm_hpn::Result<R> + Send) -> PyResult<R> {
    let result = py.detach(f);
    py.check_signals()?;
    result.map_err(to_py)
}
