//! One exception class per kind of error, and the one place that translates.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use ssm_hpn::Error as CoreError;

create_exception!(_core, Error, PyException, "Base of every error of this package.");
create_exception!(_core, ConfigError, Error, "A configuration that contradicts itself.");
create_exception!(_core, DataError, Error, "Input data that cannot be used.");
create_exception!(_core, CheckpointError, Error, "A checkpoint that cannot be loaded.");
create_exception!(_core, DivergedError, Error, "Too many updates in a row were not finite.");
create_exception!(_core, StorageError, Error, "The operating system refused to read or write.");
create_exception!(_core, ShapeError, Error, "An array or batch that does not fit.");
create_exception!(_core, LockedError, Error, "The flat buffers are lent out.");
create_exception!(_core, ForkError, Error, "The process was forked after the thread pool had started.");

/// The exception of an error; the text is the error's own line.
pub(crate) fn to_py(error: CoreError) -> PyErr {
    let text = error.to_string();
    match error {
        CoreError::Config { .. } => ConfigError::new_err(text),
        CoreError::Data { .. } => DataError::new_err(text),
        CoreError::Checkpoint { .. } => CheckpointError::new_err(text),
        CoreError::Diverged { .. } => DivergedError::new_err(text),
        CoreError::Storage { .. } => StorageError::new_err(text),
        CoreError::Shape { .. } => ShapeError::new_err(text),
        CoreError::Borrowed { .. } => LockedError::new_err(text),
        CoreError::Forked { .. } => ForkError::new_err(text),
        // The enum may grow; a variant without a class of its own is still ours.
        _ => Error::new_err(text),
    }
}

/// Adds the classes to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("Error", py.get_type::<Error>())?;
    module.add("ConfigError", py.get_type::<ConfigError>())?;
    module.add("DataError", py.get_type::<DataError>())?;
    module.add("CheckpointError", py.get_type::<CheckpointError>())?;
    module.add("DivergedError", py.get_type::<DivergedError>())?;
    module.add("StorageError", py.get_type::<StorageError>())?;
    module.add("ShapeError", py.get_type::<ShapeError>())?;
    module.add("LockedError", py.get_type::<LockedError>())?;
    module.add("ForkError", py.get_type::<ForkError>())
}
