//! `Session`: one line per method. The number type is chosen when it is constructed.

use std::path::Path;

use numpy::{AllowTypeChange, PyArrayLikeDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use ssm_hpn::allocate::try_collected;
use ssm_hpn::head::Accuracy;
use ssm_hpn::kernels::matmul::Precision;
use ssm_hpn::model::{ActivationMemory, ExpandPlan, FreezeSpec, ModelConfig, Registry};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::{ApplyReport, EvalReport, PEAK_SIDE, Sampling, Session, SessionCopy, StepReport};
use ssm_hpn::{Error as CoreError, Result, Scalar, Threads};

use crate::any_session::{AnySession, SharedSession, either};
use crate::arrays::{Floats, copied, to_array};
use crate::batch::PyBatch;
use crate::enter::enter;
use crate::errors::to_py;
use crate::exchange::PyExchange;
use crate::flat::FlatGuard;
use crate::prototypes::registry;
use crate::stream::PyStream;

/// Which number type a session computes in.
fn is_double(dtype: &str) -> Result<bool> {
    match dtype {
        "float32" => Ok(false),
        "float64" => Ok(true),
        other => Err(CoreError::config(
            "dtype",
            "float32 or float64",
            format!("{other:?}"),
            "leave it out for float32",
        )),
    }
}

/// What a checkpoint of a session holds, at one moment.
pub(crate) enum AnyCopy {
    F32(SessionCopy<f32>),
    F64(SessionCopy<f64>),
}

/// What a checkpoint of a session holds, at one moment.
#[pyclass(name = "SessionCopy", frozen, module = "ssm_hpn._core")]
pub(crate) struct PySessionCopy(AnyCopy);

#[pymethods]
impl PySessionCopy {
    fn save(&self, py: Python<'_>, root: &str, step_dir: &str) -> PyResult<()> {
        let folder = Path::new(root).join(step_dir);
        enter(py, || match &self.0 {
            AnyCopy::F32(copy) => copy.save(&folder).map(drop),
            AnyCopy::F64(copy) => copy.save(&folder).map(drop),
        })
    }
}

/// Model, gradients and optimiser state in one arena.
#[pyclass(name = "Session", frozen, module = "ssm_hpn._core")]
pub(crate) struct PySession(SharedSession);

/// A call that changes nothing, without the interpreter; several threads may be in one.
macro_rules! reading {
    ($slf:expr, $py:expr, $session:ident => $body:expr) => {
        enter($py, || either!(&*$slf.0.read()?, $session => $body))
    };
}

/// A call that changes the session, without the interpreter and alone.
macro_rules! changing {
    ($slf:expr, $py:expr, $session:ident => $body:expr) => {
        enter($py, || either!(&mut *$slf.0.write()?, $session => $body))
    };
}

#[pymethods]
impl PySession {
    #[new]
    #[pyo3(signature = (model, optim, *, seed=0, dtype="float32", threads=None, vectors=None, class_names=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        model: &str,
        optim: &str,
        seed: u64,
        dtype: &str,
        threads: Option<usize>,
        vectors: Option<&Bound<'_, PyAny>>,
        class_names: Option<Vec<String>>,
    ) -> PyResult<Self> {
        let double = registry::<f64>(vectors, class_names.clone())?;
        let single = registry::<f32>(vectors, class_names)?;
        enter(py, || {
            let (model, optim) = (ModelConfig::from_json(model)?, OptimConfig::from_json(optim)?);
            let threads = Threads::new(threads)?;
            let session = if is_double(dtype)? {
                AnySession::F64(Session::with_registry(model, optim, seed, threads, &double)?)
            } else {
                AnySession::F32(Session::with_registry(model, optim, seed, threads, &single)?)
            };
            Ok(Self(SharedSession::new(session)))
        })
    }

    #[staticmethod]
    #[pyo3(signature = (path, *, optim=None, threads=None, dtype="float32"))]
    fn load(
        py: Python<'_>,
        path: &str,
        optim: Option<&str>,
        threads: Option<usize>,
        dtype: &str,
    ) -> PyResult<(Self, String, Vec<String>)> {
        enter(py, || {
            let optim = optim.map(OptimConfig::from_json).transpose()?;
            let (path, threads) = (Path::new(path), Threads::new(threads)?);
            if is_double(dtype)? {
                let restored = Session::restore(path, optim, threads, &Registry::standard())?;
                Ok(loaded(AnySession::F64(restored.session), &restored.extra, &restored.passed_over))
            } else {
                let restored = Session::restore(path, optim, threads, &Registry::standard())?;
                Ok(loaded(AnySession::F32(restored.session), &restored.extra, &restored.passed_over))
            }
        })
    }

    /// Panics in a call that changes the session, or in one that only reads it: tests see what becomes of it.
    fn _panic(&self, py: Python<'_>, text: &str, changing: bool) -> PyResult<()> {
        enter(py, || {
            if changing {
                let _changed = self.0.write()?;
                panic!("{text}");
            }
            let _read = self.0.read()?;
            panic!("{text}");
        })
    }

    fn save(&self, py: Python<'_>, root: &str, step_dir: &str, extra: &str) -> PyResult<()> {
        enter(py, || {
            let extra = serde_json::from_str(extra)
                .map_err(|e| CoreError::config("extra", "JSON", e, "pass the text of json.dumps"))?;
            either!(&*self.0.read()?, s => s.save(&Path::new(root).join(step_dir), extra)).map(drop)
        })
    }

    fn copied(&self, py: Python<'_>, extra: &str) -> PyResult<PySessionCopy> {
        enter(py, || {
            let extra = serde_json::from_str(extra)
                .map_err(|e| CoreError::config("extra", "JSON", e, "pass the text of json.dumps"))?;
            match &*self.0.read()? {
                AnySession::F32(session) => {
                    session.copied(extra).map(|copy| PySessionCopy(AnyCopy::F32(copy)))
                }
                AnySession::F64(session) => {
                    session.copied(extra).map(|copy| PySessionCopy(AnyCopy::F64(copy)))
                }
            }
        })
    }

    #[pyo3(signature = (memory, limit_mb=None))]
    fn set_activation_memory(&self, py: Python<'_>, memory: &str, limit_mb: Option<u64>) -> PyResult<()> {
        let memory = match memory {
            "keep" => ActivationMemory::Keep,
            "recompute" => ActivationMemory::Recompute,
            "auto" => ActivationMemory::Auto,
            other => {
                let expected = "keep, recompute or auto";
                let error =
                    CoreError::config("model.activation_memory", expected, other, "choose one of them");
                return Err(to_py(error));
            }
        };
        changing!(self, py, s => s.set_activation_memory(memory, limit_mb))
    }

    fn plan_virtual_ranks(&self, py: Python<'_>, count: u32) -> PyResult<()> {
        changing!(self, py, s => {
            s.plan_virtual_ranks(count);
            Ok(())
        })
    }

    #[pyo3(signature = (batch, *, accuracy=false))]
    fn forward_backward<'py>(
        &self,
        py: Python<'py>,
        batch: &PyBatch,
        accuracy: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let accuracy = if accuracy { Accuracy::Count } else { Accuracy::Skip };
        let report = changing!(self, py, s => s.forward_backward(&batch.0, accuracy))?;
        step_report(py, &report)
    }

    #[pyo3(signature = (batch, *, accuracy=false))]
    fn forward_backward_carried<'py>(
        &self,
        py: Python<'py>,
        batch: &PyBatch,
        accuracy: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let accuracy = if accuracy { Accuracy::Count } else { Accuracy::Skip };
        let report = changing!(self, py, s => s.forward_backward_carried(&batch.0, accuracy))?;
        step_report(py, &report)
    }

    fn apply<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = changing!(self, py, s => s.apply())?;
        apply_report(py, &report)
    }

    fn number_next_micro_batch(&self, py: Python<'_>, number: u64) -> PyResult<()> {
        changing!(self, py, s => s.number_next_micro_batch(number))
    }

    fn next_virtual_rank(&self, py: Python<'_>) -> PyResult<()> {
        changing!(self, py, s => s.next_virtual_rank())
    }

    fn last_micro_batch(&self, py: Python<'_>) -> PyResult<()> {
        changing!(self, py, s => s.last_micro_batch())
    }

    fn share(&self, py: Python<'_>, exchange: &Bound<'_, PyAny>) -> PyResult<()> {
        let exchange = PyExchange::new(exchange)?;
        changing!(self, py, s => s.share(Box::new(exchange)))
    }

    fn grad_norm(&self, py: Python<'_>) -> PyResult<f64> {
        changing!(self, py, s => s.grad_norm())
    }

    fn zero_grad(&self, py: Python<'_>) -> PyResult<()> {
        changing!(self, py, s => s.zero_grad())
    }

    fn set_class_weights(&self, py: Python<'_>, weights: Vec<f64>) -> PyResult<()> {
        changing!(self, py, s => s.set_class_weights(&weights))
    }

    fn set_precision(&self, py: Python<'_>, precision: &str) -> PyResult<()> {
        changing!(self, py, s => {
            let found = Precision::ALL.into_iter().find(|known| known.name() == precision);
            let found = found.ok_or_else(|| {
                CoreError::config("train.precision", "f32 or bf16", precision, "name one of them")
            })?;
            s.set_precision(found)
        })
    }

    fn evaluate<'py>(&self, py: Python<'py>, batch: &PyBatch) -> PyResult<Bound<'py, PyDict>> {
        let report = reading!(self, py, s => s.evaluate(&batch.0))?;
        eval_report(py, report)
    }

    fn predict<'py>(&self, py: Python<'py>, batch: &PyBatch) -> PyResult<Bound<'py, PyAny>> {
        let (shape, scores) = reading!(self, py, s => {
            s.predict(&batch.0).map(|scores| (s.model().score_shape(&batch.0), Floats::from(scores)))
        })?;
        scores.into_array(py, &shape)
    }

    fn predict_with_features<'py>(
        &self,
        py: Python<'py>,
        batch: &PyBatch,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let (shapes, scores, features) = reading!(self, py, s => {
            s.predict_with_features(&batch.0).map(|(scores, features)| {
                let shapes = (s.model().score_shape(&batch.0), s.model().feature_shape(&batch.0));
                (shapes, Floats::from(scores), Floats::from(features))
            })
        })?;
        Ok((scores.into_array(py, &shapes.0)?, features.into_array(py, &shapes.1)?))
    }

    fn embed<'py>(&self, py: Python<'py>, batch: &PyBatch) -> PyResult<Bound<'py, PyAny>> {
        let (shape, points) = reading!(self, py, s => {
            s.embed(&batch.0).map(|points| (s.model().embedding_shape(&batch.0), Floats::from(points)))
        })?;
        points.into_array(py, &shape)
    }

    fn hidden<'py>(&self, py: Python<'py>, batch: &PyBatch) -> PyResult<Bound<'py, PyAny>> {
        let (shape, hidden) = reading!(self, py, s => {
            s.hidden(&batch.0).map(|hidden| (s.model().hidden_shape(&batch.0), Floats::from(hidden)))
        })?;
        hidden.into_array(py, &shape)
    }

    #[pyo3(signature = (rows=1))]
    fn stream(&self, py: Python<'_>, rows: usize) -> PyResult<PyStream> {
        PyStream::new(py, &self.0, rows)
    }

    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    #[pyo3(signature = (prompt, n, *, temperature=1.0, top_k=None, top_p=None, seed=0))]
    fn generate(
        &self,
        py: Python<'_>,
        prompt: Vec<u32>,
        n: usize,
        temperature: f64,
        top_k: Option<usize>,
        top_p: Option<f64>,
        seed: u64,
    ) -> PyResult<Vec<u32>> {
        let sampling = Sampling { temperature, top_k, top_p, seed };
        reading!(self, py, s => s.generate(&prompt, n, &sampling))
    }

    fn expand(&self, py: Python<'_>, plan: &str) -> PyResult<Vec<usize>> {
        enter(py, || {
            let plan = ExpandPlan::from_json(plan)?;
            either!(&mut *self.0.write()?, s => s.expand(&plan))
        })
    }

    fn add_classes(&self, py: Python<'_>, count: usize) -> PyResult<Vec<usize>> {
        changing!(self, py, s => s.add_classes(count))
    }

    fn freeze(&self, py: Python<'_>, spec: &str) -> PyResult<Vec<String>> {
        enter(py, || {
            let spec = FreezeSpec::from_json(spec)?;
            either!(&mut *self.0.write()?, s => s.freeze(&spec))
        })
    }

    fn parameter_names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        reading!(self, py, s => Ok(s.parameter_table().into_iter().map(|row| row.name).collect()))
    }

    fn parameter_table<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let table = reading!(self, py, s => Ok(s.parameter_table()))?;
        let rows = table.into_iter().map(|row| {
            let dict = PyDict::new(py);
            dict.set_item("id", row.id)?;
            dict.set_item("name", row.name)?;
            dict.set_item("shape", row.shape)?;
            dict.set_item("decay", row.decay)?;
            dict.set_item("trainable", row.trainable)?;
            dict.set_item("group", row.group)?;
            Ok(dict)
        });
        PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)
    }

    fn parameter<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let (shape, values) = reading!(self, py, s => {
            s.parameter(name).and_then(|(shape, values)| {
                let values = try_collected(values.iter().copied(), &format!("a copy of {name}"))?;
                Ok((shape.to_vec(), Floats::from(values)))
            })
        })?;
        values.into_array(py, &shape)
    }

    fn gradient<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let (shape, values) = reading!(self, py, s => {
            s.gradient(name).map(|(shape, values)| (shape.to_vec(), Floats::from(values)))
        })?;
        values.into_array(py, &shape)
    }

    fn set_parameter(&self, py: Python<'_>, name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
        let array: PyArrayLikeDyn<'_, f64, AllowTypeChange> = value.extract()?;
        let (shape, values) = (array.shape().to_vec(), copied(&array, name)?);
        changing!(self, py, s => set_parameter(s, name, &shape, &values))
    }

    fn borrow_flat(&self) -> FlatGuard {
        FlatGuard::new(self.0.clone())
    }

    fn predicted_peak_bytes(&self, py: Python<'_>, rows: usize, length: usize) -> PyResult<usize> {
        reading!(self, py, s => Ok(s.predicted_peak_bytes(rows, length)))
    }

    fn digest(&self, py: Python<'_>) -> PyResult<String> {
        reading!(self, py, s => s.digest())
    }

    fn profile_start(&self, py: Python<'_>) -> PyResult<()> {
        changing!(self, py, s => {
            s.profile_start();
            Ok(())
        })
    }

    fn profile_take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let profile = changing!(self, py, s => Ok(s.profile_take()))?;
        let rows = PyDict::new(py);
        for (phase, measured) in profile.rows() {
            let row = PyDict::new(py);
            row.set_item("calls", measured.calls)?;
            row.set_item("seconds", measured.time.as_secs_f64())?;
            row.set_item("flops", measured.flops)?;
            rows.set_item(phase.name(), row)?;
        }
        Ok(rows)
    }

    fn product_peak(&self, py: Python<'_>) -> PyResult<(f64, usize)> {
        let peak = reading!(self, py, s => s.product_peak())?;
        Ok((peak, PEAK_SIDE))
    }

    #[getter]
    fn step(&self, py: Python<'_>) -> PyResult<u64> {
        reading!(self, py, s => Ok(s.step()))
    }

    #[getter]
    fn waited_for_ranks(&self, py: Python<'_>) -> PyResult<f64> {
        reading!(self, py, s => Ok(s.waited_for_ranks().as_secs_f64()))
    }

    #[getter]
    fn carried_rows(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        reading!(self, py, s => Ok(s.carried().map(ssm_hpn::model::States::rows)))
    }

    #[getter]
    fn skipped(&self, py: Python<'_>) -> PyResult<u64> {
        reading!(self, py, s => Ok(s.skipped()))
    }

    #[getter]
    fn next_lr(&self, py: Python<'_>) -> PyResult<f64> {
        reading!(self, py, s => Ok(s.next_lr()))
    }

    #[getter]
    fn n_parameters(&self, py: Python<'_>) -> PyResult<usize> {
        reading!(self, py, s => Ok(s.n_parameters()))
    }

    #[getter]
    fn model_config(&self, py: Python<'_>) -> PyResult<String> {
        reading!(self, py, s => Ok(s.model().config().to_json()))
    }

    #[getter]
    fn optim_config(&self, py: Python<'_>) -> PyResult<String> {
        reading!(self, py, s => Ok(s.optim_config().to_json()))
    }

    #[getter]
    fn max_prototype_cosine(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        changing!(self, py, s => s.max_prototype_cosine())
    }
}

