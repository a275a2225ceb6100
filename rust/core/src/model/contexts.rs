//! Properties of the model that the factories of stems and heads get.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::config::{InputConfig, Predicted};
use crate::error::{Error, Result};
use crate::head::ClassVectors;

/// Properties of the model that a stem's factory gets.
///
/// ```
/// use ssm_hpn::Error;
/// use ssm_hpn::model::{ModelConfig, Registry};
///
/// // A stem of tokens refuses another input.
/// let mut registry = Registry::<f32>::standard();
/// registry.register_stem("mine", |_, context| {
///     let found = context.input.kind();
///     Err(Error::config("model.stem.kind", "an input of tokens", found, "choose another stem"))
/// });
/// let model = ModelConfig::from_json(
///     r#"{"input": {"kind": "features", "n_features": 3}, "d_model": 8, "n_layers": 1, "stem": {"kind": "mine"},
///         "target": {"kind": "sequence_values", "pooling": "mean", "n_values": 2},
///         "head": {"kind": "linear", "n_outputs": 2}}"#,
/// )?;
/// let refused = registry.resolve(model).unwrap_err();
/// assert!(refused.to_string().starts_with("model.stem.kind: expected an input of tokens, found features"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StemContext {
    /// Width of the residual stream (D).
    pub d_model: usize,
    /// Input of the model.
    pub input: InputConfig,
}

impl StemContext {
    /// Refuses an input that the stem does not read; `reads` names those that it does.
    pub(super) fn misfit<V>(&self, kind: &str, reads: &str) -> Result<V> {
        let found = format!("{kind}, which reads {reads}");
        let expected = format!("a stem for the input {}", self.input.kind());
        Err(Error::config("model.stem.kind", expected, found, "leave it out for the usual stem of the input"))
    }

    /// Features per step (F), for a stem of this kind.
    pub(super) fn n_features(&self, kind: &str) -> Result<usize> {
        match self.input {
            InputConfig::Features { n_features } => Ok(n_features),
            InputConfig::Hidden {} => Ok(self.d_model),
            InputConfig::Tokens { .. } => self.misfit(kind, "features"),
        }
    }
}

/// Properties of the model that a head's factory gets.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use ssm_hpn::Error;
/// use ssm_hpn::model::{Model, ModelConfig, Registry};
///
/// // A head that compares features with vectors of its settings refuses others than those of the features' width.
/// let mut registry = Registry::<f32>::standard();
/// registry.register_head("mine", |component, context| {
///     let settings: BTreeMap<String, Vec<Vec<f64>>> = component.settings("model.head")?;
///     Err(Error::shape("vectors", context.d_model, settings["vectors"][0].len()))
/// });
/// let model = ModelConfig::from_json(
///     r#"{"input": {"kind": "features", "n_features": 3}, "d_model": 8, "n_layers": 1,
///         "target": {"kind": "sequence_values", "pooling": "mean", "n_values": 2},
///         "head": {"kind": "mine", "vectors": [[1.0, 0.0]]}}"#,
/// )?;
/// assert_eq!(Model::new(model, &registry, 0).unwrap_err().to_string(), "vectors: expected 8, found 2");
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HeadContext {
    /// Width of the features (D).
    pub d_model: usize,
    /// Target of the head.
    pub target: Predicted,
    /// Seed of prototypes that are drawn or optimised.
    pub seed: u64,
    /// The vectors of the classes ([`Registry::set_class_vectors`](super::Registry::set_class_vectors)).
    pub class_vectors: Option<Arc<ClassVectors>>,
}
