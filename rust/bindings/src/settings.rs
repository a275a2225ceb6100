//! The core's bounds of settings, and its resolved configuration of a model.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use ssm_hpn::bounds::{Bounds, Edge};
use ssm_hpn::model::{ModelConfig, Registry};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session;

use crate::enter::enter;

/// The ends of a range by the names that pydantic has for them: ge, gt, le, lt.
fn ends<'py>(py: Python<'py>, bounds: &Bounds) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let ends = [(bounds.low, "ge", "gt"), (bounds.high, "le", "lt")];
    for (edge, at, beyond) in ends {
        let (name, value) = match edge {
            Edge::None => continue,
            Edge::At(value) => (at, value),
            Edge::Beyond(value) => (beyond, value),
        };
        if bounds.is_whole {
            dict.set_item(name, value as i64)?;
        } else {
            dict.set_item(name, value)?;
        }
    }
    Ok(dict)
}

/// The bounds of settings by dotted name.
#[pyfunction]
pub(crate) fn setting_bounds(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for bounds in session::bounds() {
        dict.set_item(bounds.key, ends(py, bounds)?)?;
    }
    Ok(dict)
}

/// A model's configuration with every default of its blocks resolved.
#[pyfunction]
pub(crate) fn resolve_model(py: Python<'_>, model: &str) -> PyResult<String> {
    enter(py, || Ok(Registry::<f32>::standard().resolve(ModelConfig::from_json(model)?)?.to_json()))
}

/// Refuses settings of the optimiser that are out of bounds or contradict each other.
#[pyfunction]
pub(crate) fn check_optim(py: Python<'_>, optim: &str) -> PyResult<()> {
    enter(py, || OptimConfig::from_json(optim).map(drop))
}
