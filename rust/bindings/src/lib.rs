//! `ssm_hpn._core`: the module list. What each class does is written in `_core.pyi` and in the core.

mod any_session;
mod arrays;
mod batch;
mod checkpoints;
mod data;
mod enter;
mod errors;
mod exchange;
mod feature_stream;
mod features;
mod flat;
mod parts;
mod prototypes;
mod session;
mod settings;
mod sorter;
mod storage;
mod stream;
mod targets;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use ssm_hpn::model::{Model, ModelConfig};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::simd::{Bf16Unit, Isa};

/// Objects of Python lie at multiples of so many bytes, and pyo3 writes a class into its object whatever its type asks for.
const PLACE: usize = 2 * size_of::<usize>();

const _: () = {
    assert!(align_of::<batch::PyBatch>() <= PLACE);
    assert!(align_of::<checkpoints::PyRunLock>() <= PLACE);
    assert!(align_of::<data::PyLoader>() <= PLACE);
    assert!(align_of::<data::PyShardWriter>() <= PLACE);
    assert!(align_of::<data::PyShardReader>() <= PLACE);
    assert!(align_of::<data::PyContentDigests>() <= PLACE);
    assert!(align_of::<data::PyTextNumbers>() <= PLACE);
    assert!(align_of::<feature_stream::PyReadout>() <= PLACE);
    assert!(align_of::<feature_stream::PyFeatureStream>() <= PLACE);
    assert!(align_of::<features::PyStateFilters>() <= PLACE);
    assert!(align_of::<features::PyFeatureBlocks>() <= PLACE);
    assert!(align_of::<flat::FlatGuard>() <= PLACE);
    assert!(align_of::<flat::Owner>() <= PLACE);
    assert!(align_of::<session::PySessionCopy>() <= PLACE);
    assert!(align_of::<session::PySession>() <= PLACE);
    assert!(align_of::<sorter::PyRowSorter>() <= PLACE);
    assert!(align_of::<stream::PyStream>() <= PLACE);
};

/// Instruction set in use; an error if `SSM_HPN_SIMD` asks for one that is not there.
#[pyfunction]
fn simd() -> PyResult<&'static str> {
    Isa::check_environment().map_err(errors::to_py)?;
    Ok(Isa::active().name())
}

/// Instruction sets of this machine that the library can use.
#[pyfunction]
fn available_simd() -> Vec<&'static str> {
    Isa::available().into_iter().map(Isa::name).collect()
}

/// Unit of products in bf16; an error if `SSM_HPN_BF16` asks for one that is not there.
#[pyfunction]
fn bf16_unit() -> PyResult<&'static str> {
    Bf16Unit::check_environment().map_err(errors::to_py)?;
    Ok(Bf16Unit::active().name())
}

/// Units of products in bf16 that the library can use here.
#[pyfunction]
fn available_bf16_units() -> Vec<&'static str> {
    Bf16Unit::available().into_iter().map(Bf16Unit::name).collect()
}

/// Versions, target and features of the compiled module.
#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("version", env!("CARGO_PKG_VERSION"))?;
    dict.set_item("target", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS))?;
    dict.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    Ok(dict)
}

/// Refuses a model or an optimiser that contradicts itself; no parameters are made.
#[pyfunction]
#[pyo3(signature = (model, optim, *, vectors=None, class_names=None))]
fn check_config(
    model: &str,
    optim: &str,
    vectors: Option<&Bound<'_, PyAny>>,
    class_names: Option<Vec<String>>,
) -> PyResult<()> {
    let registry = prototypes::registry::<f32>(vectors, class_names)?;
    let check = || {
        OptimConfig::from_json(optim)?;
        Model::new(ModelConfig::from_json(model)?, &registry, 0).map(drop)
    };
    check().map_err(errors::to_py)
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::import(module.py())?;
    enter::keep_panics();
    module.add_class::<batch::PyBatch>()?;
    module.add_class::<session::PySession>()?;
    module.add_class::<session::PySessionCopy>()?;
    module.add_class::<stream::PyStream>()?;
    module.add_class::<flat::FlatGuard>()?;
    module.add_class::<data::PyLoader>()?;
    module.add_class::<data::PyShardReader>()?;
    module.add_class::<data::PyShardWriter>()?;
    module.add_class::<data::PyContentDigests>()?;
    module.add_class::<data::PyTextNumbers>()?;
    module.add_class::<sorter::PyRowSorter>()?;
    module.add_class::<checkpoints::PyRunLock>()?;
    module.add_class::<features::PyStateFilters>()?;
    module.add_class::<features::PyFeatureBlocks>()?;
    module.add_class::<feature_stream::PyFeatureStream>()?;
    module.add_class::<feature_stream::PyReadout>()?;
    module.add_function(wrap_pyfunction!(simd, module)?)?;
    module.add_function(wrap_pyfunction!(available_simd, module)?)?;
    module.add_function(wrap_pyfunction!(bf16_unit, module)?)?;
    module.add_function(wrap_pyfunction!(available_bf16_units, module)?)?;
    module.add_function(wrap_pyfunction!(build_info, module)?)?;
    module.add_function(wrap_pyfunction!(check_config, module)?)?;
    module.add_function(wrap_pyfunction!(settings::setting_bounds, module)?)?;
    module.add_function(wrap_pyfunction!(settings::resolve_model, module)?)?;
    module.add_function(wrap_pyfunction!(settings::check_optim, module)?)?;
    module.add_function(wrap_pyfunction!(storage::write_whole, module)?)?;
    module.add_function(wrap_pyfunction!(targets::target_kinds, module)?)?;
    module.add_function(wrap_pyfunction!(parts::block_kinds, module)?)?;
    module.add_function(wrap_pyfunction!(parts::head_kinds, module)?)?;
    module.add_function(wrap_pyfunction!(prototypes::place_prototypes, module)?)?;
    module.add_function(wrap_pyfunction!(prototypes::largest_cosine, module)?)?;
    module.add_function(wrap_pyfunction!(prototypes::order_kept, module)?)?;
    module.add_function(wrap_pyfunction!(data::verify_shards, module)?)?;
    module.add_function(wrap_pyfunction!(checkpoints::verify_checkpoint, module)?)?;
    module.add_function(wrap_pyfunction!(checkpoints::list_checkpoints, module)?)?;
    module.add_function(wrap_pyfunction!(checkpoints::upgrade_checkpoint, module)?)?;
    module.add_function(wrap_pyfunction!(checkpoints::mark_best, module)?)?;
    module.add_function(wrap_pyfunction!(checkpoints::best_checkpoint, module)?)?;
    module.add_function(wrap_pyfunction!(checkpoints::prune_checkpoints, module)?)?;
    module.add_function(wrap_pyfunction!(checkpoints::save_arrays, module)?)?;
    module.add_function(wrap_pyfunction!(checkpoints::load_arrays, module)?)?;
    Ok(())
}
