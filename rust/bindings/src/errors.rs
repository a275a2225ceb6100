//! The one place that translates errors of the core to exceptions.
//!
//! The classes are written in Python (`ssm_hpn/errors.py`), where they have two bases each, and are imported from there.

use pyo3::import_exception;
use pyo3::prelude::*;

use ssm_hpn::Error as CoreError;

import_exception!(ssm_hpn.errors, Error);
import_exception!(ssm_hpn.errors, ConfigError);
import_exception!(ssm_hpn.errors, DataError);
import_exception!(ssm_hpn.errors, CheckpointError);
import_exception!(ssm_hpn.errors, DivergedError);
import_exception!(ssm_hpn.errors, StorageError);
import_exception!(ssm_hpn.errors, InUseError);
import_exception!(ssm_hpn.errors, RankError);
import_exception!(ssm_hpn.errors, ShapeError);
import_exception!(ssm_hpn.errors, LockedError);
import_exception!(ssm_hpn.errors, ForkError);
import_exception!(ssm_hpn.errors, PanicError);

/// The exception of an error; the text is the error's own line.
pub(crate) fn to_py(error: CoreError) -> PyErr {
    let text = error.to_string();
    match error {
        CoreError::Config { .. } => ConfigError::new_err(text),
        CoreError::Data { .. } => DataError::new_err(text),
        CoreError::Checkpoint { .. } => CheckpointError::new_err(text),
        CoreError::Diverged { .. } => DivergedError::new_err(text),
        CoreError::Storage { .. } => StorageError::new_err(text),
        CoreError::InUse { .. } => InUseError::new_err(text),
        CoreError::Rank { .. } => RankError::new_err(text),
        CoreError::Shape { .. } => ShapeError::new_err(text),
        CoreError::Borrowed { .. } => LockedError::new_err(text),
        CoreError::Forked { .. } => ForkError::new_err(text),
        CoreError::Poisoned { .. } => PanicError::new_err(text),
        // A variant added later without a class of its own is still an error of this package.
        _ => Error::new_err(text),
    }
}

/// Imports the module of the classes when this one is loaded: should it be missing, that fails here, not at an error.
pub(crate) fn import(py: Python<'_>) -> PyResult<()> {
    py.import("ssm_hpn.errors").map(drop)
}
