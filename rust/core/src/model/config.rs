//! The configuration of a model, as it stands in JSON and TOML files.
//!
//! ```json
//! {"input": {"kind": "tokens", "vocab_size": 256}, "d_model": 128, "n_layers": 4, "norm_eps": 1e-5,
//!  "block": {"kind": "mamba1", "d_state": 16, "d_conv": 4, "expand": 2, "dt_rank": null},
//!  "target": {"kind": "next_token"},
//!  "head": {"kind": "linear", "n_outputs": 256, "loss": "softmax", "tied": true, "bias": false},
//!  "activation_memory": "keep", "memory_limit_mb": null}
//! ```
//!
//! Stem, block and head are [`Component`]s: a kind and the settings of that kind. What a kind means is known to the registry,
//! so that a kind from another crate is configured like one of ours.

#![forbid(unsafe_code)]

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::blocks::kinds::BIDIRECTIONAL;
use crate::bounds::{Bounds, Edge};
use crate::error::{Error, Result};
use crate::head::pooling::Pooling;
use crate::target::Widths;
use crate::target::arrays::{Element, Per, TargetArray};
use crate::target::kinds::{self, Answer, TargetKind};

const D_MODEL: Bounds = Bounds::whole("model.d_model", 1, 1 << 16);
const N_LAYERS: Bounds = Bounds::whole("model.n_layers", 1, 1 << 12);
const VOCAB_SIZE: Bounds = Bounds::whole("model.input.vocab_size", 1, 1 << 24);
const N_FEATURES: Bounds = Bounds::whole("model.input.n_features", 1, 1 << 16);
const N_VALUES: Bounds = Bounds::whole("model.target.n_values", 1, 1 << 16);
const NORM_EPS: Bounds =
    Bounds::number("model.norm_eps", Edge::Beyond(0.0), Edge::None).advise("1e-5 is usual");
const DROPOUT: Bounds =
    Bounds::number("model.dropout", Edge::At(0.0), Edge::Beyond(1.0)).advise("0 turns it off");
const HEAD_DROPOUT: Bounds =
    Bounds::number("model.head_dropout", Edge::At(0.0), Edge::Beyond(1.0)).advise("0 turns it off");

/// Most blocks of a model, in all layers and inside of each other.
const MOST_BLOCKS: usize = 1 << 16;

/// The numbers that these settings may have.
pub(crate) const BOUNDS: &[Bounds] =
    &[D_MODEL, N_LAYERS, VOCAB_SIZE, N_FEATURES, NORM_EPS, DROPOUT, HEAD_DROPOUT, N_VALUES];

/// The architecture of a model, its target, and the memory of its training.
///
/// ```
/// use ssm_hpn::model::ModelConfig;
///
/// let config = ModelConfig::from_json(
///     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
///         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// )?;
/// assert_eq!((config.d_model, config.dropout), (8, 0.0));
/// assert_eq!(ModelConfig::from_json(&config.to_json())?, config);
///
/// let refused = ModelConfig { n_layers: 0, ..config }.validate().unwrap_err();
/// assert!(refused.to_string().starts_with("model.n_layers: expected a whole number from 1 to 4096, found 0"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Input of the model.
    pub input: InputConfig,
    /// Width of the residual stream (D).
    pub d_model: usize,
    /// Number of layers.
    pub n_layers: usize,
    /// Added to the mean square in every norm.
    #[serde(default = "default_norm_eps")]
    pub norm_eps: f64,
    /// From the input to the residual stream; absent: the usual stem of the input's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stem: Option<Component>,
    /// The block between a layer's norm and the residual sum.
    #[serde(default = "default_block")]
    pub block: Component,
    /// Blocks of the layers from the first on, repeated until there are `n_layers`; empty: every layer is a `block`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Component>,
    /// Share of the numbers that every layer adds which training sets to zero.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropout: f64,
    /// Share of the head's features that training sets to zero.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub head_dropout: f64,
    /// Target of the head.
    pub target: TargetConfig,
    /// From features to scores and a loss.
    pub head: Component,
    /// Activations that are kept for the backward pass.
    #[serde(default)]
    pub activation_memory: ActivationMemory,
    /// Limit for `auto`: parameters, gradients, moments and activations together, in units of 10⁶ bytes.
    #[serde(default)]
    pub memory_limit_mb: Option<u64>,
}