fn loaded(
    session: AnySession,
    extra: &serde_json::Value,
    passed_over: &[CoreError],
) -> (PySession, String, Vec<String>) {
    let reasons = passed_over.iter().map(CoreError::to_string).collect();
    (PySession(SharedSession::new(session)), extra.to_string(), reasons)
}

fn set_parameter<T: Scalar>(
    session: &mut Session<T>,
    name: &str,
    shape: &[usize],
    values: &[f64],
) -> Result<String> {
    let values: Vec<T> = try_collected(values.iter().map(|x| T::from_f64(*x)), &format!("a copy of {name}"))?;
    session.set_parameter(name, shape, &values)
}

fn step_report<'py>(py: Python<'py>, report: &StepReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("loss", report.loss)?;
    dict.set_item("loss_sum", report.loss_sum)?;
    dict.set_item("count", report.count)?;
    dict.set_item("weight", report.weight)?;
    dict.set_item("scored", report.scored)?;
    dict.set_item("correct", report.correct)?;
    dict.set_item("squared_error", report.squared_error)?;
    dict.set_item("absolute_error", report.absolute_error)?;
    Ok(dict)
}

fn eval_report(py: Python<'_>, report: EvalReport) -> PyResult<Bound<'_, PyDict>> {
    let dict = step_report(py, &report.sums)?;
    if !report.expected.is_empty() {
        dict.set_item("predicted", to_array(py, &[report.predicted.len()], report.predicted)?)?;
        dict.set_item("expected", to_array(py, &[report.expected.len()], report.expected)?)?;
    }
    if !report.expected_values.is_empty() {
        let shape = [report.expected_values.len() / report.n_values, report.n_values];
        dict.set_item("predicted_values", to_array(py, &shape, report.predicted_values)?)?;
        dict.set_item("expected_values", to_array(py, &shape, report.expected_values)?)?;
    }
    Ok(dict)
}

fn apply_report<'py>(py: Python<'py>, report: &ApplyReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("step", report.step)?;
    dict.set_item("applied", report.applied)?;
    dict.set_item("lr", report.lr)?;
    dict.set_item("grad_norm", report.grad_norm)?;
    dict.set_item("update_norm", report.update_norm)?;
    dict.set_item("clipped", report.clipped)?;
    dict.set_item("skipped", report.skipped)?;
    dict.set_item("loss", report.loss)?;
    dict.set_item("count", report.count)?;
    dict.set_item("scored", report.scored)?;
    dict.set_item("correct", report.correct)?;
    dict.set_item("fault", &report.fault)?;
    Ok(dict)
}