fn default_norm_eps() -> f64 {
    1e-5
}

fn default_block() -> Component {
    Component { kind: "mamba1".to_owned(), settings: Map::new() }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

/// Input of the model.
///
/// ```
/// use ssm_hpn::model::InputConfig;
///
/// assert_eq!(InputConfig::Tokens { vocab_size: 256 }.kind(), "tokens");
/// assert_eq!(InputConfig::Hidden {}.kind(), "hidden");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum InputConfig {
    /// Token ids through an embedding.
    Tokens {
        /// Number of distinct tokens (V).
        vocab_size: usize,
    },
    /// Numbers through a linear map.
    Features {
        /// Numbers per token (F).
        n_features: usize,
    },
    /// Vectors of width D, taken as they are.
    Hidden {},
}

impl InputConfig {
    /// Name of the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tokens { .. } => "tokens",
            Self::Features { .. } => "features",
            Self::Hidden {} => "hidden",
        }
    }
}

/// Target of the head: a kind of [`crate::target`], or one that a program registered.
///
/// ```
/// use ssm_hpn::head::Pooling;
/// use ssm_hpn::model::{ModelConfig, TargetConfig};
///
/// let config = ModelConfig::from_json(
///     r#"{"input": {"kind": "features", "n_features": 3}, "d_model": 8, "n_layers": 1,
///         "target": {"kind": "sequence_values", "pooling": "max", "n_values": 2},
///         "head": {"kind": "linear", "n_outputs": 2, "loss": "squared"}}"#,
/// )?;
/// let (kind, pooling) = ("sequence_values".to_owned(), Some(Pooling::Max));
/// assert_eq!(config.target, TargetConfig { kind, pooling, n_values: Some(2) });
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// Name of the kind.
    pub kind: String,
    /// Pooling of a document's hidden states, for a target per document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Numbers (K), for a target with numbers; without it 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_values: Option<usize>,
}

impl TargetConfig {
    /// Pooling of a document; `None` where every token has its own target.
    pub(crate) fn pooling(&self) -> Option<Pooling> {
        self.pooling
    }

    /// The kind with these settings; refuses settings that the kind does not have, and an input that it is not made for.
    pub(crate) fn with_kind(&self, kind: &'static TargetKind, input: &InputConfig) -> Result<Predicted> {
        let refuse = |key: &str, expected: &str, found: String| {
            let place = format!("model.target.{key}");
            Err(Error::config(place, expected, format!("{found} for {}", kind.name), "correct this setting"))
        };
        match self.pooling {
            None if kind.is_pooled() => return refuse("pooling", "last, mean or max", "nothing".to_owned()),
            Some(found) if !kind.is_pooled() => {
                return refuse("pooling", "none for a target per token", format!("{found:?}").to_lowercase());
            }
            _ => {}
        }
        match self.n_values {
            Some(found) if !kind.has(Element::Number) => {
                return refuse("n_values", "none for a target without numbers", found.to_string());
            }
            Some(found) => N_VALUES.check_whole(found)?,
            None => {}
        }
        if kind.from_tokens && !matches!(input, InputConfig::Tokens { .. }) {
            return Err(Error::config(
                "model.target.kind",
                "another target for an input without tokens",
                kind.name,
                "use token_class, or an input of tokens",
            ));
        }
        let n_values = if kind.has(Element::Number) { self.n_values.unwrap_or(1) } else { 0 };
        Ok(Predicted { kind, pooling: self.pooling, n_values })
    }
}

/// The target of a model: the kind with its settings.
///
/// ```
/// use ssm_hpn::Error;
/// use ssm_hpn::model::{Model, ModelConfig, Predicted, Registry};
///
/// // A head of one number asks what is predicted.
/// let mut registry = Registry::<f32>::standard();
/// registry.register_head("mine", |_, context| {
///     let Predicted { kind, n_values, .. } = context.target;
///     let found = format!("{n_values} of {}", kind.name);
///     Err(Error::config("model.target.n_values", "1 for this head", found, "choose another head"))
/// });
/// let model = ModelConfig::from_json(
///     r#"{"input": {"kind": "features", "n_features": 3}, "d_model": 8, "n_layers": 1,
///         "target": {"kind": "sequence_values", "pooling": "mean", "n_values": 2}, "head": {"kind": "mine"}}"#,
/// )?;
/// let refused = Model::new(model, &registry, 0).unwrap_err();
/// assert!(refused.to_string().contains("expected 1 for this head, found 2 of sequence_values"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// The kind.
    pub kind: &'static TargetKind,
    /// Pooling of a document; `None` where every token has its own target.
    pub pooling: Option<Pooling>,
    /// Numbers (K); 0 where it has none.
    pub n_values: usize,
}

impl Predicted {
    /// Numbers that a batch may have in its targets, for a head with `n_scores` in a model of width `d_model`.
    pub(crate) fn widths(&self, n_scores: usize, d_model: usize) -> Widths {
        let has = |element| self.kind.has(element);
        Widths {
            n_classes: has(Element::Class).then_some(n_scores.saturating_sub(self.n_values)),
            n_values: has(Element::Number).then_some(self.n_values),
            d_model: has(Element::Gradient).then_some(d_model),
        }
    }

    /// Floats of the targets of so many tokens and documents.
    pub(crate) fn floats(&self, tokens: usize, documents: usize, d_model: usize) -> usize {
        let count = |array: &&TargetArray| if array.per == Per::Token { tokens } else { documents };
        let width = |array: &&TargetArray| match array.element {
            Element::Class => 0,
            Element::Number => self.n_values,
            Element::Gradient => d_model,
        };
        self.kind.arrays.iter().map(|array| count(array) * width(array)).sum()
    }
}

/// Activations that are kept for the backward pass.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::model::ActivationMemory;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 6, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let threads = session.threads().clone();
/// let keeps = session.predicted_peak_bytes(4, 512);
/// let config = session.model().config().clone();
/// let config = ModelConfig { activation_memory: ActivationMemory::Recompute, ..config };
/// let session = Session::<f32>::new(config, OptimConfig::default(), 0, threads)?;
/// assert!(session.predicted_peak_bytes(4, 512) < keeps / 2);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationMemory {
    /// All activations.
    #[default]
    Keep,
    /// The input of every layer; its forward is repeated in the backward.
    Recompute,
    /// All activations of as many layers as fit into `memory_limit_mb`.
    Auto,
}

/// A stem, block or head by kind: `{"kind": …, …}`.
///
/// ```
/// use serde::Deserialize;
/// use serde_json::json;
/// use ssm_hpn::model::Component;
///
/// /// Settings of a block of one's own.
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Settings {
///     kernel: usize,
/// }
///
/// let component: Component = serde_json::from_value(json!({"kind": "mine", "kernel": 4})).expect("a component");
/// assert_eq!(component, Component::new("mine", json!({"kernel": 4})));
/// let settings: Settings = component.settings("model.block")?;
/// assert_eq!(settings.kernel, 4);
///
/// let refused = Component::new("mine", json!({"kernels": 4})).settings::<Settings>("model.block");
/// assert!(refused.err().expect("an error").to_string().contains("unknown field `kernels`"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// The name under which the registry knows its factory.
    pub kind: String,
    /// Every other key.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

impl Component {
    /// From settings that serialise to an object, with or without their `kind`.
    ///
    /// # Panics
    /// If the settings do not serialise to an object.
    #[expect(clippy::panic, reason = "a program's own type, not input: it is documented")]
    pub fn new(kind: &str, settings: impl Serialize) -> Self {
        let Ok(Value::Object(mut settings)) = serde_json::to_value(settings) else {
            panic!("the settings of the component {kind} are no object")
        };
        settings.remove("kind");
        Self { kind: kind.to_owned(), settings }
    }

    /// The settings without the kind; `at` is their dotted place, for the error.
    pub fn settings<C: DeserializeOwned>(&self, at: &str) -> Result<C> {
        parse(Value::Object(self.settings.clone()), at)
    }

    /// The settings with the kind, for a type that is tagged by it.
    pub(crate) fn tagged<C: DeserializeOwned>(&self, at: &str) -> Result<C> {
        let mut object = self.settings.clone();
        object.insert("kind".to_owned(), Value::String(self.kind.clone()));
        parse(Value::Object(object), at)
    }
}

/// Number of blocks that a block of this kind and settings is made of, itself counted: every object with a kind is one. Where
/// a bidirectional block names no other for the way back, its block is made twice.
fn blocks_in(kind: &str, settings: &Map<String, Value>) -> usize {
    let inside = settings.values().map(blocks_in_value).fold(0, usize::saturating_add);
    let ways = if kind == BIDIRECTIONAL.name && !settings.contains_key("backward") { 2 } else { 1 };
    inside.saturating_mul(ways).saturating_add(1)
}

fn blocks_in_value(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(blocks_in_value).fold(0, usize::saturating_add),
        Value::Object(settings) => match settings.get("kind") {
            Some(Value::String(kind)) => blocks_in(kind, settings),
            _ => settings.values().map(blocks_in_value).fold(0, usize::saturating_add),
        },
        _ => 0,
    }
}

fn parse<C: DeserializeOwned>(value: Value, at: &str) -> Result<C> {
    let found = value.to_string();
    serde_json::from_value(value)
        .map_err(|e| Error::config(at, "valid settings of this kind", found, format!("{e}")))
}

impl ModelConfig {
    /// From JSON, validated.
    pub fn from_json(text: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(text)
            .map_err(|e| Error::config("model", "a valid model configuration", "this JSON", e.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// As JSON, every setting written out.
    #[expect(clippy::expect_used, reason = "strings, numbers and objects serialise")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and objects serialise")
    }

    /// Refuses settings that contradict each other. Block and head are checked where they are built.
    pub fn validate(&self) -> Result<()> {
        D_MODEL.check_whole(self.d_model)?;
        N_LAYERS.check_whole(self.n_layers)?;
        match self.input {
            InputConfig::Tokens { vocab_size } => {
                VOCAB_SIZE.check_whole(vocab_size)?;
            }
            InputConfig::Features { n_features } => {
                N_FEATURES.check_whole(n_features)?;
            }
            InputConfig::Hidden {} => {}
        }
        NORM_EPS.check(self.norm_eps)?;
        if let Some(kind) = kinds::find(&self.target.kind) {
            self.check_target(kind)?;
        }
        DROPOUT.check(self.dropout)?;
        HEAD_DROPOUT.check(self.head_dropout)?;
        if !self.layers.is_empty() && !self.n_layers.is_multiple_of(self.layers.len()) {
            return Err(Error::config(
                "model.n_layers",
                format!(
                    "a multiple of the {} entries of model.layers, which are repeated",
                    self.layers.len()
                ),
                self.n_layers,
                "set it to their number, or to a multiple of it",
            ));
        }
        self.check_blocks()?;
        self.check_memory_limit()
    }

    /// Refuses more blocks than there may be, before any is made: entries are repeated, and may have blocks inside.
    fn check_blocks(&self) -> Result<()> {
        let entries =
            if self.layers.is_empty() { std::slice::from_ref(&self.block) } else { &self.layers[..] };
        let of_entries: usize = entries.iter().map(|entry| blocks_in(&entry.kind, &entry.settings)).sum();
        let found = of_entries.saturating_mul(self.n_layers / entries.len());
        if found <= MOST_BLOCKS {
            return Ok(());
        }
        Err(Error::config(
            if self.layers.is_empty() { "model.block" } else { "model.layers" },
            format!("at most {MOST_BLOCKS} blocks in all layers, those inside of others counted"),
            found,
            "lower model.n_layers, or leave blocks out",
        ))
    }

    /// The block of a layer, and its dotted place in the configuration.
    pub(crate) fn layer(&self, index: usize) -> (String, &Component) {
        match index.checked_rem(self.layers.len()) {
            None => ("model.block".to_owned(), &self.block),
            Some(entry) => (format!("model.layers.{entry}"), &self.layers[entry]),
        }
    }

    /// The target with its kind, which fits the input and the head's kind.
    pub(crate) fn check_target(&self, kind: &'static TargetKind) -> Result<Predicted> {
        let predicted = self.target.with_kind(kind, &self.input)?;
        let without_head = kind.answer() == Answer::Nothing;
        if without_head != (self.head.kind == "none") {
            return Err(Error::config(
                "model.head.kind",
                if without_head { "none for the target cotangent" } else { "a head for this target" },
                format!("{:?}", self.head.kind),
                "the head none and the target cotangent go together",
            ));
        }
        Ok(predicted)
    }

    pub(crate) fn check_memory_limit(&self) -> Result<()> {
        if self.activation_memory == ActivationMemory::Auto && self.memory_limit_mb.is_none() {
            return Err(Error::config(
                "model.memory_limit_mb",
                "a number of megabytes for activation_memory auto",
                "null",
                "set it, or choose keep or recompute",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"input":{"kind":"tokens","vocab_size":256},"d_model":128,"n_layers":4,
        "block":{"kind":"mamba1","d_state":16},"target":{"kind":"next_token"},"head":{"kind":"linear","n_outputs":256}}"#;

    #[test]
    fn json_round_trips_and_defaults_are_filled_in() {
        let config = ModelConfig::from_json(JSON).unwrap();
        assert_eq!((config.norm_eps, config.activation_memory), (1e-5, ActivationMemory::Keep));
        assert_eq!(config.block.settings["d_state"], 16);
        assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
    }

    #[test]
    fn unknown_keys_and_contradictions_name_their_key() {
        let replace = |from: &str, to: &str| {
            assert!(JSON.contains(from));
            ModelConfig::from_json(&JSON.replace(from, to)).unwrap_err().to_string()
        };
        for (from, to, expected) in [
            ("\"n_layers\"", "\"n_layer\"", "unknown field `n_layer`"),
            ("\"n_layers\":4", "\"n_layers\":0", "model.n_layers: expected a whole number from 1"),
            ("\"vocab_size\":256", "\"vocab_size\":0", "model.input.vocab_size"),
            ("\"vocab_size\":256", "\"vocab\":0", "unknown field `vocab`"),
            (
                "{\"kind\":\"tokens\",\"vocab_size\":256}",
                "{\"kind\":\"features\",\"n_features\":3}",
                "model.target.kind",
            ),
            ("{\"kind\":\"next_token\"}", "{\"kind\":\"cotangent\"}", "model.head.kind"),
            ("\"d_model\":128", "\"d_model\":128,\"activation_memory\":\"auto\"", "model.memory_limit_mb"),
        ] {
            let message = replace(from, to);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn blocks_are_counted_before_any_is_made() {
        let mlp = r#"{"kind":"mlp"}"#;
        let (chain, both) = (
            |n: usize| format!(r#"{{"kind":"sequential","blocks":[{}]}}"#, vec![mlp; n].join(",")),
            format!(r#"{{"kind":"bidirectional","block":{{"kind":"residual","block":{mlp}}}}}"#),
        );
        let with = |layers: &[String], n_layers: usize| {
            let layers = format!("\"n_layers\":{n_layers},\"layers\":[{}]", layers.join(","));
            ModelConfig::from_json(&JSON.replace("\"n_layers\":4", &layers))
        };
        // A chain of 15 is 16 blocks; the other one is 1 + 2 · 2.
        for layers in [vec![chain(15)], vec![chain(15); 4096], vec![both.clone(), chain(26)]] {
            with(&layers, 4096).unwrap();
        }
        for (layers, found) in [
            (vec![chain(16)], 17 * 4096),
            (vec![chain(31), mlp.to_owned()], 33 * 2048),
            (vec![both, chain(27)], 33 * 2048),
        ] {
            let message = with(&layers, 4096).unwrap_err().to_string();
            let expected = format!(
                "model.layers: expected at most 65536 blocks in all layers, those inside of others counted, found {found}; \
                 lower model.n_layers, or leave blocks out"
            );
            assert_eq!(message, expected);
        }
        let block = JSON.replace(r#"{"kind":"mamba1","d_state":16}"#, &chain(20)).replace("4,", "4096,");
        let message = ModelConfig::from_json(&block).unwrap_err().to_string();
        assert!(message.starts_with("model.block: expected at most 65536 blocks"), "{message}");
    }

    #[test]
    fn a_component_gives_its_settings_with_and_without_the_kind() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Mine {
            width: usize,
        }
        let component = Component::new("mine", serde_json::json!({"kind": "mine", "width": 3}));
        assert_eq!(component.settings::<Mine>("model.block").unwrap().width, 3);
        let bad = Component::new("mine", serde_json::json!({"wide": 3}));
        let message = bad.settings::<Mine>("model.block").unwrap_err().to_string();
        assert!(
            message.starts_with("model.block: ") && message.contains("unknown field `wide`"),
            "{message}"
        );
    }
}
